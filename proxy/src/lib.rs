//! Mailferry proxy.
