//! Passwords at rest: sealed with a key that lies outside the state folder.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Bytes of a key.
const KEY: usize = 32;
/// A key file is longer by its line end at the most; this much is read of whatever it is.
const KEY_FILE: u64 = 256;

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
pub struct Vault {
    key: Arc<Zeroizing<[u8; KEY]>>,
}

impl Vault {
    /// Makes a new key file (mode 0600, durable when it returns), and the folder it lies in where there is none.
    ///
    /// # Errors
    /// [`VaultError::Exists`], `Io`, `Random`.
    pub fn create(path: &Path) -> Result<Self, VaultError> {
        let io = |error| VaultError::Io { path: path.to_owned(), error };
        let mut key = Zeroizing::new([0; KEY]);
        random(&mut *key)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(io)?;
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(VaultError::Exists(path.to_owned()));
            }
            opened => opened.map_err(io)?,
        };
        let text: Zeroizing<String> = Zeroizing::new(key.iter().map(|byte| format!("{byte:02x}")).collect());
        let written = writeln!(file, "{}", *text).and_then(|()| file.sync_all());
        let written = written.and_then(|()| File::open(folder)?.sync_all());
        if let Err(error) = written {
            // A key file without a whole key would only be in the way of the next attempt.
            let _ = fs::remove_file(path);
            return Err(io(error));
        }
        Ok(Self { key: Arc::new(key) })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`VaultError::Io`], `Permissions` when group or others have any right to it, `NoKey`.
    pub fn load(path: &Path) -> Result<Self, VaultError> {
        let io = |error| VaultError::Io { path: path.to_owned(), error };
        let file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(VaultError::Permissions { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(KEY_FILE as usize));
        file.take(KEY_FILE).read_to_end(&mut text).map_err(io)?;
        let key = parse(text.trim_ascii()).ok_or_else(|| VaultError::NoKey(path.to_owned()))?;
        Ok(Self { key: Arc::new(key) })
    }

    /// Refuses a key file that lies inside the state folder.
    ///
    /// # Errors
    /// [`VaultError::InsideState`].
    pub fn keep_outside(key_file: &Path, state_dir: &Path) -> Result<(), VaultError> {
        // What is not there yet is compared by its nearest folder that is.
        let real = |path: &Path| {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let there = absolute.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
            match there {
                Some((above, real)) => {
                    absolute.strip_prefix(above).map(|rest| real.join(rest)).unwrap_or(absolute.clone())
                }
                None => absolute.clone(),
            }
        };
        if real(key_file).starts_with(real(state_dir)) {
            return Err(VaultError::InsideState(key_file.to_owned()));
        }
        Ok(())
    }

    /// Seals a secret for one use: `context` (say, the mailbox's address) must be the same when it is opened.
    ///
    /// # Errors
    /// [`VaultError::Random`].
    pub fn seal(&self, secret: &SecretString, context: &str) -> Result<Sealed, VaultError> {
        let mut nonce = [0; 24];
        random(&mut nonce)?;
        let payload = Payload { msg: secret.expose_secret().as_bytes(), aad: context.as_bytes() };
        // It fails for texts beyond 256 GiB only.
        let text = self.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| VaultError::Altered)?;
        Ok(Sealed { key: self.id(), nonce, text })
    }

    /// Opens what was sealed for `context`.
    ///
    /// # Errors
    /// [`VaultError::OtherKey`], `Altered`.
    pub fn open(&self, sealed: &Sealed, context: &str) -> Result<SecretString, VaultError> {
        if sealed.key != self.id() {
            return Err(VaultError::OtherKey);
        }
        let payload = Payload { msg: &sealed.text, aad: context.as_bytes() };
        let plain =
            self.cipher().decrypt(&XNonce::from(sealed.nonce), payload).map_err(|_| VaultError::Altered)?;
        let plain = Zeroizing::new(plain);
        let text = std::str::from_utf8(&plain).map_err(|_| VaultError::Altered)?;
        Ok(SecretString::from(text))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(**self.key).into())
    }

    /// Tells keys apart; one-way.
    fn id(&self) -> [u8; 8] {
        let hash = blake3::keyed_hash(&self.key, b"mailferry vault key id");
        let mut id = [0; 8];
        id.copy_from_slice(&hash.as_bytes()[..8]);
        id
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

fn random(bytes: &mut [u8]) -> Result<(), VaultError> {
    getrandom::fill(bytes).map_err(|error| VaultError::Random(error.to_string()))
}

fn parse(digits: &[u8]) -> Option<Zeroizing<[u8; KEY]>> {
    let mut key = Zeroizing::new([0; KEY]);
    if digits.len() != 2 * KEY {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn vault(dir: &Path, name: &str) -> (PathBuf, Vault) {
        let path = dir.join(name);
        let vault = Vault::create(&path).unwrap();
        (path, vault)
    }

    #[test]
    fn a_sealed_password_opens_with_its_key_and_for_its_context_only() {
        let dir = tempfile::tempdir().unwrap();
        let (path, vault) = vault(dir.path(), "new/folder/key");
        let sealed = vault.seal(&SecretString::from("P@ssw0rd"), "terrya@contoso.edu").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        let again = Vault::load(&path).unwrap();
        assert_eq!(again.open(&sealed, "terrya@contoso.edu").unwrap().expose_secret(), "P@ssw0rd");
        assert!(matches!(again.open(&sealed, "annb@contoso.edu"), Err(VaultError::Altered)));
        let mut altered = sealed.clone();
        altered.text[0] ^= 1;
        assert!(matches!(again.open(&altered, "terrya@contoso.edu"), Err(VaultError::Altered)));
        let (_, other) = self::vault(dir.path(), "other");
        assert!(matches!(other.open(&sealed, "terrya@contoso.edu"), Err(VaultError::OtherKey)));
        assert_eq!(format!("{sealed:?} {vault:?}"), "Sealed(..) Vault(..)");
    }

    #[test]
    fn the_same_password_never_looks_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (_, vault) = vault(dir.path(), "key");
        let seal = || vault.seal(&SecretString::from("same"), "same").unwrap();
        assert_ne!(seal(), seal());
    }

    #[test]
    fn key_files_are_kept_and_looked_after() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = vault(dir.path(), "key");
        assert!(matches!(Vault::create(&path), Err(VaultError::Exists(_))));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Vault::load(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        Vault::load(&path).unwrap();

        for text in ["", "short", &"g".repeat(64), &"a".repeat(65), &"a".repeat(10_000)] {
            let path = dir.path().join("bad");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(Vault::load(&path), Err(VaultError::NoKey(_))), "{text:.10}");
        }
        assert!(matches!(Vault::load(&dir.path().join("none")), Err(VaultError::Io { .. })));
    }

    #[test]
    fn a_key_file_inside_the_state_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        std::os::unix::fs::symlink(&state, dir.path().join("link")).unwrap();
        for inside in ["state/key", "state/not/yet/key", "link/key", "other/../state/key"] {
            fs::create_dir_all(dir.path().join("other")).unwrap();
            let refused = Vault::keep_outside(&dir.path().join(inside), &state);
            assert!(matches!(refused, Err(VaultError::InsideState(_))), "{inside}");
        }
        for outside in ["key", "state-key", "other/key"] {
            Vault::keep_outside(&dir.path().join(outside), &state).unwrap();
        }
    }
}
