//! The pipelined client: one connection to an IMAP server.

mod connect;
mod error;
mod io;
mod link;
mod login;
mod reader;
mod session;
mod tls;
mod writer;

pub use connect::{Limits, Security, Server, Trust, connect, connect_with, wrap};
pub use error::Error;
pub use reader::{Event, Reader};
pub use session::{Selected, Session, StoreKind};
pub use tls::{TlsClient, TlsError};
pub use writer::{Append, Tag, Writer};
