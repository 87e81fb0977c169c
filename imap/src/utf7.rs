//! Modified UTF-7 (RFC 3501 section 5.1.3).

/// Text to wire.
pub fn encode(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// Wire to text; `None` where it is not valid modified UTF-7.
pub fn decode(wire: &[u8]) -> Option<String> {
    String::from_utf8(wire.to_vec()).ok()
}
