//! Mailferry tests.
