//! Dovecot as a proxy: `imap-login` passes sessions on to the source.

use mailferry_tests::dovecot::{Dress, Instance, Storage};
use mailferry_tests::stand::Stand;

use super::{DOVECOT, Way};
use mailferry_benches::tls::CIPHER;

pub(super) async fn start(stand: &Stand) -> anyhow::Result<(Way, Instance)> {
    let dir = stand.path().join("dovecot-proxy");
    std::fs::create_dir_all(&dir)?;
    let source = stand.source.imaps();
    let more = format!(
        "ssl_cipher_suites = {CIPHER}\nssl_ca = <{ca}\nssl_require_crl = no\n\
         passdb {{\n  driver = static\n  args = proxy=y host={host} port={port} ssl=yes nopassword=y\n}}\n\
         service imap-login {{\n  process_min_avail = 2\n  client_limit = 8000\n}}\n\
         service auth {{\n  client_limit = 20000\n}}\nservice anvil {{\n  client_limit = 20000\n}}\n",
        ca = stand.authority.ca_file.display(),
        host = source.ip(),
        port = source.port(),
    );
    let dress = Dress { name: DOVECOT, storage: Storage::Maildir, folders: Vec::new(), more, zone: "UTC" };
    let instance = Instance::start(&dir, dress, stand.leaf()).await?;
    Ok((Way { name: DOVECOT, address: instance.imaps, pid: Some(instance.pid()) }, instance))
}
