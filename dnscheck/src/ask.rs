//! One question to one server.
