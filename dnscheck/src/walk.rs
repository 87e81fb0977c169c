//! From the roots to every authoritative server of a domain.
