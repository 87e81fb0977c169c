//! One mailbox's exported messages on disk, and the manifest that lists them.
//!
//! ```text
//! ADDRESS/manifest.csv               one row a message; the first cells are the file's name and size
//! ADDRESS/FOLDER/VALIDITY-UID.eml    a message, whole
//! ADDRESS/FOLDER/….eml.mailferry     one that is not, or whose row is not written yet
//! ```
//! A message is written beside its place; then, for many at once: all are made durable, then their rows, then they are
//! put in their places. So a file without a row is not ours and is never touched, a row without its file is dropped by
//! the next run, and an interrupted run goes on where it was.

use super::name::FileName;
use crate::{failure::Failure, output::csv};
use mailferry_admin::problem::Problem;
use mailferry_sync::batch::SkippedMessage;
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The manifest's name.
pub const MANIFEST: &str = "manifest.csv";

const HEADER: [&str; 9] =
    ["File", "Size", "Folder", "UIDVALIDITY", "UID", "Date", "Sender", "Subject", "Reason"];

/// How much is made durable together.
const GROUP_MESSAGES: usize = 100;
const GROUP_BYTES: u64 = 64 << 20;

/// What stands at a message's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// The message, as the manifest says.
    Exported,
    /// Nothing.
    Free,
}

/// The folder of one mailbox.
#[derive(Debug)]
pub struct ExportFolder {
    root: PathBuf,
    /// What the manifest lists and what is there: path and size.
    rows: HashMap<String, u64>,
    manifest: Option<File>,
    /// Written whole, not in its place yet.
    group: Vec<Waiting>,
    group_bytes: u64,
}

#[derive(Debug)]
struct Waiting {
    young: PathBuf,
    path: PathBuf,
    row: String,
}

impl ExportFolder {
    /// Reads the manifest, if there is one. Makes nothing.
    pub fn open(root: &Path) -> Result<Self, Failure> {
        let mut folder = Self {
            root: root.to_owned(),
            rows: HashMap::new(),
            manifest: None,
            group: Vec::new(),
            group_bytes: 0,
        };
        let path = root.join(MANIFEST);
        match OpenOptions::new().read(true).append(true).custom_flags(NOFOLLOW).open(&path) {
            Ok(file) => folder.take_over(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(local(&path, &error)),
        }
        Ok(folder)
    }

    /// The manifest of an earlier run: rows whose file is not there are dropped, and a row that was cut off.
    fn take_over(&mut self, file: File) -> Result<(), Failure> {
        let path = self.root.join(MANIFEST);
        lock(&file, &path)?;
        let mut reader = BufReader::new(file);
        let mut kept = Vec::new();
        let mut dropped = false;
        let mut line = Vec::new();
        let header = csv::row(HEADER);
        let mut first = true;
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(|error| local(&path, &error))? == 0 {
                break;
            }
            if std::mem::take(&mut first) {
                if line != header.as_bytes() {
                    return Err(Problem::usage(format!(
                        "{} is not a manifest of mailferry's",
                        path.display()
                    ))
                    .next("give another folder: what others put there is left alone")
                    .into());
                }
                kept.extend_from_slice(&line);
                continue;
            }
            match self.row(&line) {
                Some((name, size)) => {
                    self.rows.insert(name, size);
                    kept.extend_from_slice(&line);
                }
                None => dropped = true,
            }
        }
        let mut file = reader.into_inner();
        if dropped {
            // Written beside it and put in its place: a cut leaves the one or the other.
            let young = young(&path);
            fs::write(&young, &kept).map_err(|error| local(&young, &error))?;
            fs::rename(&young, &path).map_err(|error| local(&path, &error))?;
            file = OpenOptions::new()
                .read(true)
                .append(true)
                .custom_flags(NOFOLLOW)
                .open(&path)
                .map_err(|error| local(&path, &error))?;
            lock(&file, &path)?;
        }
        self.manifest = Some(file);
        Ok(())
    }

    /// A row whose file is there, whole.
    fn row(&self, line: &[u8]) -> Option<(String, u64)> {
        let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
        let (name, rest) = line.split_once(',')?;
        let size = rest.split(',').next()?.parse().ok()?;
        let there = fs::symlink_metadata(self.root.join(name)).ok()?;
        (there.is_file() && there.len() == size).then(|| (name.to_owned(), size))
    }

    /// What stands at a message's place; what is not ours is in the way.
    pub fn look(&self, name: &FileName) -> Result<Placed, Failure> {
        if self.rows.contains_key(&name.path()) {
            return Ok(Placed::Exported);
        }
        let path = self.root.join(&name.folder).join(&name.file);
        match fs::symlink_metadata(&path) {
            Ok(_) => Err(in_the_way(&path)),
            Err(_) => Ok(Placed::Free),
        }
    }

