//! Transfer encodings (RFC 2045 section 6), undone piece by piece.

/// How the content of a part is encoded.
#[derive(Debug)]
pub(super) enum Transfer {
    /// 7bit, 8bit, binary.
    Identity,
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
}

impl Transfer {
    /// By the name that the part gives; `None` for one that nobody knows.
    pub(super) fn named(name: Option<&str>) -> Option<Self> {
        let name = name.unwrap_or("7bit").trim().to_ascii_lowercase();
        match name.as_str() {
            "7bit" | "8bit" | "binary" | "" => Some(Self::Identity),
            "base64" => Some(Self::Base64(Base64::default())),
            "quoted-printable" => Some(Self::QuotedPrintable(QuotedPrintable::default())),
            _ => None,
        }
    }

    /// Decodes a line, or a piece of a long one, onto `out`. `ends`: the line ends behind it.
    pub(super) fn decode(&mut self, piece: &[u8], ends: bool, out: &mut Vec<u8>) -> Result<(), Improper> {
        match self {
            Self::Identity => {
                out.extend_from_slice(piece);
                if ends {
                    out.extend_from_slice(b"\r\n");
                }
                Ok(())
            }
            Self::Base64(state) => state.decode(piece, out),
            Self::QuotedPrintable(state) => state.decode(piece, ends, out),
        }
    }
}

/// The content is not what its encoding allows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Improper;

#[derive(Debug, Default)]
pub(super) struct Base64 {
    bits: u32,
    held: u32,
    padded: bool,
}

impl Base64 {
    fn decode(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Improper> {
        let mut proper = Ok(());
        for byte in piece {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' => {
                    self.padded = true;
                    (self.bits, self.held) = (0, 0);
                    continue;
                }
                b' ' | b'\t' => continue,
                _ => {
                    proper = Err(Improper);
                    continue;
                }
            };
            if std::mem::take(&mut self.padded) {
                proper = Err(Improper); // More after its end.
            }
            self.bits = self.bits << 6 | u32::from(value);
            self.held += 6;
            if self.held >= 8 {
                self.held -= 8;
                out.push((self.bits >> self.held).to_be_bytes()[3]);
                self.bits &= (1 << self.held) - 1;
            }
        }
        proper
    }
}

#[derive(Debug, Default)]
pub(super) struct QuotedPrintable {
    /// What may be the beginning of an encoded byte, at the end of a piece.
    carried: Vec<u8>,
}

impl QuotedPrintable {
    fn decode(&mut self, piece: &[u8], ends: bool, out: &mut Vec<u8>) -> Result<(), Improper> {
        let mut proper = Ok(());
        let joined;
        let mut rest = match self.carried.is_empty() {
            true => piece,
            false => {
                joined = [std::mem::take(&mut self.carried), piece.to_vec()].concat();
                &joined
            }
        };
        if ends {
            // Blanks at the end of a line are not part of it.
            let end = rest.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |at| at + 1);
            rest = &rest[..end];
        }
        let mut soft = false;
        while let Some(at) = rest.iter().position(|byte| *byte == b'=') {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            match (rest, ends) {
                ([], true) => soft = true,
                ([] | [_], false) => {
                    self.carried = [b"=", rest].concat();
                    rest = &[];
                }
                ([high, low, after @ ..], _) if hex(*high).is_some() && hex(*low).is_some() => {
                    out.push(hex(*high).unwrap_or_default() << 4 | hex(*low).unwrap_or_default());
                    rest = after;
                }
                _ => {
                    out.push(b'=');
                    proper = Err(Improper);
                }
            }
        }
        out.extend_from_slice(rest);
        if ends && !soft {
            out.extend_from_slice(b"\r\n");
        }
        proper
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(name: &str, lines: &[&str]) -> (String, Result<(), Improper>) {
        let mut transfer = Transfer::named(Some(name)).unwrap();
        let mut out = Vec::new();
        let mut proper = Ok(());
        for line in lines {
            proper = proper.and(transfer.decode(line.as_bytes(), true, &mut out));
        }
        (String::from_utf8(out).unwrap(), proper)
    }

    #[test]
    fn lines_are_decoded() {
        assert_eq!(
            decoded("QUOTED-PRINTABLE", &["a=3D=C3=BC  ", "so=", "ft"]),
            ("a=ü\r\nsoft\r\n".into(), Ok(()))
        );
        assert_eq!(decoded("quoted-printable", &["a=b"]), ("a=b\r\n".into(), Err(Improper)));
        assert_eq!(decoded("Base64", &["aGVs", "bG8=", ""]), ("hello".into(), Ok(())));
        assert_eq!(decoded("base64", &["aGV*sbG8="]), ("hello".into(), Err(Improper)));
        assert_eq!(decoded("8bit", &["a ", "b"]), ("a \r\nb\r\n".into(), Ok(())));
        assert!(Transfer::named(Some("x-uuencode")).is_none());
    }

    #[test]
    fn an_encoded_byte_may_lie_across_two_pieces() {
        for cut in 0..7 {
            let text = b"x=C3=BC";
            let mut transfer = Transfer::named(Some("quoted-printable")).unwrap();
            let mut out = Vec::new();
            transfer.decode(&text[..cut], false, &mut out).unwrap();
            transfer.decode(&text[cut..], true, &mut out).unwrap();
            assert_eq!(out, "xü\r\n".as_bytes(), "{cut}");
        }
    }
}
