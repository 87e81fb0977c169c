//! Tokens: the values of a framed line (RFC 3501 section 4), read tolerantly.

use bytes::Bytes;

/// One framed command or response, in parts: text parts with literals between them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// Text with its line end; where a literal follows, with its `{n}`.
    Text(Bytes),
    /// A literal that was kept.
    Literal(Bytes),
    /// A literal that went elsewhere.
    Streamed {
        /// How many bytes it had.
        size: u64,
    },
}

/// One value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Anything unquoted, `NIL` and numbers among it.
    Atom(Bytes),
    /// A quoted string, escapes undone.
    Quoted(Bytes),
    /// A literal that was kept.
    Literal(Bytes),
    /// A literal that went elsewhere.
    Streamed {
        /// How many bytes it had.
        size: u64,
    },
    /// A parenthesised list.
    List(Vec<Value>),
}
