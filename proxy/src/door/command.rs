//! Commands before a login, as far as the door must know them: one that comes in, and a login on its way.

use bytes::Bytes;
use mailferry_imap::token::Part;
use zeroize::Zeroize;

use super::Login;
use super::line::{Literal, first_word};
use crate::id::{Fate, Screen, Unreadable};
use crate::sasl::Sasl;

/// A command that the source has not answered.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) tag: Vec<u8>,
    pub(super) hasty: bool,
}

/// A command that is coming in.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) tag: Vec<u8>,
    pub(super) verb: Verb,
    pub(super) parts: Vec<Part>,
    pub(super) size: usize,
    /// A literal of it came unasked: a source that says BAD may have read commands there.
    pub(super) hasty: bool,
    /// Of ID.
    pub(super) screen: Option<Screen>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    Login,
    Authenticate,
    StartTls,
    Compress,
    Id,
    Other,
}

/// A login on its way.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) tag: Vec<u8>,
    pub(super) hasty: bool,
    pub(super) sasl: Option<Sasl>,
    /// Of LOGIN.
    pub(super) login: Login,
}

impl Attempt {
    pub(super) fn into_login(self) -> Login {
        match self.sasl {
            Some(sasl) => Login {
                name: sasl.name(),
                tried: sasl.tried(),
                layer: sasl.layer(),
                password: sasl.into_password(),
            },
            None => self.login,
        }
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        for part in self.parts.drain(..) {
            match part {
                Part::Text(bytes) | Part::Literal(bytes) => wipe(bytes),
                Part::Streamed { .. } => {}
            }
        }
    }
}

/// Overwrites bytes that nobody else holds.
pub(super) fn wipe(bytes: Bytes) {
    if let Ok(mut bytes) = bytes.try_into_mut() {
        bytes.zeroize();
    }
}

/// Tag and verb of a line that may be cut.
pub(super) fn words(line: &[u8]) -> (&[u8], Verb) {
    let tag = first_word(line);
    if tag.len() == line.len() || line[tag.len()] != b' ' {
        return (b"", Verb::Other);
    }
    let verb = first_word(&line[tag.len() + 1..]);
    let is = |other: &[u8]| verb.eq_ignore_ascii_case(other);
    let verb = if is(b"LOGIN") {
        Verb::Login
    } else if is(b"AUTHENTICATE") {
        Verb::Authenticate
    } else if is(b"STARTTLS") {
        Verb::StartTls
    } else if is(b"COMPRESS") {
        Verb::Compress
    } else if is(b"ID") {
        Verb::Id
    } else {
        Verb::Other
    };
    (tag, verb)
}

impl Current {
    /// What of a text goes out, `None` for all of it as it stands, and what becomes of the literal that it announces.
    pub(super) fn going(
        &mut self,
        text: &[u8],
        literal: Option<Literal>,
    ) -> Result<(Option<Vec<u8>>, Fate), Unreadable> {
        // Behind the tag, a blank and `ID`.
        let head = if self.parts.len() == 1 { self.tag.len() + 3 } else { 0 };
        let Some(screen) = &mut self.screen else { return Ok((None, Fate::Passes)) };
        let until = literal.and_then(|_| memchr::memrchr(b'{', text)).unwrap_or(text.len());
        let before = text.get(head..until).ok_or(Unreadable)?;
        if literal.is_some() && before.ends_with(b"~") {
            return Err(Unreadable); // No string (RFC 2971): sources may read a word there, or none.
        }
        let kept = screen.on_text(before)?;
        let fate = match literal {
            Some(literal) if literal.apart => screen.fate()?,
            Some(_) => return Err(Unreadable),
            None => Fate::Passes,
        };
        let announcement = if fate == Fate::Passes { &text[until..] } else { b"" };
        let going = [&text[..head], &kept, announcement].concat();
        Ok(((going != text).then_some(going), fate))
    }

    /// Some sources take a tab for a blank.
    pub(super) fn has_tabs(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains(&b'\t')))
    }
}

impl Verb {
    pub(super) fn is_login(self) -> bool {
        matches!(self, Self::Login | Self::Authenticate)
    }
}
