//! The order of logins, case by case.

use mailferry_imap::response::Status;
use mailferry_ledger::{MailboxId, Vault};
use secrecy::SecretString;

use super::*;

#[derive(Clone, Copy)]
enum Had {
    Nothing,
    Usable,
    Refused,
    /// And the source refused the CSV file's.
    Substitute,
    RefusedSubstitute,
}

fn known(given: Given, kind: UserName, had: Had, learns: Learns) -> Known {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::create(&dir.path().join("key")).unwrap();
    let at = Timestamp::UNIX_EPOCH;
    let learned = |refused: bool, given_refused| Learned {
        mailbox: MailboxId(1),
        login: "ann".into(),
        password: vault.seal(&SecretString::from("s3cret"), "x").unwrap(),
        at,
        refused: refused.then_some(at),
        given_refused,
    };
    let learned = match had {
        Had::Nothing => None,
        Had::Usable => Some(learned(false, false)),
        Had::Refused => Some(learned(true, false)),
        Had::Substitute => Some(learned(false, true)),
        Had::RefusedSubstitute => Some(learned(true, true)),
    };
    Known { given, kind, learned, learns, identity: None }
}

#[test]
fn the_files_own_password_goes_first_as_long_as_it_works() {
    use UserName::{Admin, Own};
    let first = Some(Awaits::First);
    let newer = Some(Awaits::Newer(Timestamp::UNIX_EPOCH));
    for (number, (given, kind, had, learns, pick, awaits)) in [
        (Given::Yes, Own, Had::Nothing, Learns::Yes, "given", None),
        (Given::Yes, Own, Had::Usable, Learns::Yes, "given", None),
        (Given::Yes, Own, Had::Refused, Learns::Yes, "given", None),
        (Given::Yes, Own, Had::Substitute, Learns::Yes, "learned", None),
        (Given::Yes, Own, Had::RefusedSubstitute, Learns::Yes, "awaits", newer),
        (Given::Yes, Admin, Had::Usable, Learns::Yes, "given", None),
        (Given::Yes, Admin, Had::Substitute, Learns::Yes, "given", None),
        (Given::No, Own, Had::Nothing, Learns::Yes, "awaits", first),
        (Given::No, Own, Had::Nothing, Learns::No, "nothing", None),
        (Given::No, Own, Had::Usable, Learns::Yes, "learned", None),
        (Given::No, Admin, Had::Usable, Learns::Yes, "learned", None),
        (Given::No, Own, Had::Refused, Learns::Yes, "awaits", newer),
        (Given::No, Own, Had::RefusedSubstitute, Learns::Yes, "awaits", newer),
    ]
    .into_iter()
    .enumerate()
    {
        let known = known(given, kind, had, learns);
        let picked = match known.pick() {
            Pick::Given => "given",
            Pick::Learned(_) => "learned",
            Pick::Awaits(_) => "awaits",
            Pick::Nothing => "nothing",
        };
        assert_eq!((picked, known.awaits()), (pick, awaits), "case {number}");
    }
    assert!(known(Given::Yes, Own, Had::Usable, Learns::Yes).has_substitute());
    assert!(!known(Given::Yes, Own, Had::Refused, Learns::Yes).has_substitute());
    assert!(!known(Given::Yes, Admin, Had::Usable, Learns::Yes).has_substitute());
}

#[test]
fn only_a_refusal_of_the_password_speaks_against_it() {
    let of = |code: Option<&str>| {
        let code = code.map(|code| Code::Other(code.into()));
        let server = "imap.contoso.edu".into();
        Refusal::of(&net::Error::Refused {
            server,
            command: "LOGIN",
            status: Status::No,
            code,
            text: "no".into(),
        })
    };
    for code in [None, Some("AUTHENTICATIONFAILED"), Some("EXPIRED"), Some("ALERT")] {
        assert_eq!(of(code), Some(Refusal::Wrong), "{code:?}");
    }
    for code in ["UNAVAILABLE", "unavailable", "INUSE", "LIMIT", "SERVERBUG"] {
        assert_eq!(of(Some(code)), Some(Refusal::Passing), "{code}");
    }
    assert_eq!(of(Some("PRIVACYREQUIRED")), Some(Refusal::Standing));
}
