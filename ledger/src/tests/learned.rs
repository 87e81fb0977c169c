//! What was learnt is there after a restart, and nowhere where it must not be.

use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::{CommitError, Learned, Sealed, Vault};

fn sealed(dir: &Path, password: &str) -> (Vault, Sealed) {
    let key = dir.join("key");
    let vault = Vault::load(&key).unwrap_or_else(|_| Vault::create(&key).unwrap());
    let context = Learned::sealed_for("TerryA@contoso.edu", "terry");
    let sealed = vault.seal(&SecretString::from(password), &context).unwrap();
    (vault, sealed)
}

async fn learning(dir: &Path) -> Ledger {
    let ledger = furnished(&dir.join("ledger")).await;
    let mut change = ledger.change();
    change.put_endpoint(endpoint("IMAPEndpoint"));
    change.commit().await.unwrap();
    ledger
}

#[tokio::test]
async fn what_was_learnt_outlives_a_restart_and_opens_for_its_own_name_only() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, password) = sealed(dir.path(), "s3cret");
    let ledger = learning(dir.path()).await;
    ledger.learn(TERRY, "terry".into(), password, moment()).await.unwrap();
    assert_eq!(ledger.newly_learned().await, [TERRY]);
    drop(ledger);

    let ledger = open(&dir.path().join("ledger"));
    let learned = ledger.learned(TERRY).unwrap().unwrap();
    assert_eq!((learned.login.as_str(), learned.at, learned.is_usable()), ("terry", moment(), true));
    let open =
        |login: &str| vault.open(&learned.password, &Learned::sealed_for("terrya@contoso.edu", login)).ok();
    assert_eq!(open("terry").unwrap().expose_secret(), "s3cret");
    assert!(open("ann").is_none());
    assert!(!format!("{learned:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_newer_one_replaces_one_that_was_refused_and_remembers_about_the_files_own() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = learning(dir.path()).await;
    ledger.learn(TERRY, "terry".into(), sealed(dir.path(), "old").1, moment()).await.unwrap();
    let mut change = ledger.change();
    change.update_learned(TERRY, |learned| {
        (learned.refused, learned.given_refused) = (Some(moment()), true);
    });
    change.update_learned(MailboxId(77), |_| panic!("not there"));
    change.commit().await.unwrap();
    assert!(!ledger.learned(TERRY).unwrap().unwrap().is_usable());
    ledger.learn(TERRY, "terry".into(), sealed(dir.path(), "new").1, moment()).await.unwrap();
    let learned = ledger.learned(TERRY).unwrap().unwrap();
    assert!(learned.is_usable() && learned.given_refused);
}

#[tokio::test]
async fn nothing_is_kept_where_nothing_is_to_be_learnt() {
    let dir = tempfile::tempdir().unwrap();
    let (_, password) = sealed(dir.path(), "s3cret");
    let ledger = learning(dir.path()).await;
    let learn = async || {
        ledger.learn(TERRY, "terry".into(), password.clone(), moment()).await.unwrap();
        ledger.learned(TERRY).unwrap().is_some()
    };
    let set = async |learn_credentials| {
        let mut change = ledger.change();
        change.put_endpoint(Endpoint { learn_credentials, ..endpoint("IMAPEndpoint") });
        // Learnt in the same durable write as the turning off, or just before it.
        let learning = ledger.learn(TERRY, "terry".into(), password.clone(), moment());
        let (set, _) = tokio::join!(change.commit(), learning);
        set.unwrap();
    };
    assert!(learn().await);
    set(false).await;
    assert_eq!(ledger.learned(TERRY).unwrap(), None, "turned off, it is forgotten");
    assert!(!learn().await, "whoever comes late leaves nothing");
    set(true).await;
    assert!(learn().await);

    // Only that endpoint's.
    let mut change = ledger.change();
    change.put_endpoint(endpoint("Other"));
    change.commit().await.unwrap();
    let mut change = ledger.change();
    change.put_endpoint(Endpoint { learn_credentials: false, ..endpoint("Other") });
    change.commit().await.unwrap();
    assert!(ledger.learned(TERRY).unwrap().is_some());

    let mut change = ledger.change();
    change.update_batch("IMAPBatch1", |batch| batch.state = BatchState::Removing);
    change.commit().await.unwrap();
    ledger.remove_batch("IMAPBatch1", "{}".into()).await.unwrap();
    assert_eq!(ledger.learned(TERRY).unwrap(), None);
    let late = ledger.learn(TERRY, "terry".into(), password.clone(), moment()).await;
    assert_eq!(late, Err(CommitError::NoMailbox(TERRY)));
    let left = ledger.shared().read(|store| Ok(store.page(&[], &[u8::MAX], 1000)?)).unwrap();
    assert!(left.iter().all(|entry| entry.key[0] != crate::key::LEARNED));
}

#[tokio::test]
async fn an_interrupted_removal_forgot_what_was_learnt_first() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = learning(dir.path()).await;
    ledger.learn(TERRY, "terry".into(), sealed(dir.path(), "s3cret").1, moment()).await.unwrap();
    begin_removal(&ledger).await;
    assert!(ledger.mailbox(TERRY).unwrap().is_some());
    assert_eq!(ledger.learned(TERRY).unwrap(), None);
}
