//! The account as one JSON document, written as it comes:
//! `{batch, at, gate, …, mailboxes: [{…, folders: [{…, messages: [{…}]}]}]}`.

use super::Scribe;
use mailferry_sync::batch::account::AccountLine;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write};

/// How deep the document is open.
#[derive(Default)]
pub struct Document {
    /// Objects of mailbox and folder that are open, and how many stand before the next one.
    mailboxes: u64,
    folders: u64,
    messages: u64,
    depth: Depth,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    #[default]
    Nothing,
    Batch,
    Mailbox,
    Folder,
}

impl Document {
    /// Ends what is open below `depth`.
    fn rise_to(&mut self, depth: Depth, out: &mut dyn Write) -> io::Result<()> {
        while self.depth > depth {
            out.write_all(if self.depth == Depth::Batch { b"\n]}\n" } else { b"]}" })?;
            self.depth = match self.depth {
                Depth::Folder => Depth::Mailbox,
                Depth::Mailbox => Depth::Batch,
                Depth::Batch | Depth::Nothing => Depth::Nothing,
            };
        }
        Ok(())
    }
}

/// An object that stays open: its list `name` follows.
fn open(value: &impl Serialize, name: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut text = serde_json::to_string(value)?;
    text.pop();
    write!(out, "{text}{}\"{name}\":[", if text.len() > 1 { "," } else { "" })
}

fn separate(before: &mut u64, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(if *before > 0 { b",\n" } else { b"\n" })?;
    *before += 1;
    Ok(())
}

impl Scribe for Document {
    fn line(&mut self, line: &AccountLine, out: &mut dyn Write) -> io::Result<()> {
        match line {
            AccountLine::Batch { .. } => {
                let mut head = serde_json::to_value(line)?;
                if let Value::Object(head) = &mut head {
                    head.remove("what");
                }
                open(&head, "mailboxes", out)?;
                self.depth = Depth::Batch;
            }
            AccountLine::Mailbox(mailbox) => {
                self.rise_to(Depth::Batch, out)?;
                separate(&mut self.mailboxes, out)?;
                open(mailbox, "folders", out)?;
                self.folders = 0;
                self.depth = Depth::Mailbox;
            }
            AccountLine::Folder(folder) => {
                self.rise_to(Depth::Mailbox, out)?;
                separate(&mut self.folders, out)?;
                open(folder, "messages", out)?;
                self.messages = 0;
                self.depth = Depth::Folder;
            }
            AccountLine::Message(message) => {
                separate(&mut self.messages, out)?;
                serde_json::to_writer(out, message)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.rise_to(Depth::Nothing, out)
    }
}
