//! What can be typed. Passwords and tokens cannot: they never stand on a command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use mailferry_sync::batch::default_admin_separator;
use std::path::PathBuf;

/// Moves mailboxes from any IMAP server to Office 365 while people keep working.
///
/// Exit codes: 0 done, 1 usage or configuration, 2 source, 3 target, 4 gate refused, 5 partial (safe to run again),
/// 6 verification found differences, 7 local state or disk, 75 throttled (run again later).
#[derive(Debug, Parser)]
#[command(name = "mailferry", version, max_term_width = 110, propagate_version = false)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The configuration file [default: $MAILFERRY_CONFIG, else /etc/mailferry/mailferry.toml].
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The daemon's socket [default: $MAILFERRY_SOCKET, else the one that the configuration names].
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print JSON, errors too.
    #[arg(long, global = true)]
    pub json: bool,
}

impl Global {
    /// What the command line leaves open, the environment may say.
    pub fn with_environment(self) -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            config: self.config.or_else(|| variable("MAILFERRY_CONFIG")),
            socket: self.socket.or_else(|| variable("MAILFERRY_SOCKET")),
            json: self.json,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented configuration, the key file and the state folder, where they are not there yet.
    Init(Init),
    /// Run the daemon: proxy, sync, DNS check and admin socket. Everything else talks to it.
    Serve(Serve),
    /// What the daemon is doing.
    Status(Watch),
    /// Source servers.
    #[command(subcommand)]
    Endpoint(Endpoint),
    /// Batches of mailboxes.
    #[command(subcommand)]
    Batch(Batch),
    /// Single mailboxes.
    #[command(subcommand)]
    Mailbox(Mailbox),
    /// Where mail of a domain is delivered.
    #[command(subcommand)]
    Dns(Dns),
    /// Mail that still reaches the source after the cutover was confirmed.
    Stragglers,
    /// Who is told when something happens.
    #[command(subcommand)]
    Hook(Hook),
    /// Clients that are connected through the proxy.
    #[command(subcommand)]
    Sessions(Sessions),
}

#[derive(Debug, Subcommand)]
pub enum Hook {
    /// Tell a hook of the configuration something that did not happen, and say whether it took it. Needs no daemon.
    Test { name: String },
}

#[derive(Debug, Args)]
pub struct Init {
    /// Your tenant, such as contoso.onmicrosoft.com.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// The application (client) ID of the app registration.
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// The state folder [default: /var/lib/mailferry].
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// The key file; keep it outside the state folder [default: beside the configuration].
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Only look at the configuration and everything that it names; exit 0 when it is good.
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct Watch {
    /// Go on showing it until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
}

/// Where a source server is.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// Host name of the source IMAP server.
    #[arg(long, value_name = "HOST")]
    pub server: String,
    /// Its port: 993 for ssl, 143 for none and tls.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// none, ssl (implicit TLS) or tls (STARTTLS).
    #[arg(long)]
    pub security: Security,
    /// A PEM file with the authority that signed the server's certificate, instead of the system's.
    #[arg(long, value_name = "FILE", conflicts_with = "accept_untrusted_certificates")]
    pub ca_file: Option<PathBuf>,
    /// Take any certificate. Who sits in between then reads every password.
    #[arg(long)]
    pub accept_untrusted_certificates: bool,
}

/// Microsoft's words for the protection of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Security {
    /// Plain text.
    #[value(alias = "None")]
    None,
    /// Implicit TLS.
    #[value(alias = "Ssl")]
    Ssl,
    /// STARTTLS.
    #[value(alias = "Tls")]
    Tls,
}

/// How an administrator opens somebody else's mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AdminLogin {
    /// By the name as it stands (Dovecot's master users).
    Name,
    /// By SASL PLAIN, with the user for the identity (Cyrus, Zimbra).
    Authzid,
}