    /// Makes the folder and its manifest.
    pub fn make(&mut self) -> Result<(), Failure> {
        make_folder(&self.root)?;
        if self.manifest.is_none() {
            let path = self.root.join(MANIFEST);
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(|error| local(&path, &error))?;
            lock(&file, &path)?;
            file.write_all(csv::row(HEADER).as_bytes()).map_err(|error| local(&path, &error))?;
            self.manifest = Some(file);
        }
        Ok(())
    }

    /// Begins a message.
    pub fn begin(&self, name: &FileName) -> Result<Young, Failure> {
        let folder = self.root.join(&name.folder);
        make_folder(&folder)?;
        let path = folder.join(&name.file);
        let young = young(&path);
        // What an interrupted run left: a name that only we give.
        let _ = fs::remove_file(&young);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&young)
            .map_err(|error| local(&young, &error))?;
        Ok(Young { file, young, path, name: name.path(), bytes: 0 })
    }

    /// A message is whole. Returns how many were put in their places.
    pub fn end(&mut self, message: Young, about: &SkippedMessage) -> Result<u64, Failure> {
        let size = message.bytes.to_string();
        let (validity, uid) = (about.uid_validity.to_string(), about.uid.to_string());
        let row = csv::row([
            message.name.as_str(),
            &size,
            &about.folder,
            &validity,
            &uid,
            &about.date,
            &about.sender,
            &about.subject,
            &about.reason,
        ]);
        self.group_bytes += message.bytes;
        self.rows.insert(message.name, message.bytes);
        self.group.push(Waiting { young: message.young, path: message.path, row });
        if self.group.len() >= GROUP_MESSAGES || self.group_bytes >= GROUP_BYTES {
            return self.close();
        }
        Ok(0)
    }

    /// Puts what is whole in its place. Returns how many.
    pub fn close(&mut self) -> Result<u64, Failure> {
        let group = std::mem::take(&mut self.group);
        self.group_bytes = 0;
        let Some(manifest) = self.manifest.as_mut().filter(|_| !group.is_empty()) else { return Ok(0) };
        let path = self.root.join(MANIFEST);
        rustix::fs::syncfs(&*manifest).map_err(|error| local(&path, &error.into()))?;
        let rows: String = group.iter().map(|waiting| waiting.row.as_str()).collect();
        manifest
            .write_all(rows.as_bytes())
            .and_then(|()| manifest.sync_data())
            .map_err(|error| local(&path, &error))?;
        for waiting in &group {
            put(&waiting.young, &waiting.path)?;
        }
        Ok(group.len() as u64)
    }
}

/// A message that is being written.
#[derive(Debug)]
pub struct Young {
    file: File,
    young: PathBuf,
    path: PathBuf,
    name: String,
    bytes: u64,
}

impl Young {
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.bytes += chunk.len() as u64;
        self.file.write_all(chunk).map_err(|error| local(&self.young, &error))
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rest will not come.
    pub fn forget(self) -> Result<(), Failure> {
        fs::remove_file(&self.young).map_err(|error| local(&self.young, &error))
    }
}

/// `O_NOFOLLOW`: whoever put a link there does not decide what is written to.
const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

fn young(path: &Path) -> PathBuf {
    let mut young = path.as_os_str().to_owned();
    young.push(".mailferry");
    young.into()
}

/// Mail is its owner's alone.
fn make_folder(path: &Path) -> Result<(), Failure> {
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) => Err(local(path, &error)),
    }
}

fn lock(manifest: &File, path: &Path) -> Result<(), Failure> {
    rustix::fs::flock(manifest, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Problem::usage(format!("another export writes to {}", path.display()))
            .next("let it end, or give another folder")
            .into()
    })
}

/// Moves a file to where nothing may be.
fn put(young: &Path, path: &Path) -> Result<(), Failure> {
    match rustix::fs::renameat_with(CWD, young, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => Err(in_the_way(path)),
        // A file system that cannot promise it: looked at just before.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(in_the_way(path));
            }
            fs::rename(young, path).map_err(|error| local(path, &error))
        }
        Err(error) => Err(local(path, &error.into())),
    }
}

fn in_the_way(path: &Path) -> Failure {
    Problem::usage(format!("{} is there and is not of this export", path.display()))
        .next("give another folder: what others put there is left alone")
        .into()
}

fn local(path: &Path, error: &io::Error) -> Failure {
    Problem::local(format!("{}: {error}", path.display()))
        .next("look at the disk and at who may write there; given again, the export goes on where it was")
        .into()
}

