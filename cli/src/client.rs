//! Asking the daemon: one HTTP request over its Unix socket.

use crate::config::{Config, DEFAULT_SOCKET};
use crate::{args::Global, failure::Failure};
use bytes::BytesMut;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{Connection, SendRequest, handshake},
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use mailferry_admin::{
    problem::{Fault, Problem},
    stream::{Line, MAX_LINE},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{io, path::PathBuf};
use tokio::{net::UnixStream, task::JoinHandle};

const JSON: &str = "application/json";

/// What carries a request and its answer; it must be polled.
type Exchange = Connection<TokioIo<UnixStream>, Full<Bytes>>;

/// Where the daemon listens.
#[derive(Debug, Clone)]
pub struct Daemon {
    socket: PathBuf,
}

impl Daemon {
    /// As `--socket`, the configuration, or the default say, in this order.
    pub fn find(global: &Global) -> Result<Self, Failure> {
        if let Some(socket) = &global.socket {
            return Ok(Self { socket: socket.clone() });
        }
        let file = crate::config_file(global);
        if global.config.is_none() && !readable(&file) {
            return Ok(Self { socket: DEFAULT_SOCKET.into() });
        }
        Ok(Self { socket: Config::load(&file)?.admin.socket })
    }

    /// Asks for `path`.
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send(Method::GET, path, Bytes::new(), "").await
    }

    /// Sends `body` as JSON to `path`.
    pub async fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.send(method, path, json(body)?, JSON).await
    }

    /// Sends `body` as it is.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        content_type: &str,
    ) -> Result<T, Failure> {
        let (mut sender, connection) = self.connect().await?;
        let request = request(method, path, body, content_type)?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        };
        tokio::pin!(exchange);
        let (status, body) = tokio::select! {
            answer = &mut exchange => answer.map_err(|e| self.lost(&e))?,
            // The connection's own end never comes before the answer, unless it broke.
            broken = connection => match broken {
                Ok(()) => exchange.await.map_err(|e| self.lost(&e))?,
                Err(error) => return Err(self.lost(&error)),
            },
        };
        decode(status, &body)
    }

    /// Sends `body` as JSON to `path` and reads the answer as it comes.
    pub async fn stream(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Answer, Failure> {
        let (mut sender, connection) = self.connect().await?;
        let request = request(method, path, json(body)?, JSON)?;
        // It ends with the answer, or when nobody reads that any more.
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|e| self.lost(&e))?;
        let status = response.status();
        if !status.is_success() {
            let body = response.into_body().collect().await.map_err(|e| self.lost(&e))?.to_bytes();
            return Err(decode::<()>(status, &body).err().unwrap_or_else(|| self.cut_off()));
        }
        Ok(Answer { daemon: self.clone(), body: response.into_body(), read: BytesMut::new(), connection })
    }

    async fn connect(&self) -> Result<(SendRequest<Full<Bytes>>, Exchange), Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        handshake(TokioIo::new(stream)).await.map_err(|error| self.lost(&error))
    }

    fn cut_off(&self) -> Failure {
        Problem::local("the daemon's answer was cut off")
            .next("look at its log; the same command may be given again")
            .into()
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Problem::local(format!("the daemon is not running: nobody listens at {socket}"))
                    .next("start it with `systemctl start mailferry` or `mailferry serve`")
            }
            io::ErrorKind::PermissionDenied => {
                Problem::local(format!("the daemon's socket {socket} is not open to you"))
                    .next("run as root or as the user mailferry")
            }
            _ => Problem::local(format!("the daemon's socket {socket}: {error}")),
        }
        .into()
    }

    fn lost(&self, error: &hyper::Error) -> Failure {
        Problem::local(format!("the daemon went away while it was asked: {error}"))
            .next("look at its log; the same command may be given again")
            .into()
    }
}

fn json(body: &impl Serialize) -> Result<Bytes, Failure> {
    let text = serde_json::to_vec(body).map_err(|error| Problem::local(error.to_string()))?;
    Ok(text.into())
}

fn request(
    method: Method,
    path: &str,
    body: Bytes,
    content_type: &str,
) -> Result<Request<Full<Bytes>>, Failure> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "mailferry")
        .header(CONTENT_TYPE, content_type)
        .body(Full::new(body))
        .map_err(|error| Problem::usage(format!("{path}: {error}")))?;
    Ok(request)
}

/// An answer that is read as it comes (`mailferry_admin::stream`).
pub struct Answer {
    daemon: Daemon,
    body: Incoming,
    /// What came and was not read.
    read: BytesMut,
    connection: JoinHandle<Result<(), hyper::Error>>,
}

/// What comes next.
pub enum Next<T> {
    Item(T),
    /// So many raw bytes, to be read by [`Answer::raw`].
    Bytes(u64),
    /// The answer is whole.
    Done,
}

impl Answer {
    /// The next line. An answer that ends early is the error that it ends with.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Next<T>, Failure> {
        let mut seen = 0;
        let end = loop {
            if let Some(at) = self.read[seen..].iter().position(|byte| *byte == b'\n') {
                break seen + at;
            }
            seen = self.read.len();
            if seen > MAX_LINE {
                return Err(
                    Problem::local("the daemon's answer is not understood: a line without end").into()
                );
            }
            self.fill().await?;
        };
        let line = self.read.split_to(end + 1);
        match decode::<Line<T>>(StatusCode::OK, &line)? {
            Line::Item(item) => Ok(Next::Item(item)),
            Line::Bytes(bytes) => Ok(Next::Bytes(bytes)),
            Line::Failed(problem) => Err(problem.into()),
            Line::Done => Ok(Next::Done),
        }
    }

    /// The next raw bytes of `left`, which is counted down.
    pub async fn raw(&mut self, left: &mut u64) -> Result<Bytes, Failure> {
        if self.read.is_empty() {
            self.fill().await?;
        }
        let some = self.read.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= some as u64;
        Ok(self.read.split_to(some).freeze())
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        loop {
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) {
                        self.read.extend_from_slice(data);
                        return Ok(());
                    }
                }
                Some(Err(error)) => return Err(self.daemon.lost(&error)),
                None => return Err(self.daemon.cut_off()),
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn readable(file: &std::path::Path) -> bool {
    std::fs::File::open(file).is_ok()
}

fn decode<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, Failure> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|error| {
            Problem::local(format!("the daemon's answer is not understood: {error}"))
                .next("daemon and command are of different versions? restart the daemon")
                .into()
        });
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Err(problem.into()),
        Err(_) => Err(Problem::new(
            Fault::Local,
            format!("the daemon answered {status}: {}", String::from_utf8_lossy(body)),
        )
        .into()),
    }
}

/// One segment of a path, so that a name may hold anything.
pub fn segment(name: &str) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_fits_into_a_path() {
        assert_eq!(segment("a b/ü?"), "a%20b%2F%C3%BC%3F");
        assert_eq!(segment("terry@contoso.edu"), "terry@contoso.edu");
    }

    #[test]
    fn the_daemons_problem_decides_the_exit_code() {
        let body = br#"{"error":"x","fault":"throttled","next":"wait"}"#;
        let failure = decode::<()>(StatusCode::SERVICE_UNAVAILABLE, body).unwrap_err();
        assert_eq!(failure.exit_code(), 75);
        let failure = decode::<()>(StatusCode::BAD_GATEWAY, b"<html>").unwrap_err();
        assert_eq!(failure.exit_code(), 7);
    }
}