#[derive(Debug, Subcommand)]
pub enum Endpoint {
    /// Connect to a source server and say what it is; nothing is stored. Needs no daemon.
    Test(#[command(flatten)] Server),
    /// Name a source server.
    Add {
        name: String,
        #[command(flatten)]
        server: Server,
        /// Mailboxes migrated at once.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        max_concurrent_migrations: u32,
        /// Mailboxes synchronised at once by the incremental sync.
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        max_concurrent_incremental_syncs: u32,
        /// Keep the passwords that the source accepts from clients of the proxy, encrypted, for the passes; the CSV file may
        /// then leave them out. Given again without this, it forgets them all.
        #[arg(long)]
        learn_credentials: bool,
        /// What stands between user and administrator in UserName, such as the * of terry.adams*mailadmin.
        #[arg(long, value_name = "CHARACTER", default_value_t = default_admin_separator())]
        admin_separator: char,
        /// How an administrator logs in with such a UserName.
        #[arg(long, value_enum, default_value_t = AdminLogin::Name)]
        admin_login: AdminLogin,
    },
    /// All endpoints.
    List,
    /// One endpoint.
    Show { name: String },
    /// Forget an endpoint that no batch uses.
    Remove { name: String },
}

#[derive(Debug, Subcommand)]
pub enum Batch {
    /// Make a batch from a CSV file with Microsoft's columns.
    Add {
        name: String,
        /// The endpoint that the mailboxes come from.
        #[arg(long)]
        endpoint: String,
        /// The CSV file; `-` reads standard input.
        #[arg(long, value_name = "FILE")]
        csv: PathBuf,
        /// Start at once.
        #[arg(long)]
        auto_start: bool,
        /// Take only this folder and all below it: a path relative to the user's root, such as Projects/2024, in any
        /// case, no wildcards; #Inbox#, #SentItems#, #Drafts#, #DeletedItems#, #JunkEmail# and #Archive# fit any language.
        /// May be repeated.
        #[arg(long, value_name = "FOLDER")]
        include: Vec<String>,
        /// Leave this folder and all below it, also of what is included. May be repeated.
        #[arg(long, value_name = "FOLDER")]
        exclude: Vec<String>,
    },
    /// Start, or go on with, a batch.
    Start {
        name: String,
        /// Show progress, and end when the first pass of every mailbox has ended.
        #[arg(long)]
        wait: bool,
    },
    /// Stop a batch; what is under way is brought to a clean end.
    Stop { name: String },
    /// What would go, what would be skipped and why, without writing anything.
    Plan { name: String },
    /// All batches, or one with its mailboxes.
    Status {
        name: Option<String>,
        /// Go on showing it until Ctrl-C.
        #[arg(long)]
        watch: bool,
    },
    /// Run an incremental pass of every mailbox now.
    SyncNow { name: String },
    /// Read both sides anew and compare message by message.
    Verify {
        name: String,
        /// Compare what the messages say too: reads every byte of both sides.
        #[arg(long)]
        content: bool,
    },
    /// The account of a batch: what is mirrored, pending, skipped, gone. Also of a removed batch.
    Report {
        name: String,
        /// The whole account: csv and json with one state for every message, html a page of what is not on Office 365.
        #[arg(long)]
        format: Option<ReportFormat>,
        /// Write it to this file, in place of standard output.
        #[arg(long, value_name = "FILE", requires = "format")]
        to: Option<PathBuf>,
    },
    /// Remove a batch. The gate must be open, or --force and a reason given.
    Remove {
        name: String,
        /// Remove it although the gate is closed.
        #[arg(long, requires = "reason")]
        force: bool,
        /// Why; it is recorded.
        #[arg(long, value_name = "TEXT", requires = "force")]
        reason: Option<String>,
    },
}

/// In what form an account is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// One document.
    Json,
    /// One row a message.
    Csv,
    /// A page for a browser.
    Html,
}

#[derive(Debug, Subcommand)]
pub enum Mailbox {
    /// Mailboxes with their state.
    List {
        /// Only those of this batch.
        #[arg(long)]
        batch: Option<String>,
    },
    /// One mailbox with its folders.
    Show {
        address: String,
        /// List every skipped message with the reason.
        #[arg(long)]
        skipped: bool,
    },
    /// Declare that these users work on Office 365 now; the gate counts them as moved.
    DeclareMoved {
        #[arg(required = true)]
        address: Vec<String>,
        /// How you know; it is recorded, with your login name.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Carry out the deletions that the cap held back.
    AllowDeletions { address: String },
    /// Try a mailbox again at once, skipped messages too where another try may end otherwise.
    Retry {
        address: String,
        /// Copy messages anew whose copies are gone from Office 365: both sides are compared for that.
        #[arg(long)]
        missing: bool,
    },
    /// Write every skipped message to a file of its own, byte for byte as the source has it, with a manifest. Given
    /// again, it goes on where it was.
    ExportSkipped {
        address: String,
        /// The folder to write to; the mailbox gets a folder of its own in it.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum Dns {
    /// Ask every authoritative server and resolver once. Needs no daemon.
    Check {
        #[arg(required = true)]
        domain: Vec<String>,
    },
    /// What the daemon has seen so far, and the clock.
    Status(Watch),
}

#[derive(Debug, Subcommand)]
pub enum Sessions {
    /// Connected clients.
    List,
    /// End clients' sessions; they may connect again.
    Kick {
        /// Numbers of connections, as `sessions list` shows them.
        #[arg(required = true)]
        conn: Vec<u64>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_guide_shows_can_be_typed() {
        for line in [
            "mailferry init",
            "mailferry serve --check",
            "mailferry --config /tmp/m.toml serve",
            "mailferry status --watch --json",
            "mailferry endpoint test --server imap.contoso.com --port 993 --security Ssl",
            "mailferry endpoint add E --server h --port 143 --security tls --max-concurrent-migrations 50",
            "mailferry endpoint add E --server h --port 143 --security tls --learn-credentials --admin-separator %",
            "mailferry endpoint list --json",
            "mailferry batch add B --endpoint E --csv - --auto-start",
            "mailferry batch add B --endpoint E --csv - --include #Inbox# --include Projects --exclude #Inbox#/Old",
            "mailferry batch start B --wait",
            "mailferry batch status",
            "mailferry batch status B --watch",
            "mailferry batch sync-now B",
            "mailferry batch report B --format csv",
            "mailferry batch report B --format html --to /tmp/b.html",
            "mailferry batch remove B --force --reason done",
            "mailferry mailbox show a@b.c --skipped",
            "mailferry mailbox declare-moved a@b.c d@e.f --reason asked",
            "mailferry mailbox export-skipped a@b.c --to /srv/left",
            "mailferry mailbox retry a@b.c",
            "mailferry dns check contoso.edu fabrikam.com",
            "mailferry dns status --watch",
            "mailferry sessions list",
            "mailferry sessions kick 17 18",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn what_makes_no_sense_cannot_be_typed() {
        for line in [
            "mailferry",
            "mailferry endpoint test --server h --port 0 --security ssl",
            "mailferry endpoint test --server h --port 993 --security starttls",
            "mailferry endpoint add E --server h --port 993 --security ssl --password x",
            "mailferry batch report B --to x",
            "mailferry batch report B --format pdf",
            "mailferry batch remove B --force",
            "mailferry batch remove B --reason x",
            "mailferry batch add B --endpoint E",
            "mailferry mailbox declare-moved",
            "mailferry mailbox export-skipped a@b.c",
            "mailferry switch a@b.c",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
