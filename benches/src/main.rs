//! Mailferry.
fn main() {}
