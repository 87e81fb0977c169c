//! Where a stand keeps its state and how it finds free ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A temporary folder that servers running under other users may enter; removed on drop.
#[derive(Debug)]
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A fresh folder below `TMPDIR`. With `MAILFERRY_TEST_KEEP` set it stays after the test, for looking into.
    pub fn new() -> anyhow::Result<Self> {
        let mut dir = tempfile::Builder::new().prefix("mailferry-").tempdir().context("temporary folder")?;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        if std::env::var_os("MAILFERRY_TEST_KEEP").is_some() {
            dir.disable_cleanup(true);
            eprintln!("kept: {}", dir.path().display());
        }
        Ok(Self { dir })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A folder inside, created.
    pub fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// A loopback port that was free a moment ago. Servers that cannot report their own port need it.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// 127.0.0.1 with this port.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