#[cfg(test)]
mod tests {
    use super::super::name;
    use super::*;

    fn message(uid: u32) -> SkippedMessage {
        SkippedMessage {
            folder: "INBOX".into(),
            uid,
            size: 5,
            date: "1-Jan-2024".into(),
            subject: "=1+1".into(),
            sender: "J <j@b.example>".into(),
            reason: "too-large".into(),
            uid_validity: 7,
            folder_id: 1,
        }
    }

    fn export(folder: &mut ExportFolder, uid: u32) {
        let mut young = folder.begin(&name::of_message(&message(uid))).unwrap();
        young.write(b"he").unwrap();
        young.write(b"llo").unwrap();
        folder.end(young, &message(uid)).unwrap();
    }

    fn opened(root: &Path) -> ExportFolder {
        let mut folder = ExportFolder::open(root).unwrap();
        folder.make().unwrap();
        folder
    }

    fn refusal(result: Result<impl std::fmt::Debug, Failure>) -> (u8, String) {
        match result.unwrap_err() {
            Failure::Problem(problem) => (problem.fault.exit_code(), problem.error),
            other => (other.exit_code(), String::new()),
        }
    }

    #[test]
    fn what_is_exported_is_listed_and_stays() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("terrya");
        let mut folder = opened(&root);
        export(&mut folder, 1);
        export(&mut folder, 2);
        assert_eq!(folder.close().unwrap(), 2);
        assert_eq!(fs::read(root.join("INBOX/7-1.eml")).unwrap(), b"hello");
        assert_eq!(
            fs::read_to_string(root.join(MANIFEST)).unwrap().lines().nth(1).unwrap(),
            "INBOX/7-1.eml,5,INBOX,7,1,1-Jan-2024,J <j@b.example>,\"'=1+1\",too-large"
        );
        drop(folder);
        let folder = opened(&root);
        assert_eq!(folder.look(&name::of_message(&message(2))).unwrap(), Placed::Exported);
        assert_eq!(folder.look(&name::of_message(&message(3))).unwrap(), Placed::Free);
        assert_eq!(refusal(ExportFolder::open(&root)).0, 1, "one export at a time");
    }

    #[test]
    fn an_interrupted_run_goes_on_wherever_it_was() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("terrya");
        let mut folder = opened(&root);
        export(&mut folder, 1);
        folder.close().unwrap();
        export(&mut folder, 2);
        drop(folder); // Written, not listed.
        let manifest = root.join(MANIFEST);
        let mut text = fs::read_to_string(&manifest).unwrap();
        text.push_str("INBOX/7-3.eml,5,INBOX,7,3,,,,\r\n"); // Listed, not in its place.
        text.push_str("INBOX/7-4.eml,5,IN"); // Cut off.
        fs::write(&manifest, &text).unwrap();

        let mut folder = opened(&root);
        let placed = |folder: &ExportFolder, uid| folder.look(&name::of_message(&message(uid))).unwrap();
        assert_eq!(placed(&folder, 1), Placed::Exported);
        for uid in 2..5 {
            assert_eq!(placed(&folder, uid), Placed::Free, "{uid}");
            export(&mut folder, uid);
        }
        assert_eq!(folder.close().unwrap(), 3);
        let text = fs::read_to_string(&manifest).unwrap();
        assert_eq!(text.lines().count(), 5, "a row each: {text}");
        assert_eq!(fs::read_dir(root.join("INBOX")).unwrap().count(), 4, "nothing else is left");
    }

    #[test]
    fn what_others_put_there_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("terrya");
        fs::create_dir_all(root.join("INBOX")).unwrap();
        fs::write(root.join("INBOX/7-1.eml"), "precious").unwrap();
        let mut folder = opened(&root);
        assert_eq!(refusal(folder.look(&name::of_message(&message(1)))).0, 1);
        // It came after we looked.
        export(&mut folder, 1);
        assert_eq!(refusal(folder.close()).0, 1);
        assert_eq!(fs::read_to_string(root.join("INBOX/7-1.eml")).unwrap(), "precious");
        drop(folder);

        let other = place.path().join("other");
        fs::create_dir_all(&other).unwrap();
        fs::write(other.join(MANIFEST), "Name,Price\r\n").unwrap();
        let (code, said) = refusal(ExportFolder::open(&other));
        assert_eq!(code, 1);
        assert!(said.contains("is not a manifest"), "{said}");
        assert_eq!(fs::read_to_string(other.join(MANIFEST)).unwrap(), "Name,Price\r\n");
    }
}
