//! `batch report`: a summary on the terminal, or the whole account as JSON, CSV or a page.

use crate::{
    args::ReportFormat,
    client::{Daemon, Next},
    failure::Failure,
    output::{self, Format, moment},
};
use hyper::Method;
use mailferry_admin::problem::{Fault, Problem};
use mailferry_sync::batch::{
    Report,
    account::{AccountLine, Which},
};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

mod json;
mod page;
mod rows;

/// Takes an account line by line and writes it.
trait Scribe {
    fn line(&mut self, line: &AccountLine, out: &mut dyn Write) -> io::Result<()>;
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

pub async fn run(
    daemon: &Daemon,
    name: &str,
    kind: Option<ReportFormat>,
    to: Option<&Path>,
    format: Format,
) -> Result<(), Failure> {
    match kind {
        None => summary(daemon, name, format).await,
        Some(ReportFormat::Csv) => write(daemon, name, Which::All, &mut rows::Rows::default(), to).await,
        Some(ReportFormat::Json) => write(daemon, name, Which::All, &mut json::Document::default(), to).await,
        Some(ReportFormat::Html) => write(daemon, name, Which::Left, &mut page::Page::default(), to).await,
    }
}

async fn summary(daemon: &Daemon, name: &str, format: Format) -> Result<(), Failure> {
    let report: Report = daemon.read(&super::path(name, "/report")).await?;
    match format {
        Format::Json => output::json(&report),
        Format::Human => output::say(&text(&report)),
    }
    Ok(())
}

fn text(report: &Report) -> String {
    let mut text = format!("report of batch {} at {}\n\n", report.batch.name, moment(Some(report.at)));
    if let Some(forced) = &report.forced {
        text.push_str(&output::printable(&format!("removed by force by {}: {}", forced.by, forced.reason)));
        text.push_str("\n\n");
    }
    text.push_str(&super::table(std::slice::from_ref(&report.batch)).text());
    text.push('\n');
    text.push_str(&super::mailbox::table(&report.mailboxes).text());
    text.push_str(&format!("\n{}\n", super::output_lines(&report.gate.to_string())));
    let odd: Vec<_> = report.kept.folders.iter().filter(|folder| folder.adds_up == Some(false)).collect();
    for folder in odd.iter().take(20) {
        text.push_str(&output::printable(&format!(
            "{} {}: {} at the source when last looked at, {} accounted for since",
            folder.address,
            folder.source,
            folder.at_source.unwrap_or_default(),
            folder.counts.at_source(),
        )));
        text.push('\n');
    }
    text.push_str(&format!(
        "\nmailferry batch report {} --format csv lists every message, --format html is a page\n",
        report.batch.name
    ));
    text
}

/// Streams the account through the scribe; a file is put in its place when it is whole.
async fn write(
    daemon: &Daemon,
    name: &str,
    which: Which,
    scribe: &mut (dyn Scribe + Send),
    to: Option<&Path>,
) -> Result<(), Failure> {
    let messages = match which {
        Which::All => "all",
        Which::Left => "left",
    };
    let path = super::path(name, &format!("/account?messages={messages}"));
    let mut account = daemon.stream(Method::GET, &path, &()).await?;
    let mut paper = Paper::at(to)?;
    loop {
        match account.next::<AccountLine>().await? {
            Next::Item(line) => paper.say(|out| scribe.line(&line, out))?,
            Next::Bytes(_) => {
                return Err(Problem::new(Fault::Local, "the daemon's answer is not understood").into());
            }
            Next::Done => break,
        }
    }
    paper.say(|out| scribe.end(out))?;
    paper.done()
}

/// What is written to.
struct Paper {
    out: Box<dyn Write + Send>,
    /// Where it is written, and where it is to be.
    file: Option<(PathBuf, PathBuf)>,
}

impl Paper {
    fn at(to: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = to.filter(|path| *path != Path::new("-")) else {
            return Ok(Self { out: Box::new(BufWriter::new(io::stdout())), file: None });
        };
        let mut young = path.as_os_str().to_owned();
        young.push(".new");
        let young = PathBuf::from(young);
        let file = File::create(&young).map_err(|error| local(&young, &error))?;
        Ok(Self { out: Box::new(BufWriter::new(file)), file: Some((young, path.to_owned())) })
    }

    fn say(&mut self, say: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        match (say(&mut self.out), &self.file) {
            (Ok(()), _) => Ok(()),
            (Err(error), Some((young, _))) => Err(local(young, &error)),
            // A reader that went away (`| head`).
            (Err(error), None) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Quiet),
            (Err(error), None) => Err(local(Path::new("standard output"), &error)),
        }
    }

    fn done(mut self) -> Result<(), Failure> {
        self.say(|out| out.flush())?;
        let Some((young, path)) = self.file.take() else { return Ok(()) };
        File::open(&young)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&young, &path))
            .map_err(|error| local(&path, &error))
    }
}

impl Drop for Paper {
    fn drop(&mut self) {
        if let Some((young, _)) = &self.file {
            let _ = fs::remove_file(young); // Not whole.
        }
    }
}

fn local(path: &Path, error: &io::Error) -> Failure {
    Problem::local(format!("{}: {error}", path.display())).into()
}
