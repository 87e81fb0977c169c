//! Mailferry admin.
