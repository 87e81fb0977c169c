//! All of it together: source and target behind relays, the token endpoint, and a running `mailferry serve`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::account::{self, Account, Side, Word};
use crate::certs::{Authority, Leaf};
use crate::child::Server;
use crate::client::Client;
use crate::fault::{Dress, Relay, Setup};
use crate::place::{Place, free_port, loopback};
use crate::source::{Kind, Source};
use crate::target::Exchange;
use crate::tokens::{CLIENT_ID, CLIENT_SECRET, Endpoint, TENANT};

/// The endpoint that every stand adds.
pub const ENDPOINT: &str = "IMAPEndpoint";

/// Password of every mailbox at the bare target, for tools that know no tokens.
pub const TARGET_PASSWORD: &str = "bench password";

/// How the application proves itself to the token endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Proof {
    /// `client_secret_file`.
    #[default]
    Secret,
    /// `certificate_file` and `private_key_file`.
    Certificate,
}

/// What the product connects to on both sides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Front {
    /// The relays: the old server's, which counts, and the one dressed as Exchange.
    #[default]
    Relays,
    /// The bare servers: for benches, where the relays would be measured too.
    Bare,
}

/// What differs from stand to stand: lines for sections of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Lines of `[proxy]`.
    pub proxy: String,
    /// Lines of `[sync]`.
    pub sync: String,
    /// Lines of `[spool]`.
    pub spool: String,
    /// Lines of `[dns]`; without any, nobody is asked outside this machine.
    pub dns: String,
    /// Whole `[[hooks]]` entries.
    pub hooks: String,
    /// How tokens are asked for.
    pub proof: Proof,
    /// What stands in front of the servers.
    pub front: Front,
    /// Which server is the old one.
    pub source: Kind,
    /// Lines at the end of its configuration, if it is Dovecot.
    pub source_lines: String,
}

/// A mailbox's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Address on Office 365.
    pub address: String,
    /// Login at the source.
    pub login: String,
    /// Password at the source.
    pub password: String,
}

