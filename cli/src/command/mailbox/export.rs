//! `mailbox export-skipped`: what stays behind, in files.

use crate::output::{self, Format, bytes, number};
use crate::{
    client::{Answer, Daemon, Next, segment},
    failure::Failure,
};
use hyper::Method;
use indicatif::{ProgressBar, ProgressStyle};
use mailferry_admin::{
    problem::{Fault, Problem},
    shape::{ExportSkipped, Exported},
};
use mailferry_imap::{Uid, UidSet};
use mailferry_sync::batch::SkippedMessage;
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

mod folder;
mod name;

use folder::{ExportFolder, Placed};

/// How many messages that were not given are shown to a person.
const SHOWN: usize = 20;

/// How it ended, for programs.
#[derive(Debug, Default, Serialize)]
struct Summary {
    address: String,
    folder: String,
    /// Messages exported by this run, and their bytes.
    exported: u64,
    bytes: u64,
    /// Messages that an earlier run exported.
    already: u64,
    not_given: Vec<NotGiven>,
}

#[derive(Debug, Serialize)]
struct NotGiven {
    folder: String,
    uid: u32,
    why: String,
}

pub async fn run(daemon: &Daemon, address: &str, to: &Path, format: Format) -> Result<(), Failure> {
    let path = format!("/v1/mailboxes/{}", segment(address));
    let list = daemon.stream(Method::GET, &format!("{path}/skipped"), &()).await?;
    let place = to.join(name::of_address(address));
    let mut folder = ExportFolder::open(&place)?;
    let mut summary =
        Summary { address: address.to_owned(), folder: place.display().to_string(), ..Summary::default() };
    let todo = read_list(list, &folder, &mut summary).await?;
    let mut end = Ok(());
    if todo.messages > 0 {
        folder.make()?;
        let ask = ExportSkipped { folders: Some(todo.sets()) };
        let answer = daemon.stream(Method::POST, &format!("{path}/export"), &ask).await?;
        let bar = progress(&todo, format);
        end = take_in(answer, &mut folder, &mut summary, &bar).await;
        bar.finish_and_clear();
        // What came whole is kept, however the rest ended.
        summary.exported += folder.close()?;
    }
    match format {
        Format::Json => output::json(&summary),
        Format::Human => output::say(&text(&summary, &place)),
    }
    end?;
    if summary.not_given.is_empty() { Ok(()) } else { Err(Failure::Said(Fault::Partial)) }
}

/// What is to be exported.
#[derive(Default)]
struct Todo {
    uids: BTreeMap<u32, UidSet>,
    messages: u64,
    bytes: u64,
}

impl Todo {
    fn sets(&self) -> BTreeMap<u32, String> {
        self.uids.iter().map(|(folder, uids)| (*folder, uids.to_string())).collect()
    }
}

/// Everything that was skipped, less what is there.
async fn read_list(mut list: Answer, folder: &ExportFolder, summary: &mut Summary) -> Result<Todo, Failure> {
    let mut todo = Todo::default();
    loop {
        match list.next::<SkippedMessage>().await? {
            Next::Item(message) => match folder.look(&name::of_message(&message))? {
                Placed::Exported => summary.already += 1,
                Placed::Free => {
                    if let Some(uid) = Uid::new(message.uid) {
                        todo.uids.entry(message.folder_id).or_default().insert(uid);
                        todo.messages += 1;
                        todo.bytes += message.size;
                    }
                }
            },
            Next::Bytes(_) => return Err(not_understood()),
            Next::Done => return Ok(todo),
        }
    }
}

/// Writes what comes.
async fn take_in(
    mut answer: Answer,
    folder: &mut ExportFolder,
    summary: &mut Summary,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let mut open = None;
    loop {
        match answer.next::<Exported>().await? {
            Next::Item(Exported::Message { message, bytes }) => {
                open = Some((folder.begin(&name::of_message(&message))?, message, bytes));
            }
            Next::Bytes(mut left) => {
                let Some((file, ..)) = &mut open else { return Err(not_understood()) };
                while left > 0 {
                    let chunk = answer.raw(&mut left).await?;
                    file.write(&chunk)?;
                    bar.inc(chunk.len() as u64);
                }
            }
            Next::Item(Exported::End) => {
                let Some((file, message, announced)) = open.take() else { return Err(not_understood()) };
                if file.bytes() != announced {
                    return Err(not_understood());
                }
                summary.bytes += announced;
                summary.exported += folder.end(file, &message)?;
            }
            Next::Item(Exported::Broken) => {
                if let Some((file, ..)) = open.take() {
                    bar.dec(file.bytes());
                    file.forget()?;
                }
            }
            Next::Item(Exported::NotGiven { folder, uid, why }) => {
                summary.not_given.push(NotGiven { folder, uid, why });
            }
            Next::Done => return Ok(()),
        }
    }
}

fn not_understood() -> Failure {
    Problem::local("the daemon's answer is not understood")
        .next("daemon and command are of different versions? restart the daemon")
        .into()
}

fn progress(todo: &Todo, format: Format) -> ProgressBar {
    if format == Format::Json || !output::terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(todo.bytes.max(1));
    // The template is ours and known to be good; the default would do as well.
    if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {percent}% {bytes_per_sec}, {eta} left") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn text(summary: &Summary, place: &Path) -> String {
    let place = output::printable(&place.display().to_string());
    let address = output::printable(&summary.address);
    if summary.exported + summary.already == 0 && summary.not_given.is_empty() {
        return format!("nothing of {address} was skipped\n");
    }
    let mut text =
        format!("{} messages ({}) exported to {place}", number(summary.exported), bytes(summary.bytes),);
    if summary.already > 0 {
        text.push_str(&format!(", {} were there already", number(summary.already)));
    }
    text.push_str(&format!("\n{place}/{} lists them\n", folder::MANIFEST));
    if !summary.not_given.is_empty() {
        let all = summary.not_given.len();
        text.push_str(&format!("\n{} were not given:\n", number(all as u64)));
        for one in summary.not_given.iter().take(SHOWN) {
            let (folder, why) = (output::printable(&one.folder), output::printable(&one.why));
            text.push_str(&format!("  {folder}, UID {}: {why}\n", one.uid));
        }
        if all > SHOWN {
            text.push_str(&format!("  and {} more: --json has them all\n", number((all - SHOWN) as u64)));
        }
    }
    text
}
