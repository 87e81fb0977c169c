//! Lines and literals of a stream that real servers and clients speak. Independent of the product's own framer.

use bytes::{Buf, Bytes, BytesMut};

/// A piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A line with its CRLF: a whole one, or a part that ends where a literal follows.
    Line {
        /// The bytes.
        bytes: Bytes,
        /// Whether a command or response begins here.
        first: bool,
        /// The literal that follows.
        literal: Option<Literal>,
    },
    /// Bytes of a literal.
    Data(Bytes),
}

/// A literal as announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal {
    /// Octets.
    pub size: u64,
    /// Whether the sender waits for a continuation.
    pub waits: bool,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// Commands: any line may end in a literal.
    Client,
    /// Responses: only untagged data has literals, so `A1 OK note {5}` is text.
    Server,
}

/// Cuts a byte stream into pieces.
#[derive(Debug)]
pub struct Framer {
    speaker: Speaker,
    buffer: BytesMut,
    left: u64,
    first: bool,
}

impl Framer {
    /// At the beginning of a stream.
    pub fn new(speaker: Speaker) -> Self {
        Self { speaker, buffer: BytesMut::new(), left: 0, first: true }
    }

    /// More bytes arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether the stream stands between two commands or responses.
    pub fn at_boundary(&self) -> bool {
        self.left == 0 && self.first
    }

    /// The refused literal that was announced will not be sent: a new command comes next.
    pub fn literal_refused(&mut self) {
        self.left = 0;
        self.first = true;
    }

    /// The next complete piece.
    pub fn next(&mut self) -> Option<Piece> {
        if self.left > 0 {
            if self.buffer.is_empty() {
                return None;
            }
            let size = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.buffer.len());
            self.left -= size as u64;
            return Some(Piece::Data(self.buffer.split_to(size).freeze()));
        }
        let end = self.buffer.iter().position(|&byte| byte == b'\n')?;
        let bytes = self.buffer.copy_to_bytes(end + 1);
        let first = self.first;
        let may = self.speaker == Speaker::Client || !first || bytes.starts_with(b"* ");
        let literal = if may { literal_of(&bytes) } else { None };
        self.left = literal.map_or(0, |literal| literal.size);
        self.first = literal.is_none();
        Some(Piece::Line { bytes, first, literal })
    }

    /// What is left when the stream ended inside a piece.
    pub fn rest(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }
}

fn literal_of(line: &[u8]) -> Option<Literal> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.strip_suffix(b"}")?;
    let open = line.iter().rposition(|&byte| byte == b'{')?;
    let inner = &line[open + 1..];
    let (digits, waits) = match inner.strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (inner, true),
    };
    let size = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(Literal { size, waits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_cut_out_and_text_is_not_taken_for_one() {
        let mut framer = Framer::new(Speaker::Server);
        framer.push(b"A1 OK note {5}\r\n* 1 FETCH (BODY[] {3}\r\nabc UID 7)\r\n");
        let mut lines = Vec::new();
        while let Some(piece) = framer.next() {
            lines.push(piece);
        }
        let line = |text: &'static [u8], first, literal| Piece::Line {
            bytes: Bytes::from_static(text),
            first,
            literal,
        };
        assert_eq!(
            lines,
            [
                line(b"A1 OK note {5}\r\n", true, None),
                line(b"* 1 FETCH (BODY[] {3}\r\n", true, Some(Literal { size: 3, waits: true })),
                Piece::Data(Bytes::from_static(b"abc")),
                line(b" UID 7)\r\n", false, None),
            ]
        );
        assert!(framer.at_boundary());
    }
}
