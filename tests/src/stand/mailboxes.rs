//! The people of a stand, their batches, their clients, and what both sides hold of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde_json::{Value, json};

use super::{ENDPOINT, Stand, TARGET_PASSWORD};
use crate::account::{self, Account, Side, Word};
use crate::client::Client;

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

impl Stand {
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
            let account = self.account(person).await;
            // What changes while it is read may count as an error.
            if account.as_ref().is_ok_and(Account::agrees) || started.elapsed() > patience {
                return account;
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
}
