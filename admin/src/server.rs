//! Listening: on a Unix socket that only its owner may open, and on TCP for those who have the token.

use crate::problem::Problem;
use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

/// Why nobody can reach us.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon answers there.
    #[error("another daemon listens at {}", .0.display())]
    InUse(PathBuf),
    /// What stands at the socket's path is no socket.
    #[error("{} is there and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The operating system refused.
    #[error("cannot listen at {place}: {error}")]
    Io {
        /// Path or address.
        place: String,
        /// Its words.
        #[source]
        error: io::Error,
    },
}

/// Opens the Unix socket at `path`, mode 0600. One that a dead daemon left is replaced.
pub async fn listen_unix(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |error| ListenError::Io { place: path.display().to_string(), error };
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if !is_socket(&meta) => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).await.is_ok() => return Err(ListenError::InUse(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    // Made under another name and moved: nobody can connect before the mode is right.
    let mut young = path.as_os_str().to_owned();
    young.push(".new");
    let young = PathBuf::from(young);
    let _ = fs::remove_file(&young);
    let listener = UnixListener::bind(&young).map_err(failed)?;
    fs::set_permissions(&young, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&young, path).map_err(failed)?;
    Ok(listener)
}

fn is_socket(meta: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    meta.file_type().is_socket()
}

/// Opens the TCP listener.
pub async fn listen_tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|error| ListenError::Io { place: address.to_string(), error })
}

/// Serves the Unix socket until told to stop; requests under way are answered.
pub async fn serve_unix(
    listener: UnixListener,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// Serves TCP: only requests with `Authorization: Bearer TOKEN`, but for `/healthz`.
pub async fn serve_tcp(
    listener: TcpListener,
    router: Router,
    token: SecretString,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let router = router.layer(middleware::from_fn_with_state(Arc::new(token), authorize));
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn authorize(State(token): State<Arc<SecretString>>, request: Request, next: Next) -> Response {
    let given =
        request.headers().get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let welcome = given.is_some_and(|given| same(given, token.expose_secret().as_bytes()));
    if welcome || request.uri().path() == "/healthz" {
        return next.run(request).await;
    }
    let problem = Problem::usage("the token is missing or wrong")
        .next("send Authorization: Bearer with the token of admin.token_file");
    (StatusCode::UNAUTHORIZED, axum::Json(problem)).into_response()
}

/// Compares in a time that tells nothing about where they differ.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    given.len() == wanted.len() && given.iter().zip(wanted).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    use axum::routing::get;
    use std::os::unix::fs::FileTypeExt;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

    fn router() -> Router {
        Router::new().route("/healthz", get(async || "alive")).route("/v1/status", get(async || "secrets"))
    }

    async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str, header: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_a_dead_daemons_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/admin.sock");
        // Dropped, it stays as a file that nobody serves: so does that of a daemon that was killed.
        drop(listen_unix(&path).await.unwrap());
        let listener = listen_unix(&path).await.unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert!(meta.file_type().is_socket());
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        assert!(matches!(listen_unix(&path).await, Err(ListenError::InUse(_))));

        let stop = CancellationToken::new();
        let served = tokio::spawn(serve_unix(listener, router(), stop.clone()));
        let answer = ask(UnixStream::connect(&path).await.unwrap(), "/v1/status", "").await;
        assert!(answer.ends_with("secrets"), "{answer}");
        stop.cancel();
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_file_at_the_sockets_place_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(listen_unix(&path).await, Err(ListenError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn over_tcp_only_the_token_opens() {
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve_tcp(listener, router(), "right".to_owned().into(), stop.clone()));
        for (path, header, expected) in [
            ("/v1/status", "", "HTTP/1.1 401"),
            ("/v1/status", "authorization: Bearer wrong\r\n", "HTTP/1.1 401"),
            ("/v1/status", "authorization: Basic right\r\n", "HTTP/1.1 401"),
            ("/v1/status", "authorization: Bearer right\r\n", "HTTP/1.1 200"),
            ("/healthz", "", "HTTP/1.1 200"),
        ] {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let answer = ask(stream, path, header).await;
            assert!(answer.starts_with(expected), "{path} {header}: {answer}");
            assert!(!answer.contains("right"), "{answer}");
        }
        stop.cancel();
        served.await.unwrap().unwrap();
    }

    #[test]
    fn only_the_very_token_is_the_same() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abd", b"abc"));
        assert!(!same(b"ab", b"abc"));
        assert!(!same(b"", b"abc"));
    }
}
