//! Login name -> mailbox: every form of administrator's name, and nothing that is not certain.

use super::*;
use crate::Strength;

/// `address`, `user_name`, `client_login`, `user_root`; numbered from 1.
type Row<'a> = (&'a str, &'a str, Option<&'a str>, Option<&'a str>);

async fn ledger_of(dir: &Path, rows: &[Row<'_>]) -> Ledger {
    let ledger = open(dir);
    let mut change = ledger.change();
    change.put_endpoint(endpoint("IMAPEndpoint"));
    change.put_batch(batch("IMAPBatch1"));
    for (id, (address, user_name, client_login, root)) in (1..).zip(rows) {
        let mut row = mailbox(MailboxId(id), address);
        row.user_name = (*user_name).into();
        row.client_login = client_login.map(str::to_owned);
        row.user_root = root.map(str::to_owned);
        change.put_mailbox(row);
    }
    change.commit().await.unwrap();
    ledger
}

fn whose(ledger: &Ledger, login: &str) -> Option<(u32, Strength)> {
    let found = ledger.mailbox_by_login("IMAPEndpoint", login).unwrap();
    found.map(|found| (found.mailbox.id.0, found.by))
}

#[tokio::test]
async fn a_login_leads_to_the_strongest_unambiguous_mailbox() {
    use Strength::{Address, ClientLogin, Derived, UserName};
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger_of(
        dir.path(),
        &[
            ("terrya@contoso.edu", "terry.adams", None, None),
            ("annb@contoso.edu", "contoso/mailadmin/ann.beebe", None, None),
            ("paulc@contoso.edu", "paul.cannon", Some("pc"), None),
            ("paulc@fabrikam.edu", "#pc2@fabrikam.edu#admin#", None, None),
            ("x@contoso.edu", "annb", None, None),
            ("y@contoso.edu", "mailadmin", None, Some("/users/yvonne/")),
            ("paulc@wingtip.edu", "pw*admin", None, None),
            ("info@contoso.edu", "info@contoso.edu", None, None),
            ("info@fabrikam.edu", "info@fabrikam.edu", None, None),
            ("carl@contoso.edu", "CONTOSO\\carl", None, None),
            ("dora@contoso.edu", "contoso/mailadmin/dora", None, None),
            ("dora@fabrikam.edu", "fabrikam/mailadmin/dora", None, None),
            ("e@contoso.edu", "Eve", None, None),
            ("e2@contoso.edu", "eve", None, None),
            ("f@contoso.edu", "frank@contoso.edu", None, None),
            ("g@contoso.edu", "", Some("gina"), None),
        ],
    )
    .await;
    for (login, found) in [
        ("terry.adams", Some((1, UserName))),
        ("TERRY.Adams", Some((1, UserName))),
        ("terrya@contoso.edu", Some((1, Address))),
        ("terry.adams@contoso.edu", Some((1, Derived))),
        ("terry.adams@fabrikam.edu", None),
        // Terry is `terry.adams` there: this is somebody else, as far as anybody can tell.
        ("terrya", None),
        ("ann.beebe", Some((2, UserName))),
        ("contoso\\ann.beebe", Some((2, UserName))),
        ("contoso/ann.beebe", Some((2, UserName))),
        ("contoso/mailadmin/ann.beebe", None),
        ("fabrikam\\ann.beebe", None),
        ("mailadmin", None),
        ("annb@contoso.edu", Some((2, Address))),
        ("annb", Some((5, UserName))),
        ("pc", Some((3, ClientLogin))),
        ("paul.cannon", None),
        ("paulc@contoso.edu", None),
        ("paulc", None),
        ("pc2@fabrikam.edu", Some((4, UserName))),
        ("pc2", Some((4, Derived))),
        ("yvonne", Some((6, UserName))),
        ("y", Some((6, Derived))),
        ("y@contoso.edu", Some((6, Address))),
        ("pw", Some((7, UserName))),
        ("pw*admin", None),
        ("info@fabrikam.edu", Some((9, UserName))),
        ("info", None),
        ("carl", Some((10, UserName))),
        ("contoso/carl", Some((10, UserName))),
        ("dora", None),
        ("fabrikam\\dora", Some((12, UserName))),
        ("Eve", Some((13, UserName))),
        ("eve", Some((14, UserName))),
        ("EVE", None),
        ("frank", Some((15, Derived))),
        ("gina", Some((16, ClientLogin))),
        ("g@contoso.edu", None),
        ("", None),
        ("nobody", None),
    ] {
        assert_eq!(whose(&ledger, login), found, "{login}");
    }
    let mut change = ledger.change();
    change.update_mailbox(MailboxId(1), |mailbox| mailbox.client_login = Some("tea".into()));
    change.commit().await.unwrap();
    assert_eq!(whose(&ledger, "tea"), Some((1, ClientLogin)));
    assert_eq!((whose(&ledger, "terry.adams"), whose(&ledger, "terrya@contoso.edu")), (None, None));
}

#[tokio::test]
async fn a_login_counts_at_its_own_endpoint_and_not_for_a_batch_that_is_going() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger_of(dir.path(), &[("terrya@contoso.edu", "terry", None, None)]).await;
    let mut change = ledger.change();
    change.put_endpoint(endpoint("Other"));
    change.put_batch(Batch { endpoint: "Other".into(), ..batch("B2") });
    let row = mailbox(MailboxId(2), "terry@fabrikam.edu");
    change.put_mailbox(Mailbox { batch: "B2".into(), user_name: "terry".into(), ..row });
    change.commit().await.unwrap();
    let at =
        |endpoint: &str| ledger.mailbox_by_login(endpoint, "terry").unwrap().map(|found| found.mailbox.id.0);
    assert_eq!((at("IMAPEndpoint"), at("Other"), at("None")), (Some(1), Some(2), None));
    let mut change = ledger.change();
    change.update_batch("B2", |batch| batch.state = BatchState::Removing);
    change.commit().await.unwrap();
    assert_eq!((at("IMAPEndpoint"), at("Other")), (Some(1), None));
}

#[tokio::test]
async fn another_separator_of_administrators_counts_at_once_for_the_mailboxes_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger_of(dir.path(), &[("terrya@contoso.edu", "terry%admin", None, None)]).await;
    let separate = async |separator| {
        let mut change = ledger.change();
        change.put_endpoint(Endpoint { admin_separator: separator, ..endpoint("IMAPEndpoint") });
        change.commit().await.unwrap();
    };
    let logins = || ["terry", "terry%admin"].map(|login| whose(&ledger, login).is_some());
    assert_eq!(logins(), [false, true]);
    separate('%').await;
    assert_eq!(logins(), [true, false]);
    separate('*').await;
    assert_eq!(logins(), [false, true]);
    separate('%').await;
    ledger.remove_batch("IMAPBatch1", "{}".into()).await.unwrap();
    let left = ledger.shared().read(|store| Ok(store.page(&[], &[u8::MAX], 1000)?)).unwrap();
    let kinds: Vec<u8> = left.iter().map(|entry| entry.key[0]).collect();
    assert!(!kinds.contains(&crate::key::LOGIN), "no name stays behind: {kinds:?}");
}
