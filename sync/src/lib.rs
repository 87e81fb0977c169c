//! Mailferry sync.
