//! Passwords at rest: sealed with a key that lies outside the state folder.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// A sealed secret: useless without the key file and the context that it was sealed for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Tells which key sealed it; gives nothing of the key away.
    key: [u8; 8],
    nonce: [u8; 24],
    text: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key file cannot be read or written.
    #[error("key file {}: {error}", path.display())]
    Io {
        /// The key file.
        path: PathBuf,
        /// The operating system's words.
        #[source]
        error: std::io::Error,
    },
    /// There is a key file already: it is never overwritten, since passwords may be sealed with it.
    #[error("key file {} exists already and is kept", .0.display())]
    Exists(PathBuf),
    /// Others may read the key file.
    #[error("key file {} is open to others (mode {mode:03o}); run: chmod 600 {}", path.display(), path.display())]
    Permissions {
        /// The key file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds no key.
    #[error("key file {} does not hold a key (64 hexadecimal digits)", .0.display())]
    NoKey(PathBuf),
    /// The key file lies in the state folder, where a copy of the state would carry the key along.
    #[error("key file {} lies inside the state folder; move it out", .0.display())]
    InsideState(PathBuf),
    /// Sealed with another key.
    #[error(
        "sealed with another key than that of the key file; give `key_file` the file in use when it was stored"
    )]
    OtherKey,
    /// Changed since it was sealed, or sealed for something else.
    #[error("a sealed password was altered, or belongs to another mailbox")]
    Altered,
    /// The operating system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
}

/// Seals and opens secrets (XChaCha20-Poly1305) with the key of a key file. Clones share the key.
#[derive(Clone)]
pub struct Vault {}

impl Vault {
    /// Makes a new key file (mode 0600, durable when it returns), and the folder it lies in where there is none.
    ///
    /// # Errors
    /// [`VaultError::Exists`], `Io`, `Random`.
    pub fn create(_path: &Path) -> Result<Self, VaultError> {
        todo!()
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`VaultError::Io`], `Permissions` when group or others have any right to it, `NoKey`.
    pub fn load(_path: &Path) -> Result<Self, VaultError> {
        todo!()
    }

    /// Refuses a key file that lies inside the state folder.
    ///
    /// # Errors
    /// [`VaultError::InsideState`].
    pub fn keep_outside(_key_file: &Path, _state_dir: &Path) -> Result<(), VaultError> {
        todo!()
    }

    /// Seals a secret for one use: `context` (say, the mailbox's address) must be the same when it is opened.
    ///
    /// # Errors
    /// [`VaultError::Random`].
    pub fn seal(&self, _secret: &SecretString, _context: &str) -> Result<Sealed, VaultError> {
        todo!()
    }

    /// Opens what was sealed for `context`.
    ///
    /// # Errors
    /// [`VaultError::OtherKey`], `Altered`.
    pub fn open(&self, _sealed: &Sealed, _context: &str) -> Result<SecretString, VaultError> {
        todo!()
    }
}
