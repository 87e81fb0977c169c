//! The pipelined client: one connection to an IMAP server.
//!
//! [`connect`] gives a [`Session`], whose verbs run one command at a time. For speed a session is used by its two
//! halves: a [`Writer`] that queues commands and bodies, and a [`Reader`] that gives [`Event`]s. Bodies are never
//! held: they pass as slices of the read buffer, and memory per connection stays at its buffers (64 KiB to read, as much
//! below TLS, 96 KiB to write) plus the response under way.
//!
//! # A copy loop
//!
//! One FETCH at the source, one APPEND per message at the target, nobody waiting for an answer:
//!
//! ```no_run
//! use std::pin::pin;
//!
//! use mailferry_imap::net::{Append, Error, Event, Session};
//! use mailferry_imap::{Flags, FolderName, UidSet};
//!
//! async fn copy(source: &mut Session, uids: &UidSet, target: &mut Session, to: &FolderName) -> Result<(), Error> {
//!     let (asking, bodies) = source.halves();
//!     let (appending, answers) = target.halves();
//!     asking.fetch_bodies(uids).await?; // Ask for the next set before this one ends: no gap between them.
//!     asking.flush().await?;
//!
//!     let mut pump = pin!(async {
//!         let mut open = None; // The APPEND under way; `None` where the target refused it before its body.
//!         loop {
//!             let event = match bodies.try_next()? {
//!                 Some(event) => event,
//!                 None => {
//!                     appending.flush().await?; // Before waiting, let go what the target can work on.
//!                     bodies.next().await?
//!                 }
//!             };
//!             match event {
//!                 // The intent for this UID is durable by now; flags and date were fetched before.
//!                 Event::BodyStart { uid: _, size, .. } => {
//!                     open = match appending.append(to, &Flags::default(), None, size).await? {
//!                         Append::Open(tag) => Some(tag), // Remember which message this tag is.
//!                         Append::Refused(_) => None,     // Its bytes are let pass.
//!                     };
//!                 }
//!                 Event::BodyChunk(bytes) if open.is_some() => appending.chunk(&bytes).await?,
//!                 Event::BodyEnd { .. } if open.is_some() => {
//!                     appending.finish().await?;
//!                 }
//!                 Event::Tagged { .. } => break appending.flush().await, // `text` may be NO: then some did not come.
//!                 _ => {}
//!             }
//!         }
//!     });
//!     let mut pumped = false;
//!     while !pumped || answers.outstanding() > 0 {
//!         tokio::select! {
//!             done = &mut pump, if !pumped => {
//!                 done?;
//!                 pumped = true;
//!             }
//!             event = answers.next() => match event? {
//!                 Event::Tagged { tag: _, text: _ } => {} // The outcome of one APPEND: APPENDUID is in `text.code`.
//!                 _ => {}
//!             },
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! What to mind:
//! - The target's reader must be driven all the time: [`Writer::append`] waits for a `+` that only the reader hears
//!   (without LITERAL+), and a server whose answers nobody reads stops taking bytes.
//! - [`Reader::next`] is cancel safe and may stand in a `select!`. The futures of [`Writer`] are not: finish what
//!   was begun, or drop the connection.
//! - [`Writer`] sends when 96 KiB are queued and at [`Writer::flush`]: flush before waiting for something that the
//!   queued bytes bring about.
//! - A message that the source does not give (expunged meanwhile) has no [`Event::BodyStart`]; one whose body is `NIL`
//!   comes as [`Event::Untagged`] with a FETCH that has no section.
//! - When the source breaks in the middle of a body the APPEND cannot be taken back: drop the target connection, and
//!   the server drops the message. A message whose [`Writer::finish`] was flushed and whose answer did not come is
//!   in doubt.
//! - When the writer breaks ([`Error::Lost`]), let the reader go on to its own error: the server may have said why.
//! - Every error but [`Error::Refused`], [`Error::Unsupported`] and [`Error::Misuse`] is the end of the connection.

mod connect;
mod error;
mod folders;
mod io;
mod link;
mod login;
mod messages;
mod reader;
mod session;
mod tls;
mod writer;

#[cfg(test)]
mod tests;

pub use connect::{Limits, Security, Server, Trust, connect, connect_with, wrap};
pub use error::Error;
pub use folders::Selected;
pub use messages::{StoreKind, Transferred};
pub use reader::{Event, Reader};
pub use session::Session;
pub use tls::{TlsClient, TlsError};
pub use writer::{Append, Tag, Writer};