impl Person {
    /// `<login>` of contoso.edu.
    pub fn new(login: &str) -> Self {
        Self {
            address: format!("{login}@contoso.edu"),
            login: login.to_owned(),
            password: format!("pass word, of {login}"),
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Said {
    /// Standard output as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("{self:?}"))
    }

    /// This, if the command succeeded.
    pub fn done(self) -> anyhow::Result<Self> {
        ensure!(self.code == 0, "exit code {}\n{}{}", self.code, self.stdout, self.stderr);
        Ok(self)
    }
}

/// A stand. Dropped, everything that it started ends.
pub struct Stand {
    serve: Option<Server>,
    /// The old server.
    pub source: Source,
    /// What `mailferry` knows as the old server: counts what it serves, and fails on demand.
    pub source_relay: Relay,
    /// Office 365.
    pub target: Exchange,
    /// Its token endpoint.
    pub tokens: Endpoint,
    /// Signs every certificate here.
    pub authority: Authority,
    leaf: Leaf,
    imaps: SocketAddr,
    imap: SocketAddr,
    options: Options,
    peak: u64,
    place: Place,
}

impl Stand {
    /// Starts every server and writes the configuration; `serve` is not started yet.
    pub async fn prepare(options: Options) -> anyhow::Result<Self> {
        let place = Place::new()?;
        let authority = Authority::new(place.path())?;
        let leaf = authority.leaf("server", &[])?;
        let lines = &options.source_lines;
        let source = Source::start(options.source, &place.folder("source")?, &leaf, lines).await?;
        let tokens = Endpoint::start(&place.folder("tokens")?, &leaf).await?;
        let target = Exchange::start(&place.folder("target")?, &leaf, tokens.trusted()).await?;
        let source_relay = Relay::start(Setup {
            upstream: source.imaps(),
            upstream_tls: Some(authority.client()?),
            tls: Some(leaf.server()?),
            dress: Dress::Plain,
        })
        .await?;
        let (imaps, imap) = (loopback(free_port()?), loopback(free_port()?));
        let stand = Self {
            serve: None,
            source,
            source_relay,
            target,
            tokens,
            authority,
            leaf,
            imaps,
            imap,
            options,
            peak: 0,
            place,
        };
        stand.write_config("")?;
        Ok(stand)
    }

    /// As `prepare`, then `init`, `serve` and the endpoint.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let mut stand = Self::prepare(options).await?;
        stand.cli(&["init"]).await?.done()?;
        stand.serve().await?;
        stand.add_endpoint().await?;
        Ok(stand)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.place.path().join("mailferry.toml")
    }

    /// The stand's folder.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Log of `serve`.
    pub fn log(&self) -> PathBuf {
        self.place.path().join("serve.log")
    }

    /// Writes the configuration anew, with `more` put before its first section.
    pub fn write_config(&self, more: &str) -> anyhow::Result<()> {
        let dir = self.place.path().display();
        let secret = self.place.path().join("client-secret");
        std::fs::write(&secret, format!("{CLIENT_SECRET}\n"))?;
        let restricted = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&secret, restricted)?;
        let proof = match self.options.proof {
            Proof::Secret => format!("client_secret_file = \"{}\"", secret.display()),
            Proof::Certificate => {
                let pair = self.tokens.client_certificate();
                format!(
                    "certificate_file = \"{}\"\nprivate_key_file = \"{}\"",
                    pair.certificate_file.display(),
                    pair.private_key_file.display()
                )
            }
        };
        let target = match self.options.front {
            Front::Relays => self.target.address(),
            Front::Bare => self.target.direct(),
        };
        let dns = if self.options.dns.is_empty() {
            // A port where nobody answers: no test asks the world.
            "resolvers = []\nroots = [\"127.0.0.1\"]\nport = 9\ntimeout = \"1s\"\ninterval = \"1h\""
        } else {
            &self.options.dns
        };
        let mut text = String::new();
        write!(
            text,
            r#"state_dir = "{dir}/state"
key_file = "{dir}/key"
{more}
[target]
host = "localhost"
port = {target}
tenant = "{TENANT}"
client_id = "{CLIENT_ID}"
{proof}
token_url = "{token_url}"
ca_file = "{ca}"
[proxy]
endpoint = "{ENDPOINT}"
listen = [{{ address = "{imaps}", security = "ssl" }}, {{ address = "{imap}", security = "tls" }}]
certificates = [{{ certificate_file = "{certificate}", private_key_file = "{key}" }}]
{proxy}
[sync]
{sync}
[spool]
{spool}
[dns]
{dns}
{hooks}
[admin]
socket = "{dir}/admin.sock"
[log]
level = "{level}"
"#,
            target = target.port(),
            token_url = self.tokens.url(),
            ca = self.authority.ca_file.display(),
            imaps = self.imaps,
            imap = self.imap,
            certificate = self.leaf.certificate_file.display(),
            key = self.leaf.private_key_file.display(),
            proxy = self.options.proxy,
            sync = self.options.sync,
            spool = self.options.spool,
            hooks = self.options.hooks,
            level = std::env::var("MAILFERRY_TEST_LOG").unwrap_or_else(|_| "info".to_owned()),
        )?;
        std::fs::write(self.config(), text)?;
        Ok(())
    }

