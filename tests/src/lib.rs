//! The harness that end-to-end tests, the demo and the benches share: real servers on free loopback ports, every
//! one private to its stand, started from here and ended by pid.
//!
//! The servers listen on 127.0.0.1 only, keep all state below one temporary folder and never read `/etc`. What
//! compares the two sides at the end (`account`) is Python's imaplib and uses none of our own protocol code, so that
//! a mistake of ours cannot hide itself.

pub mod account;
pub mod certs;
pub mod child;
pub mod client;
pub mod courier;
pub mod cyrus;
pub mod dns;
pub mod dovecot;
pub mod exchange;
pub mod fault;
pub mod mail;
pub mod maildir;
pub mod model;
pub mod owner;
pub mod place;
pub mod post;
pub mod python;
pub mod script;
pub mod source;
pub mod stand;
pub mod talk;
pub mod target;
pub mod teletype;
pub mod tokens;
pub mod unpacked;
