//! Tokens: the values of a framed line (RFC 3501 section 4), read tolerantly.
//!
//! A framed command or response is a row of [`Part`]s. [`Cursor`] walks over them without a copy; nothing it does
//! recurses or allocates by what a peer says, but [`Cursor::value`], whose depth is bounded.

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

impl Value {
    /// The bytes of an astring: atom, quoted string or kept literal.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Atom(bytes) | Self::Quoted(bytes) | Self::Literal(bytes) => Some(bytes),
            Self::Streamed { .. } | Self::List(_) => None,
        }
    }

    /// The same as text, where it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.bytes().and_then(|bytes| str::from_utf8(bytes).ok())
    }
}

/// Lists nested deeper than this are not read.
const MAX_DEPTH: u32 = 32;

/// A place in a framed command or response.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    parts: &'a [Part],
    /// What is left of the text under way, without its line end and without the `{n}` of a literal that follows.
    text: Bytes,
}

/// A string of one of the three forms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Text {
    /// Kept.
    Bytes(Bytes),
    /// `NIL`, unquoted.
    Nil,
    /// A literal that went elsewhere.
    Streamed {
        /// How many bytes it had.
        size: u64,
    },
}

impl<'a> Cursor<'a> {
    /// At the beginning.
    pub fn new(parts: &'a [Part]) -> Self {
        let mut cursor = Self { parts, text: Bytes::new() };
        cursor.enter();
        cursor
    }

    /// Takes the next text part up, if that is what comes next.
    fn enter(&mut self) {
        let [Part::Text(text), rest @ ..] = self.parts else { return };
        let mut end = text.len();
        if text[..end].ends_with(b"\n") {
            end -= 1;
        }
        if text[..end].ends_with(b"\r") {
            end -= 1;
        }
        if !rest.is_empty() {
            end = memchr::memrchr(b'{', &text[..end]).unwrap_or(end);
            if text[..end].ends_with(b" ~") || text[..end].ends_with(b"(~") {
                end -= 1;
            }
        }
        self.text = text.slice(..end);
        self.parts = rest;
    }

    /// The next byte of text; `None` before a literal and at the end.
    pub fn peek(&self) -> Option<u8> {
        self.text.first().copied()
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.text.is_empty() && self.parts.is_empty()
    }

    /// What is left of this text part. The literals behind it are not in it.
    pub fn rest(&self) -> Bytes {
        self.text.clone()
    }

    /// Over blanks.
    pub fn skip_blanks(&mut self) {
        let blanks = self.text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        self.advance(blanks);
    }