    /// Changes options; they hold from the next start of `serve`.
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut Options)) -> anyhow::Result<()> {
        change(&mut self.options);
        self.write_config("")
    }

    /// Starts `serve` and waits until it answers on its socket.
    pub async fn serve(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(binary()?);
        command.arg("--config").arg(self.config()).arg("serve");
        let mut serve = Server::start("mailferry serve", command, &self.log())?;
        let started = Instant::now();
        loop {
            serve.alive()?;
            if self.cli(&["status"]).await?.code == 0 {
                break;
            }
            ensure!(started.elapsed() < Duration::from_secs(60), "serve does not answer\n{}", serve.tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.serve = Some(serve);
        Ok(())
    }

    /// Process id of `serve`.
    pub fn serve_pid(&mut self) -> anyhow::Result<u32> {
        Ok(self.running()?.pid())
    }

    /// The certificate that every server of this stand shows.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    fn running(&mut self) -> anyhow::Result<&mut Server> {
        self.serve.as_mut().context("serve does not run")
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.note_peak();
        self.running()?.kill()?;
        self.serve = None;
        Ok(())
    }

    /// SIGTERM; the exit code.
    pub fn stop(&mut self) -> anyhow::Result<Option<i32>> {
        self.note_peak();
        let code = self.running()?.stop(Duration::from_secs(20))?;
        self.serve = None;
        Ok(code)
    }

    /// Whether `serve` still runs; an error shows the end of its log.
    pub fn alive(&mut self) -> anyhow::Result<()> {
        self.running()?.alive()
    }

    fn note_peak(&mut self) {
        if let Some(peak) = self.serve.as_ref().and_then(|serve| serve.peak_memory().ok()) {
            self.peak = self.peak.max(peak);
        }
    }

    /// Highest resident memory that any `serve` of this stand had, in bytes.
    pub fn peak_memory(&mut self) -> u64 {
        self.note_peak();
        self.peak
    }

    /// Runs `mailferry --config … <arguments>`.
    pub async fn human(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let mut command = tokio::process::Command::new(binary()?);
        command.arg("--config").arg(self.config()).args(arguments);
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(300), command.output())
            .await
            .with_context(|| format!("{arguments:?} does not end"))??;
        Ok(Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The same with `--json`.
    pub async fn cli(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let mut all = vec!["--json"];
        all.extend_from_slice(arguments);
        self.human(&all).await
    }

    /// `endpoint add` for the source as this stand has it.
    pub async fn add_endpoint(&self) -> anyhow::Result<()> {
        self.add_endpoint_with(&[]).await
    }

    /// The same with further options.
    pub async fn add_endpoint_with(&self, more: &[&str]) -> anyhow::Result<()> {
        let port = match self.options.front {
            Front::Relays => self.source_relay.address().port(),
            Front::Bare => self.source.imaps().port(),
        };
        let port = port.to_string();
        let ca = self.authority.ca_file.to_string_lossy().into_owned();
        let mut arguments = vec![
            "endpoint",
            "add",
            ENDPOINT,
            "--server",
            "localhost",
            "--port",
            &port,
            "--security",
            "ssl",
            "--ca-file",
            &ca,
        ];
        arguments.extend_from_slice(more);
        self.cli(&arguments).await?.done()?;
        self.proxy_open().await
    }

    /// Waits until the proxy accepts clients.
    pub async fn proxy_open(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        while tokio::net::TcpStream::connect(self.imaps).await.is_err() {
            ensure!(
                started.elapsed() < Duration::from_secs(30),
                "the proxy does not listen\n{}",
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        self.serve.as_ref().map(Server::tail).unwrap_or_default()
    }

    /// A person with an empty mailbox on both sides.
    pub fn add_person(&self, login: &str) -> anyhow::Result<Person> {
        let person = Person::new(login);
        self.source.add_user(&person.login, &person.password)?;
        self.target.add_user(&person.address, TARGET_PASSWORD)?;
        Ok(person)
    }

    /// Writes the CSV file of these people.
    pub fn csv(&self, name: &str, people: &[Person]) -> anyhow::Result<PathBuf> {
        let mut text = "EmailAddress,UserName,Password\r\n".to_owned();
        for person in people {
            write!(text, "{},{},\"{}\"\r\n", person.address, person.login, person.password)?;
        }
        let file = self.place.path().join(format!("{name}.csv"));
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// `batch add` and `batch start`.
    pub async fn start_batch(&self, name: &str, people: &[Person]) -> anyhow::Result<()> {
        let csv = self.csv(name, people)?;
        let csv = csv.to_string_lossy();
        self.cli(&["batch", "add", name, "--endpoint", ENDPOINT, "--csv", &csv, "--auto-start"])
            .await?
            .done()?;
        Ok(())
    }

    /// `batch status NAME --json`.
    pub async fn batch(&self, name: &str) -> anyhow::Result<Value> {
        self.cli(&["batch", "status", name]).await?.done()?.json()
    }

    /// As `synced`, and nothing may have been skipped.
    pub async fn synced_whole(&mut self, name: &str, patience: Duration) -> anyhow::Result<Value> {
        let batch = self.synced(name, patience).await?;
        let tally = &batch["status"]["tally"];
        ensure!(tally["skipped"] == json!(0), "skipped for no reason: {batch:#}\n{}", self.log_tail());
        Ok(batch)
    }

    /// Waits until the batch's state is `Synced` or `SyncedWithErrors` and nothing is pending; its status then.
    pub async fn synced(&mut self, name: &str, patience: Duration) -> anyhow::Result<Value> {
        self.reaches(name, patience, |batch| {
            let state = batch["status"]["state"].as_str().unwrap_or_default();
            state.starts_with("Synced") && batch["status"]["tally"]["pending"] == json!(0)
        })
        .await
    }

    /// Waits until `wanted` holds for the batch's status.
    pub async fn reaches(
        &mut self,
        name: &str,
        patience: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let started = Instant::now();
        loop {
            let batch = self.batch(name).await?;
            if wanted(&batch) {
                return Ok(batch);
            }
            if started.elapsed() > patience {
                let tail = self.log_tail();
                bail!("batch {name} after {patience:?}: {batch:#}\n{tail}");
            }
            self.alive()?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks for an incremental pass and waits until one that began after the asking is over; how long it took.
    pub async fn sync_again(&mut self, name: &str, patience: Duration) -> anyhow::Result<Duration> {
        // The daemon's own clock and way of writing moments: they compare as text.
        let asked = self.batch(name).await?["gate"]["at"].as_str().unwrap_or_default().to_owned();
        let started = Instant::now();
        loop {
            self.cli(&["batch", "sync-now", name]).await?.done()?;
            let over = |batch: &Value| {
                let state = batch["status"]["state"].as_str().unwrap_or_default();
                state.starts_with("Synced")
                    && batch["status"]["last_synced"].as_str().unwrap_or_default() > &*asked
            };
            // One that was under way already began too early: ask again when it is over.
            let again = Duration::from_secs(5).min(patience);
            if self.reaches(name, again, over).await.is_ok() {
                return Ok(started.elapsed());
            }
            if started.elapsed() > patience {
                self.reaches(name, Duration::ZERO, over).await?;
            }
        }
    }

    /// What both sides hold, by the independent reader.
    pub async fn account(&self, person: &Person) -> anyhow::Result<Account> {
        self.account_with(person, &BTreeMap::new()).await
    }

    /// As `account`, where folders do not go by the usual rules.
    pub async fn account_with(
        &self,
        person: &Person,
        folders: &BTreeMap<String, String>,
    ) -> anyhow::Result<Account> {
        let source = Side {
            port: self.source.imaps().port(),
            user: person.login.clone(),
            word: Word::Password(person.password.clone()),
        };
        let target = Side {
            port: self.target.direct().port(),
            user: person.address.clone(),
            word: Word::Token(self.tokens.token()?),
        };
        account::compare(&source, &target, folders, &self.authority.ca_file).await
    }

    /// Reads both sides until they agree; the last account if they do not in time.
    pub async fn agreement(&self, person: &Person, patience: Duration) -> anyhow::Result<Account> {
        let started = Instant::now();
        loop {
            let account = self.account(person).await?;
            if account.agrees() || started.elapsed() > patience {
                return Ok(account);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// This person's mail client at the proxy, implicit TLS.
    pub fn client(&self, person: &Person) -> Client {
        self.client_at(person, self.imaps.port(), json!({}))
    }

    /// The same by STARTTLS.
    pub fn client_starttls(&self, person: &Person) -> Client {
        self.client_at(person, self.imap.port(), json!({"starttls": true}))
    }

    /// This person's mail client at any port.
    pub fn client_at(&self, person: &Person, port: u16, manner: Value) -> Client {
        Client {
            port,
            user: person.login.clone(),
            password: person.password.clone(),
            ca: self.authority.ca_file.clone(),
            manner,
        }
    }

    /// Where clients find the proxy (implicit TLS).
    pub fn proxy(&self) -> SocketAddr {
        self.imaps
    }

    /// Where clients find the proxy (STARTTLS).
    pub fn proxy_starttls(&self) -> SocketAddr {
        self.imap
    }
}

/// The binary under test: `MAILFERRY_BIN`, else `mailferry` beside or above our own executable (cargo's layout).
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("MAILFERRY_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let found = own.ancestors().skip(1).take(3).map(|dir| dir.join("mailferry")).find(|path| path.is_file());
    found.context("no mailferry binary: run `cargo build` first or set MAILFERRY_BIN")
}

/// Lines of `[dns]` for a stand whose domains are held by these servers: they alone are asked, every second, and the
/// clock is shortened to `wait`.
pub fn dns_options(dns: &crate::dns::Dns, wait: Duration, quiet: Duration) -> String {
    let list = |addresses: &[SocketAddr]| {
        let quoted: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        quoted.join(", ")
    };
    let book: Vec<String> =
        dns.name_servers().iter().map(|(name, address)| format!("\"{name}\" = \"{address}\"")).collect();
    format!(
        "resolvers = [{}]\nroots = [{}]\nname_servers = {{ {} }}\ninterval = \"1s\"\ntimeout = \"2s\"\n\
         wait = \"{}s\"\nstraggler_quiet = \"{}s\"",
        list(&[dns.primary.address()]),
        list(&dns.roots()),
        book.join(", "),
        wait.as_secs(),
        quiet.as_secs(),
    )
}
