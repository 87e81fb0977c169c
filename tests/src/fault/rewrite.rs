//! An APPEND whose message is written anew on its way to the server.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Shared;
use super::frame::Literal;
use crate::exchange::rewritten;

/// What was sent of it so far.
pub struct Appending {
    /// The command up to the literal's announcement.
    head: String,
    message: Vec<u8>,
}

impl Appending {
    /// If this line begins one whose literal is the message, and messages are written anew.
    pub fn begin(line: &[u8], literal: Option<Literal>, shared: &Shared) -> Option<Self> {
        literal.filter(|_| shared.rewrites.load(Ordering::Relaxed))?;
        let text = str::from_utf8(line).ok()?;
        let (head, _) = text.trim_end().rsplit_once('{')?;
        let mut words = head.splitn(3, ' ').skip(1);
        let is_append = words.next()?.eq_ignore_ascii_case("APPEND");
        // A literal right behind the verb is the folder's name.
        let names_folder = !words.next()?.trim().is_empty();
        (is_append && names_folder).then(|| Self { head: head.to_owned(), message: Vec::new() })
    }

    /// Bytes of the message.
    pub fn body(&mut self, bytes: &[u8]) {
        self.message.extend_from_slice(bytes);
    }

    /// The command as the server gets it; `line` is its end.
    pub fn end(self, line: &[u8], shared: &Shared) -> Bytes {
        let number = shared.rewritten.fetch_add(1, Ordering::Relaxed);
        let message = rewritten(&self.message, number);
        let head = format!("{}{{{}+}}\r\n", self.head, message.len());
        Bytes::from([head.as_bytes(), &message, line].concat())
    }
}
