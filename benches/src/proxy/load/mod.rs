//! The load: a client that does as little as it can, so that the servers have the processors.
//!
//! It speaks TLS 1.3 with one cipher, never resumes a session, and looks at no byte but the last lines of an answer.

pub(crate) mod bulk;
pub(crate) mod idle;
pub(crate) mod login;
pub(crate) mod paced;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use mailferry_benches::session::Session;
use mailferry_benches::tls::Tls;
use tokio::net::TcpSocket;

use crate::mail::Reader;
use crate::servers::Way;

/// Where sessions go and how.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) way: &'a Way,
    pub(crate) tls: &'a Tls,
}

impl At<'_> {
    /// A session of client number `client`, greeted.
    pub(crate) async fn connect(&self, client: usize) -> anyhow::Result<Session> {
        let socket = TcpSocket::new_v4()?;
        // Some clients to an address: limits for one address are not what is measured.
        let last = u8::try_from(client % 16)? + 1;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
        let tcp = socket.connect(self.way.address).await.context("connect")?;
        Session::greeted(self.tls.connect(tcp).await?).await
    }

    /// The same, logged in.
    pub(crate) async fn log_in(&self, client: usize, reader: &Reader) -> anyhow::Result<Session> {
        let mut session = self.connect(client).await?;
        session.log_in(&reader.login, &reader.password).await?;
        Ok(session)
    }
}

/// What was done in which time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

impl Done {
    pub(crate) fn per_second(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64()
    }

    pub(crate) fn gigabytes(&self) -> f64 {
        self.bytes as f64 / 1e9
    }
}
