//! The account as a page: one file, no script, nothing loaded from anywhere. It lists what is not on Office 365.

use super::Scribe;
use crate::output::{bytes, moment, number, printable};
use mailferry_sync::batch::{
    BatchStatus, Forced, MailboxStatus,
    account::{AccountLine, FolderAccount, MessageAccount},
};
use mailferry_sync::gate::Gate;
use std::io::{self, Write};

/// How many messages of one mailbox are listed; the CSV has them all.
const LISTED: u64 = 5_000;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#1b1b1b}\
h1{font-size:1.6em}h2{font-size:1.2em;margin-top:2em}table{border-collapse:collapse;margin:.6em 0;width:100%}\
th,td{border-bottom:1px solid #ddd;padding:.25em .6em;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{background:#f4f4f4}.n{text-align:right;white-space:nowrap}.bad{color:#b00020;font-weight:600}.good{color:#0a6b2d}\
.note{color:#555}";

/// Writes the page as the account comes; holds the rows of one mailbox's leftovers.
#[derive(Default)]
pub struct Page {
    folder: FolderAccount,
    /// Rows of the current mailbox's messages.
    left: String,
    listed: u64,
    unlisted: u64,
    begun: Begun,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Begun {
    #[default]
    Nothing,
    Mailbox,
}

impl Scribe for Page {
    fn line(&mut self, line: &AccountLine, out: &mut dyn Write) -> io::Result<()> {
        match line {
            AccountLine::Batch { batch, at, gate, forced, is_removed, left_out } => {
                head(batch, *at, forced.as_ref(), out)?;
                if *is_removed {
                    writeln!(
                        out,
                        "<p class=note>The batch is removed: these are the figures of that moment. Of single messages, \
                         those that were skipped are kept{}.</p>",
                        match left_out {
                            0 => String::new(),
                            more => format!(" (not {} further ones)", number(*more)),
                        }
                    )?;
                }
                gate_of(gate, out)
            }
            AccountLine::Mailbox(mailbox) => {
                self.end_mailbox(out)?;
                self.begun = Begun::Mailbox;
                mailbox_head(mailbox, out)
            }
            AccountLine::Folder(folder) => {
                self.folder = folder.clone();
                folder_row(folder, out)
            }
            AccountLine::Message(message) => {
                self.message(message);
                Ok(())
            }
        }
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.end_mailbox(out)?;
        out.write_all(b"</body></html>\n")
    }
}

impl Page {
    fn message(&mut self, message: &MessageAccount) {
        if self.listed >= LISTED {
            self.unlisted += 1;
            return;
        }
        self.listed += 1;
        let optional = |text: &Option<String>| escape(text.as_deref().unwrap_or_default());
        self.left.push_str(&format!(
            "<tr><td>{}<td class=n>{}<td class=n>{}<td>{}<td>{}<td>{}<td>{}</tr>\n",
            escape(&self.folder.source),
            message.uid,
            bytes(message.size),
            escape(&message.date),
            optional(&message.sender),
            optional(&message.subject),
            match &message.reason {
                Some(reason) => format!("skipped: {}", escape(reason)),
                None => escape(&message.state),
            },
        ));
    }

    fn end_mailbox(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::take(&mut self.begun) == Begun::Nothing {
            return Ok(());
        }
        out.write_all(b"</table>\n")?;
        if !self.left.is_empty() {
            out.write_all(
                b"<h3>Not on Office 365</h3>\n<table><tr><th>Folder<th class=n>UID<th class=n>Size<th>Date\
                  <th>Sender<th>Subject<th>State</tr>\n",
            )?;
            out.write_all(self.left.as_bytes())?;
            out.write_all(b"</table>\n")?;
        }
        if self.unlisted > 0 {
            let more = number(self.unlisted);
            writeln!(
                out,
                "<p class=note>And {more} more: <code>batch report --format csv</code> lists all.</p>"
            )?;
        }
        (self.left, self.listed, self.unlisted) = (String::new(), 0, 0);
        Ok(())
    }
}

fn head(
    batch: &BatchStatus,
    at: jiff::Timestamp,
    forced: Option<&Forced>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = escape(&batch.name);
    let tally = &batch.tally;
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>\
         <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>Report of batch {name}</title><style>{STYLE}</style></head><body>\n\
         <h1>Report of batch {name}</h1>\n<p>Made {}. State: {}. Last synced: {}.</p>\n",
        escape(&moment(Some(at))),
        escape(&batch.state),
        escape(&moment(batch.last_synced)),
    )?;
    if let Some(forced) = forced {
        let (by, reason) = (escape(&forced.by), escape(&forced.reason));
        writeln!(out, "<p class=bad>Removed by force by {by}: {reason}</p>")?;
    }
    writeln!(
        out,
        "<p>{} mailboxes; {} of {} messages on Office 365 ({} of {}), {} pending, {} skipped, {} gone from the source.</p>",
        number(batch.mailboxes.into()),
        number(tally.messages_done),
        number(tally.messages_total),
        bytes(tally.bytes_done),
        bytes(tally.bytes_total),
        number(tally.pending),
        number(tally.skipped),
        number(tally.gone),
    )
}

fn gate_of(gate: &Gate, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"<h2>The gate</h2>\n<pre>")?;
    let lines: Vec<String> = gate.to_string().lines().map(escape).collect();
    out.write_all(lines.join("\n").as_bytes())?;
    out.write_all(b"</pre>\n")
}

fn mailbox_head(mailbox: &MailboxStatus, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "<h2>{}</h2>\n<p>{}; last synced {}{}.</p>\n<table><tr><th>Folder<th>On Office 365<th class=n>At the source\
         <th class=n>Mirrored<th class=n>Pending<th class=n>Skipped<th class=n>Gone<th class=n>Size<th>Adds up</tr>",
        escape(&mailbox.address),
        escape(&mailbox.state),
        escape(&moment(mailbox.last_synced)),
        mailbox.detail.as_ref().map(|detail| format!("; {}", escape(detail))).unwrap_or_default(),
    )
}

fn folder_row(folder: &FolderAccount, out: &mut dyn Write) -> io::Result<()> {
    let (class, adds_up) = match folder.adds_up {
        Some(true) => ("good", "yes".to_owned()),
        Some(false) => ("bad", "moved since the last pass".to_owned()),
        None => ("note", "no pass yet".to_owned()),
    };
    let held = match folder.held_deletions {
        0 => String::new(),
        held => format!(", {} deletions held", number(held.into())),
    };
    writeln!(
        out,
        "<tr><td>{}{}<td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}\
         <td class={class}>{adds_up}{held}</tr>",
        escape(&folder.source),
        if folder.is_gone { " (gone)" } else { "" },
        escape(&folder.target),
        folder.at_source.map_or_else(|| "-".to_owned(), |messages| number(messages.into())),
        number(folder.counts.mirrored),
        number(folder.counts.pending),
        number(folder.counts.skipped),
        number(folder.counts.gone),
        bytes(folder.counts.mirrored_bytes + folder.counts.pending_bytes + folder.counts.skipped_bytes),
    )
}

/// Text for anywhere in a page.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
