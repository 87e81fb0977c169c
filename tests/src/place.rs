//! Where a stand keeps its state and how it finds free ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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

/// Ports that no outgoing connection is given (Linux: 32768 to 60999), so that nobody takes one between the look and
/// the use but another harness.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A loopback port that was free a moment ago. Servers that cannot report their own port need it. Each is given once by
/// a process, and each process begins elsewhere.
pub fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    let first = std::process::id().wrapping_mul(7_919);
    for _ in 0..count {
        let port = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = PORTS.start + u16::try_from(port)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("every port from {} to {} is taken", PORTS.start, PORTS.end)
}

/// 127.0.0.1 with this port.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Raises the number of files that this process, and whatever it starts, may open as far as it goes; how many these are.
pub fn raise_descriptor_limit() -> anyhow::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("open files")?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// Whether mounts that nobody else sees can be made: that needs root, and a kernel or container that permits it.
pub fn can_mount() -> bool {
    let mut tried = std::process::Command::new("unshare");
    tried.args(["--mount", "sh", "-c", "mount -t tmpfs none /tmp"]).stderr(std::process::Stdio::null());
    rustix::process::geteuid().is_root() && tried.status().is_ok_and(|status| status.success())
}
