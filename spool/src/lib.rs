//! Mailferry spool.
