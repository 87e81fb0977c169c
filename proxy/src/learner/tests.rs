//! Whose password is kept, when it is news, and where nothing is.

use mailferry_ledger::{AdminLogin, Batch, BatchState, Endpoint, Security, Trust};
use mailferry_spool::{Limits, Spool};
use tempfile::TempDir;

use super::*;

const E: &str = "E";

struct Place {
    dir: TempDir,
    ledger: Ledger,
    vault: Vault,
    mailboxes: Vec<MailboxId>,
}

/// `(user_name, password in the CSV file, UserRoot)`, addresses `u0@contoso.edu` and so on.
async fn place(rows: &[(&str, Option<&str>, Option<&str>)]) -> Place {
    let dir = TempDir::new().unwrap();
    let ledger = Ledger::open(&dir.path().join("ledger")).unwrap().ledger;
    let vault = Vault::create(&dir.path().join("key")).unwrap();
    let mut change = ledger.change();
    change.put_endpoint(Endpoint {
        name: E.into(),
        server: "imap.contoso.edu".into(),
        port: 993,
        security: Security::Ssl,
        trust: Trust::System,
        max_concurrent_migrations: 1,
        max_concurrent_incremental_syncs: 1,
        learn_credentials: true,
        admin_separator: Endpoint::ADMIN_SEPARATOR,
        admin_login: AdminLogin::Name,
    });
    let created = Timestamp::UNIX_EPOCH;
    change.put_batch(Batch {
        name: "B".into(),
        endpoint: E.into(),
        state: BatchState::Syncing,
        created,
        started: None,
        auto_start: false,
        error: None,
        include: Vec::new(),
        exclude: Vec::new(),
    });
    let mut mailboxes = Vec::new();
    for (number, (user_name, password, user_root)) in rows.iter().enumerate() {
        let id = change.new_mailbox_id();
        let address = format!("u{number}@contoso.edu");
        let sealed = |password: &str| vault.seal(&SecretString::from(password), &address).unwrap();
        change.put_mailbox(Mailbox {
            password: password.map(sealed),
            user_root: user_root.map(str::to_owned),
            ..Mailbox::new(id, "B", &address, user_name)
        });
        mailboxes.push(id);
    }
    change.commit().await.unwrap();
    Place { dir, ledger, vault, mailboxes }
}

impl Place {
    fn look(&self, login: &str, password: &str, now: Timestamp) -> bool {
        let accepted = Accepted { login: login.into(), password: SecretString::from(password) };
        look(&self.ledger, &self.vault, E, accepted, now).unwrap().is_some()
    }

    async fn learnt(&self, login: &str, password: &str, now: Timestamp) {
        let accepted = Accepted { login: login.into(), password: SecretString::from(password) };
        let (id, login, sealed) = look(&self.ledger, &self.vault, E, accepted, now).unwrap().unwrap();
        self.ledger.learn(id, login, sealed, now).await.unwrap();
    }
}

#[tokio::test]
async fn only_what_a_row_spells_is_learnt() {
    let rows = [
        ("ann", None, None),
        ("bob*admin", Some("admins"), None),
        ("mailadmin", Some("admins"), Some("/users/carl")),
        ("dora", Some("given"), None),
    ];
    let place = place(&rows).await;
    let now = Timestamp::now();
    for (login, password, is_news) in [
        ("ann", "s3cret", true),
        ("u0@contoso.edu", "s3cret", true),
        ("ann@contoso.edu", "s3cret", false),
        ("nobody", "s3cret", false),
        ("bob", "s3cret", true),
        ("bob*admin", "admins", false),
        ("carl", "s3cret", false),
        ("mailadmin", "admins", false),
        ("dora", "given", false),
        ("dora", "another", true),
    ] {
        assert_eq!(place.look(login, password, now), is_news, "{login}");
    }
}

#[tokio::test]
async fn what_is_kept_already_is_not_written_again() {
    let place = place(&[("ann", None, None)]).await;
    let now = Timestamp::now();
    place.learnt("ann", "s3cret", now).await;
    assert!(!place.look("ann", "s3cret", now));
    assert!(!place.look("u0@contoso.edu", "s3cret", now), "another name of the same user");
    assert!(place.look("ann", "changed", now));

    let mut change = place.ledger.change();
    change.update_learned(place.mailboxes[0], move |learned| learned.refused = Some(now));
    change.commit().await.unwrap();
    let later = |minutes| now + SignedDuration::from_mins(minutes);
    assert!(place.look("ann", "changed", now), "a new one at once");
    assert!(!place.look("ann", "s3cret", later(14)), "what was refused not at every login");
    assert!(place.look("ann", "s3cret", later(15)));

    // Another key: what is kept does not open, and is replaced.
    let other = Vault::create(&place.dir.path().join("other")).unwrap();
    let accepted = Accepted { login: "ann".into(), password: SecretString::from("s3cret") };
    assert!(look(&place.ledger, &other, E, accepted, now).unwrap().is_some());
}

#[tokio::test]
async fn the_task_keeps_what_was_accepted_and_ends_when_the_sessions_have() {
    let place = place(&[("ann", None, None), ("bob", None, None)]).await;
    let spool = Spool::new(Limits { memory_bytes: 0, disk_bytes: 0, dir: place.dir.path().to_owned() });
    let mirror = Mirror::new(E.into(), place.ledger.clone(), spool, std::sync::Arc::default());
    let (learner, pupil) = learner(E.into(), Some(place.vault.clone()), mirror.clone());
    let offer = |login: &str| {
        learner.offer(Accepted { login: login.into(), password: SecretString::from("s3cret") });
    };
    offer("ann");
    learner.set(Learning::On);
    offer("bob");
    let over = CancellationToken::new();
    over.cancel();
    pupil.run(over).await;
    assert_eq!(place.ledger.learned(place.mailboxes[0]).unwrap(), None, "it was off");
    let learned = place.ledger.learned(place.mailboxes[1]).unwrap().unwrap();
    let password = place.vault.open(&learned.password, &Learned::sealed_for("u1@contoso.edu", "bob"));
    assert_eq!(password.unwrap().expose_secret(), "s3cret");
    assert_eq!(mirror.book.counters().learned, 1);
}
