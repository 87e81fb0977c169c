//! Mailferry dnscheck.
