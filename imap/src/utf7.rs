//! Modified UTF-7 (RFC 3501 section 5.1.3): how folder names travel.
//!
//! Names are bytes first. [`decode`] accepts only what [`encode`] would have written, so that no two wire names
//! ever become one text and no byte is lost on the way back.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Text to wire. Every text has a wire form.
pub fn encode(text: &str) -> Vec<u8> {
    let mut wire = Vec::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(&next) = chars.peek() {
        if is_direct(next) {
            wire.push(next as u8);
            chars.next();
        } else if next == '&' {
            wire.extend_from_slice(b"&-");
            chars.next();
        } else {
            wire.push(b'&');
            let mut bits = Bits::default();
            while let Some(odd) = chars.next_if(|&next| !is_direct(next) && next != '&') {
                for unit in odd.encode_utf16(&mut [0; 2]) {
                    bits.push(*unit, &mut wire);
                }
            }
            bits.finish(&mut wire);
            wire.push(b'-');
        }
    }
    wire
}

/// Wire to text; `None` where it is not the one modified UTF-7 form of a text.
pub fn decode(wire: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(wire.len());
    let mut rest = wire;
    while let Some((&first, after)) = rest.split_first() {
        if first != b'&' {
            text.push(char::from(first));
            rest = after;
            continue;
        }
        let end = after.iter().position(|byte| *byte == b'-')?;
        let (shifted, after) = after.split_at(end);
        rest = &after[1..];
        if shifted.is_empty() {
            text.push('&');
        } else {
            for unit in char::decode_utf16(units(shifted)?) {
                text.push(unit.ok()?);
            }
        }
    }
    // Raw 8-bit bytes, needless shifts, odd padding: all of them would not come back as they were.
    (encode(&text) == wire).then_some(text)
}

fn is_direct(next: char) -> bool {
    matches!(next, ' '..='~') && next != '&'
}

/// The UTF-16 units of a shifted sequence.
fn units(shifted: &[u8]) -> Option<Vec<u16>> {
    let mut units = Vec::with_capacity(shifted.len() * 6 / 16);
    let (mut held, mut count) = (0u32, 0);
    for byte in shifted {
        let six = ALPHABET.iter().position(|known| known == byte)?;
        held = held << 6 | u32::try_from(six).ok()?;
        count += 6;
        if count >= 16 {
            count -= 16;
            units.push((held >> count & 0xffff) as u16);
            held &= (1 << count) - 1;
        }
    }
    Some(units)
}

/// Bits on their way into base64 digits.
#[derive(Default)]
struct Bits {
    held: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, unit: u16, wire: &mut Vec<u8>) {
        self.held = self.held << 16 | u32::from(unit);
        self.count += 16;
        while self.count >= 6 {
            self.count -= 6;
            wire.push(ALPHABET[(self.held >> self.count & 63) as usize]);
        }
        self.held &= (1 << self.count) - 1;
    }

    fn finish(self, wire: &mut Vec<u8>) {
        if self.count > 0 {
            wire.push(ALPHABET[(self.held << (6 - self.count) & 63) as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_real_servers() {
        for (text, wire) in [
            ("INBOX", "INBOX"),
            ("Sent & Received", "Sent &- Received"),
            ("Éléments envoyés", "&AMk-l&AOk-ments envoy&AOk-s"),
            ("Gelöschte Elemente", "Gel&APY-schte Elemente"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Отправленные", "&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-"),
            ("😀", "&2D3eAA-"),
            ("tab\there", "tab&AAk-here"),
            ("&", "&-"),
            ("é&é", "&AOk-&-&AOk-"),
            ("", ""),
        ] {
            assert_eq!(encode(text), wire.as_bytes(), "{text}");
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(text), "{wire}");
        }
    }

    #[test]
    fn what_would_not_come_back_is_refused() {
        for wire in [
            b"&".as_slice(),
            b"&AOk",
            b"&AOk-&AOk-",
            b"&AGE-",
            b"&2D0-",
            b"&A-",
            b"&AOl-",
            b"&AO/-",
            b"caf\xc3\xa9",
            b"caf\xe9",
            b"a\tb",
            b"a\0b",
            b"\x7f",
        ] {
            assert_eq!(decode(wire), None, "{wire:?}");
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            let wire = encode(&text);
            prop_assert!(wire.iter().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(decode(&wire), Some(text));
        }

        #[test]
        fn no_byte_of_a_decoded_name_is_lost(wire in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Some(text) = decode(&wire) {
                prop_assert_eq!(encode(&text), wire);
            }
        }

        #[test]
        fn nor_of_a_likely_one(wire in "[&A-Za-c0-9+,-]{0,24}") {
            if let Some(text) = decode(wire.as_bytes()) {
                prop_assert_eq!(encode(&text), wire.as_bytes());
            }
        }
    }
}