    /// Over one byte, if it is this one.
    pub fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.advance(1);
        }
        is_next
    }

    fn advance(&mut self, bytes: usize) {
        bytes::Buf::advance(&mut self.text, bytes);
    }

    /// A word: up to a blank, a parenthesis or the end. `None` where there is none.
    pub fn atom(&mut self) -> Option<Bytes> {
        let length = self.text.iter().take_while(|byte| !matches!(byte, b' ' | b'(' | b')')).count();
        (length > 0).then(|| self.text.split_to(length))
    }

    /// A word of digits.
    pub fn number(&mut self) -> Option<u64> {
        let length = self.text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = digits(&self.text[..length])?;
        self.advance(length);
        Some(number)
    }

    /// The name of a FETCH item, with its section: `BODY[HEADER.FIELDS (DATE "X (y)")]<0>`.
    pub fn item_name(&mut self) -> Option<Bytes> {
        let (mut bracketed, mut quoted) = (false, false);
        let mut length = 0;
        for byte in &self.text {
            match byte {
                b'"' if bracketed => quoted = !quoted,
                b'[' if !quoted => bracketed = true,
                b']' if !quoted => bracketed = false,
                b' ' | b'(' | b')' if !bracketed => break,
                _ => {}
            }
            length += 1;
        }
        (length > 0 && !bracketed).then(|| self.text.split_to(length))
    }

    /// A quoted string, its escapes undone. A quote that nothing follows as it should is taken for one that the server
    /// forgot to escape.
    pub fn quoted(&mut self) -> Option<Bytes> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let (mut at, mut escaped) = (1, false);
        loop {
            at += memchr::memchr2(b'"', b'\\', self.text.get(at..)?)?;
            if self.text[at] == b'\\' {
                escaped = true;
                at += 2;
            } else if matches!(self.text.get(at + 1), None | Some(b' ' | b')' | b'(' | b']')) {
                break;
            } else {
                at += 1;
            }
        }
        let inner = self.text.slice(1..at);
        self.advance(at + 1);
        if !escaped {
            return Some(inner);
        }
        let mut undone = Vec::with_capacity(inner.len());
        let mut bytes = inner.iter();
        while let Some(byte) = bytes.next() {
            undone.push(if *byte == b'\\' { *bytes.next()? } else { *byte });
        }
        Some(undone.into())
    }

    /// A literal, if one comes next.
    pub fn literal(&mut self) -> Option<Text> {
        if !self.text.is_empty() {
            return None;
        }
        let literal = match self.parts.first()? {
            Part::Literal(bytes) => Text::Bytes(bytes.clone()),
            Part::Streamed { size } => Text::Streamed { size: *size },
            Part::Text(_) => return None,
        };
        self.parts = &self.parts[1..];
        self.enter();
        Some(literal)
    }

    /// A string in any form, `NIL`, or an atom taken for one.
    pub fn string(&mut self) -> Option<Text> {
        match self.peek() {
            None => self.literal(),
            Some(b'"') => self.quoted().map(Text::Bytes),
            Some(_) => self
                .atom()
                .map(|atom| if atom.eq_ignore_ascii_case(b"NIL") { Text::Nil } else { Text::Bytes(atom) }),
        }
    }

    /// Over one value of any kind, with all that is in it.
    pub fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0u32;
        loop {
            self.skip_blanks();
            if self.eat(b'(') {
                depth += 1;
                continue;
            }
            if depth > 0 && self.eat(b')') {
                depth -= 1;
            } else {
                self.string()?;
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// One value. `None` at the end, at a stray `)`, and where lists are nested too deep.
    pub fn value(&mut self) -> Option<Value> {
        self.value_at(0)
    }

    fn value_at(&mut self, depth: u32) -> Option<Value> {
        match self.peek() {
            None => match self.literal()? {
                Text::Bytes(bytes) => Some(Value::Literal(bytes)),
                Text::Streamed { size } => Some(Value::Streamed { size }),
                Text::Nil => None,
            },
            Some(b'"') => self.quoted().map(Value::Quoted),
            Some(b'(') if depth < MAX_DEPTH => {
                self.advance(1);
                let mut values = Vec::new();
                loop {
                    self.skip_blanks();
                    if self.eat(b')') {
                        return Some(Value::List(values));
                    }
                    values.push(self.value_at(depth + 1)?);
                }
            }
            Some(b'(') => None,
            Some(_) => self.item_name().or_else(|| self.atom()).map(Value::Atom),
        }
    }
}

/// A number of decimal digits only, below 2^64.
pub(crate) fn digits(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// Puts a quoted string into `line`. `false` where no quoted string can hold it: NUL, CR, LF.
pub fn quote(bytes: &[u8], line: &mut Vec<u8>) -> bool {
    if bytes.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return false;
    }
    line.push(b'"');
    for byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            line.push(b'\\');
        }
        line.push(*byte);
    }
    line.push(b'"');
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(line: &str) -> Vec<Part> {
        vec![Part::Text(Bytes::copy_from_slice(line.as_bytes()))]
    }

    fn values(parts: &[Part]) -> String {
        let mut cursor = Cursor::new(parts);
        let mut values = Vec::new();
        while !cursor.is_at_end() {
            cursor.skip_blanks();
            match cursor.value() {
                Some(value) => values.push(shown(&value)),
                None => return format!("{} ??", values.join(" ")),
            }
        }
        values.join(" ")
    }

    fn shown(value: &Value) -> String {
        let ascii = |bytes: &Bytes| bytes.escape_ascii().to_string();
        match value {
            Value::Atom(bytes) => ascii(bytes),
            Value::Quoted(bytes) => format!("'{}'", ascii(bytes)),
            Value::Literal(bytes) => format!("<{}>", ascii(bytes)),
            Value::Streamed { size } => format!("<<{size}>>"),
            Value::List(values) => format!("({})", values.iter().map(shown).collect::<Vec<_>>().join(" ")),
        }
    }

    #[test]
    fn values_of_all_kinds() {
        assert_eq!(values(&text(r#"a "b c" (d NIL ("e\"\\" f))  7"#)), r#"a 'b c' (d NIL ('e\"\\' f)) 7"#);
        assert_eq!(
            values(&text("BODY.PEEK[HEADER.FIELDS (A \"B ]\")]<0.5> x")),
            "BODY.PEEK[HEADER.FIELDS (A \\\"B ]\\\")]<0.5> x"
        );
        assert_eq!(values(&text("(a (b) c)(d)\r\n")), "(a (b) c) (d)");
        let parts = [
            Part::Text(Bytes::from_static(b"user {4}\r\n")),
            Part::Literal(Bytes::from_static(b"a {b")),
            Part::Text(Bytes::from_static(b" (~{9+}\r\n")),
            Part::Streamed { size: 9 },
            Part::Text(Bytes::from_static(b") end\r\n")),
        ];
        assert_eq!(values(&parts), "user <a {b> (<<9>>) end");
    }

    #[test]
    fn what_does_not_read() {
        assert_eq!(values(&text("a (b")), "a ??");
        assert_eq!(values(&text("a )")), "a ??");
        assert_eq!(values(&text("\"open")), " ??");
        assert_eq!(values(&text("\"open\\")), " ??");
        assert_eq!(values(&text(&"(".repeat(1_000_000))), " ??");
    }

    #[test]
    fn quotes_that_a_server_forgot_to_escape() {
        assert_eq!(values(&text(r#"("Re: "odd"" NIL)"#)), r#"('Re: \"odd\"' NIL)"#);
    }

    #[test]
    fn values_are_skipped_whole() {
        let parts = text("((a \"b)\" (c)) d) e");
        let mut cursor = Cursor::new(&parts);
        cursor.skip_value().unwrap();
        assert_eq!(cursor.rest(), " e");
        assert_eq!(Cursor::new(&text("(a")).skip_value(), None);
        let deep = text(&"(".repeat(1_000_000));
        assert_eq!(Cursor::new(&deep).skip_value(), None);
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_not_panic(line in "[a-c \"\\\\()\\[\\]{}~0-9\r\n]{0,40}", more in "[a \"()]{0,10}") {
            let mut parts = text(&line);
            for streamed in [false, true] {
                let mut cursor = Cursor::new(&parts);
                while cursor.skip_value().is_some() {}
                values(&parts);
                if !streamed {
                    parts.push(Part::Streamed { size: 3 });
                    parts.extend(text(&more));
                }
            }
        }

        #[test]
        fn quoted_strings_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let mut line = Vec::new();
            let quotable = quote(&bytes, &mut line);
            prop_assert_eq!(quotable, !bytes.iter().any(|byte| b"\0\r\n".contains(byte)));
            if quotable {
                let parts = [Part::Text(line.into())];
                prop_assert_eq!(Cursor::new(&parts).quoted(), Some(Bytes::from(bytes)));
            }
        }
    }
}
