//! nginx's mail proxy: TLS with the client, none with the source (it knows none), and an HTTP server of ours that tells it
//! where to go.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Context;
use mailferry_tests::child::Server;
use mailferry_tests::place::{free_port, loopback};
use mailferry_tests::stand::Stand;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::{NGINX, Way, listens};

/// The proxy and the answers that it needs.
pub(super) struct Nginx {
    _server: Server,
    answers: JoinHandle<()>,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

pub(super) async fn start(stand: &Stand) -> anyhow::Result<(Way, Nginx)> {
    let dir = stand.path().join("nginx");
    std::fs::create_dir_all(&dir)?;
    let listener = TcpListener::bind(loopback(0)).await?;
    let asked = listener.local_addr()?;
    let answers = tokio::spawn(answer_all(listener, stand.source.imap()));
    let address = loopback(free_port()?);
    let config = dir.join("nginx.conf");
    let leaf = stand.leaf();
    let text = format!(
        "load_module /usr/lib/nginx/modules/ngx_mail_module.so;\n\
         daemon off;\nworker_processes 2;\nworker_rlimit_nofile 20000;\npid {d}/pid;\nerror_log {d}/error.log warn;\n\
         events {{ worker_connections 9000; }}\n\
         mail {{\n  auth_http {asked}/auth;\n  server_name localhost;\n  server {{\n    listen {address} ssl backlog=1024;\n    \
         protocol imap;\n    ssl_certificate {certificate};\n    ssl_certificate_key {key};\n    \
         ssl_protocols TLSv1.3;\n    timeout 1h;\n    proxy_timeout 1h;\n  }}\n}}\n",
        d = dir.display(),
        certificate = leaf.certificate_file.display(),
        key = leaf.private_key_file.display(),
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&dir).arg("-e").arg(dir.join("error.log")).arg("-c").arg(&config);
    let mut server = Server::start(NGINX, command, &dir.join("out.log")).context("nginx")?;
    listens(&mut server, address).await?;
    Ok((Way { name: NGINX, address, pid: Some(server.pid()) }, Nginx { _server: server, answers }))
}

async fn answer_all(listener: TcpListener, source: SocketAddr) {
    let mut answering = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                answering.spawn(answer(stream, source));
            },
            Some(_) = answering.join_next() => {}
        }
    }
}

/// Whoever asks is sent to the source, which checks the password.
async fn answer(mut stream: TcpStream, source: SocketAddr) -> std::io::Result<()> {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut asked).await? == 0 {
            return Ok(());
        }
    }
    let text = format!(
        "HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: {}\r\nAuth-Port: {}\r\n\r\n",
        source.ip(),
        source.port()
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
