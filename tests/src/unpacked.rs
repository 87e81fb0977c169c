//! Servers that Debian does not let be installed beside Dovecot: `scripts/packages test` unpacks them into a folder of
//! their own, and here they are found again.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

/// What was unpacked for one server.
#[derive(Debug, Clone)]
pub struct Unpacked {
    root: PathBuf,
}

impl Unpacked {
    /// Finds `cyrus` or `courier`.
    pub fn find(name: &str) -> anyhow::Result<Self> {
        let all = std::env::var_os("MAILFERRY_TEST_SERVERS")
            .map_or_else(|| PathBuf::from("/var/cache/mailferry-tests"), PathBuf::from);
        let root = all.join(name);
        ensure!(
            root.join("complete").is_file(),
            "{} holds no unpacked {name}: run `scripts/packages test`",
            all.display()
        );
        Ok(Self { root })
    }

    /// A file of the packages.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Where the packages' libraries are, for `LD_LIBRARY_PATH`.
    pub fn libraries(&self) -> anyhow::Result<String> {
        let mut folders = vec![self.file("usr/lib"), self.file("usr/lib/courier-authlib")];
        for lib in ["usr/lib", "lib"] {
            for entry in std::fs::read_dir(self.file(lib)).into_iter().flatten() {
                let path = entry?.path();
                if path.to_string_lossy().ends_with("-linux-gnu") {
                    folders.push(path);
                }
            }
        }
        let folders: Vec<String> = folders
            .iter()
            .filter(|folder| folder.is_dir())
            .map(|folder| folder.display().to_string())
            .collect();
        Ok(folders.join(":"))
    }

    /// A program of the packages, with its libraries.
    pub fn command(&self, program: &str) -> anyhow::Result<Command> {
        let path: &Path = &self.file(program);
        ensure!(
            path.is_file(),
            "{} is missing: remove {} and run `scripts/packages test`",
            path.display(),
            self.root.display()
        );
        let mut command = Command::new(path);
        command.env("LD_LIBRARY_PATH", self.libraries()?);
        Ok(command)
    }
}
