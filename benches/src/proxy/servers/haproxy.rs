//! haproxy in TCP mode: ends the client's TLS, begins TLS with the source and verifies it.

use std::process::Command;

use anyhow::Context;
use mailferry_tests::child::Server;
use mailferry_tests::place::{free_port, loopback};
use mailferry_tests::stand::Stand;

use super::{HAPROXY, Way, listens};
use mailferry_benches::tls::CIPHER;

pub(super) async fn start(stand: &Stand) -> anyhow::Result<(Way, Server)> {
    let dir = stand.path().join("haproxy");
    std::fs::create_dir_all(&dir)?;
    let leaf = stand.leaf();
    // One file with both.
    let mut both = std::fs::read_to_string(&leaf.certificate_file)?;
    both.push_str(&std::fs::read_to_string(&leaf.private_key_file)?);
    let pair = dir.join("pair.pem");
    std::fs::write(&pair, both)?;
    let address = loopback(free_port()?);
    let config = dir.join("haproxy.cfg");
    let text = format!(
        "global\n    maxconn 8000\n    ssl-default-bind-ciphersuites {CIPHER}\n    \
         ssl-default-server-ciphersuites {CIPHER}\n\
         defaults\n    mode tcp\n    timeout connect 10s\n    timeout client 1h\n    timeout server 1h\n\
         listen imaps\n    bind {address} ssl crt {pair}\n    \
         server source {source} ssl verify required ca-file {ca} sni str(localhost) verifyhost localhost\n",
        pair = pair.display(),
        source = stand.source.imaps(),
        ca = stand.authority.ca_file.display(),
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&config);
    let mut server = Server::start(HAPROXY, command, &dir.join("log")).context("haproxy")?;
    listens(&mut server, address).await?;
    Ok((Way { name: HAPROXY, address, pid: Some(server.pid()) }, server))
}
