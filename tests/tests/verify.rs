//! `batch verify`: whatever is done to copies on the target behind our back is found, and nothing else is; on a target that
//! keeps messages as they are, and on one that writes them anew as Exchange does.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use mailferry_tests::mail::{self, Recipe};
use mailferry_tests::maildir::modified_utf7;
use mailferry_tests::stand::{Options, Person, Stand};
use mailferry_tests::talk::Talk;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// What the target makes of messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Target {
    Keeps,
    Rewrites,
}

async fn stand(target: Target) -> (Stand, Person) {
    let stand = Stand::start(Options::default()).await.unwrap();
    if target == Target::Rewrites {
        stand.target.relay.rewrite_messages();
    }
    let terry = stand.add_person("terry.adams").unwrap();
    (stand, terry)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wrong_with_any_mail_that_is_written_anew() {
    let (mut stand, terry) = stand(Target::Rewrites).await;
    let ann = stand.add_person("ann.beebe").unwrap();
    let recipe = Recipe { largest: 400_000, ..Recipe::small(11, 250) };
    let made = stand.source.load(&terry.login, recipe.mailbox()).unwrap();
    let real = stand.source.load(&ann.login, mail::real().unwrap().into_iter()).unwrap();
    stand.start_batch("B1", &[ann.clone(), terry.clone()]).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let account = stand.account(&terry).await.unwrap();
    assert_eq!(account.target_messages, made.messages);
    assert!(account.missing.len() as u64 > account.source_messages / 2, "written anew: {account}");

    for arguments in [&["batch", "verify", "B1"][..], &["batch", "verify", "B1", "--content"]] {
        let said = stand.cli(arguments).await.unwrap();
        let found = said.json().unwrap();
        for (person, report) in [&ann, &terry].into_iter().zip(found["mailboxes"].as_array().unwrap()) {
            assert_eq!(said.code, 0, "{}", shown(&stand, person, report).await);
        }
        let [of_ann, of_terry] = [&found["mailboxes"][0], &found["mailboxes"][1]];
        println!(
            "real: unclear {} of {}, same bytes {}",
            of_ann["unclear"], of_ann["read"], of_ann["same_bytes"]
        );
        if arguments.len() > 3 {
            assert_eq!((&of_ann["read"], &of_terry["read"]), (&real.messages.into(), &made.messages.into()));
            // Half of the real messages are there for being malformed.
            assert!(of_ann["unclear"].as_u64().unwrap() * 5 < real.messages, "{of_ann:#}");
            assert_eq!(of_terry["unclear"], 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_is_the_same_on_a_target_that_keeps_messages() {
    let (mut stand, terry) = stand(Target::Keeps).await;
    let recipe = Recipe { largest: 2_000_000, ..Recipe::small(12, 150) };
    let made = stand.source.load(&terry.login, recipe.mailbox()).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    // A connection that breaks is no reason to begin anew, nor one to be wrong.
    stand.target.relay.cut_after(mailferry_tests::fault::Way::ToClient, made.bytes / 2);
    let said = stand.cli(&["batch", "verify", "B1", "--content"]).await.unwrap();
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(stand.target.relay.cuts(), 1);
    let report = &said.json().unwrap()["mailboxes"][0];
    assert_eq!((&report["read"], &report["same_bytes"]), (&made.messages.into(), &made.messages.into()));
}

/// What a test says about differences: with the subjects of what they are about.
async fn shown(stand: &Stand, person: &Person, report: &Value) -> String {
    let mut talk = stand.talk_directly(person).await.unwrap();
    let mut text = String::new();
    for folder in report["folders"].as_array().unwrap() {
        for one in folder["differences"].as_array().unwrap() {
            let name = folder["source_folder"].as_str().unwrap();
            text.push_str(&format!("{name} {one}\n"));
            let wire = modified_utf7(name).replace('"', "\\\"");
            if talk.ask(&format!("EXAMINE \"{wire}\"")).await.unwrap().last().unwrap().starts_with("OK") {
                let fetch = format!("UID FETCH {} BODY.PEEK[]<0.3000>", one["source_uid"]);
                text.push_str(&talk.ask(&fetch).await.unwrap().join("\n"));
                text.push('\n');
            }
        }
    }
    text
}

/// What is done to a copy, and what verify says of it: by facts, and by content.
const DEEDS: [(&str, &[&str], &[&str]); 11] = [
    ("untouched", &[], &[]),
    ("deleted", &["missing"], &["missing"]),
    ("one word", &[], &["content"]),
    ("attachment", &[], &["content"]),
    ("subject", &["heading"], &["heading"]),
    ("revised", &["replaced"], &["replaced", "content"]),
    ("put anew", &["replaced"], &[]),
    ("doubled", &["doubled"], &["doubled"]),
    ("re-dated", &["replaced", "date"], &["date"]),
    ("re-flagged", &["flags"], &["flags"]),
    ("moved", &["moved"], &["moved"]),
];

fn letter(subject: &str) -> String {
    format!(
        "From: Terry Adams <terry@contoso.edu>\r\nSubject: about {subject}\r\nMessage-ID: <{}@contoso.edu>\r\n\
         Date: Tue, 1 Sep 2020 10:00:00 +0200\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"=_next\"\r\n\r\n--=_next\r\n\r\nGood morning to all of you\r\n\
         --=_next\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=\r\n--=_next--\r\n",
        subject.replace(' ', "-")
    )
}

/// A copy as it lies on the target's disk: changed there, it keeps its UID and its size.
fn change_file(stand: &Stand, person: &Person, uid: u32, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let inbox: PathBuf =
        stand.target.instance().home(&person.address).join("sdbox/mailboxes/INBOX/dbox-Mails");
    let file = inbox.join(format!("u.{uid}"));
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect(from);
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    std::fs::write(&file, bytes).unwrap();
    // Or headers are told from there.
    let _ = std::fs::remove_file(inbox.join("dovecot.index.cache"));
}

async fn body(talk: &mut Talk, uid: u32) -> String {
    let lines = talk.say(&format!("UID FETCH {uid} (BODY.PEEK[])")).await.unwrap();
    let fetched = lines.iter().find(|line| line.contains("BODY[] {")).unwrap();
    let (_, rest) = fetched.split_once("}\r\n").unwrap();
    rest.trim_end_matches(')').to_owned()
}

async fn put(talk: &mut Talk, date: &str, message: &str) {
    let size = message.len();
    talk.say(&format!("APPEND INBOX () \"{date}\" {{{size}+}}\r\n{message}")).await.unwrap();
}

async fn gone(talk: &mut Talk, uid: u32) {
    talk.say(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)")).await.unwrap();
    talk.say(&format!("UID EXPUNGE {uid}")).await.unwrap();
}

async fn everything_that_is_done_is_found(target: Target) {
    let (mut stand, terry) = stand(target).await;
    let mut client = stand.talk_directly(&terry).await.unwrap();
    let date = "01-Sep-2020 10:00:00 +0000";
    for (deed, ..) in DEEDS {
        put(&mut client, date, &letter(deed)).await;
    }
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();

    let mut talk = stand.look(&terry).await.unwrap();
    talk.say("CREATE Mine").await.unwrap();
    let listed = talk.list("INBOX").await.unwrap();
    let uid = |deed: &str| {
        let subject = format!("about {deed}");
        listed.iter().find(|(about, ..)| about.trim_end() == subject).map(|(.., uid)| *uid).expect(deed)
    };
    talk.say("SELECT INBOX").await.unwrap();
    let revised = body(&mut talk, uid("revised")).await.replace("morning", "evening");
    let put_anew = body(&mut talk, uid("put anew")).await;
    let redated = body(&mut talk, uid("re-dated")).await;
    put(&mut talk, date, &revised).await;
    put(&mut talk, date, &put_anew).await;
    put(&mut talk, "02-Sep-2020 10:00:00 +0000", &redated).await;
    for deed in ["revised", "put anew", "re-dated", "deleted"] {
        gone(&mut talk, uid(deed)).await;
    }
    talk.say(&format!("UID COPY {} INBOX", uid("doubled"))).await.unwrap();
    talk.say(&format!("UID STORE {} +FLAGS (\\Answered)", uid("re-flagged"))).await.unwrap();
    talk.say(&format!("UID MOVE {} Mine", uid("moved"))).await.unwrap();
    talk.say("UNSELECT").await.unwrap();
    change_file(&stand, &terry, uid("one word"), "morning", "evening");
    change_file(&stand, &terry, uid("attachment"), "REVGR0hJ", "REVGR0hK");
    change_file(&stand, &terry, uid("subject"), "about subject", "about another");

    let at_source = client.list("INBOX").await.unwrap();
    for (depth, arguments) in
        [("facts", &["batch", "verify", "B1"][..]), ("content", &["batch", "verify", "B1", "--content"])]
    {
        let said = stand.cli(arguments).await.unwrap();
        assert_eq!(said.code, 6, "{depth}: {said:?}");
        let report = said.json().unwrap()["mailboxes"][0].clone();
        let differences = report["folders"][0]["differences"].as_array().unwrap().clone();
        for (deed, by_facts, by_content) in DEEDS {
            let expected: BTreeSet<&str> = if depth == "facts" {
                by_facts.iter().copied().collect()
            } else {
                by_content.iter().copied().collect()
            };
            let subject = format!("about {deed}");
            let (.., uid) = at_source.iter().find(|(about, ..)| *about == subject).unwrap();
            let about = differences.iter().filter(|one| one["source_uid"] == *uid);
            let found: BTreeSet<&str> = about.map(|one| one["what"].as_str().unwrap()).collect();
            assert_eq!(found, expected, "{target:?} {depth} {deed}: {report:#}");
        }
        let moved = differences.iter().find(|one| one["what"] == "moved").unwrap();
        assert_eq!(moved["target_folder"], "Mine");
        assert_eq!(
            (&report["missing"], &report["moved"], &report["foreign"]),
            (&1.into(), &1.into(), &0.into())
        );
    }

    // An operator's word: what is nowhere on the target is copied anew; what its user moved is not.
    let retried =
        stand.cli(&["mailbox", "retry", &terry.address, "--missing"]).await.unwrap().done().unwrap();
    assert_eq!(retried.json().unwrap()["missing"], 1, "{retried:?}");
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let after = talk.list("INBOX").await.unwrap();
    let times =
        |deed: &str| after.iter().filter(|(about, ..)| about.trim_end() == format!("about {deed}")).count();
    assert_eq!((times("deleted"), times("moved"), times("doubled")), (1, 0, 2));
    let said = stand.human(&["batch", "verify", "B1"]).await.unwrap();
    assert_eq!(said.code, 6);
    assert!(said.stdout.contains("moved to Mine") && !said.stdout.contains("missing on"), "{}", said.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_found_on_a_target_that_keeps_messages() {
    everything_that_is_done_is_found(Target::Keeps).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_found_on_a_target_that_writes_messages_anew() {
    everything_that_is_done_is_found(Target::Rewrites).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_did_since_the_last_pass_is_no_difference() {
    let (mut stand, terry) = stand(Target::Rewrites).await;
    let mut client = stand.talk_directly(&terry).await.unwrap();
    for subject in ["one", "two", "three"] {
        put(&mut client, "01-Sep-2020 10:00:00 +0000", &letter(subject)).await;
    }
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    client.say("SELECT INBOX").await.unwrap();
    client.say("UID STORE 1 +FLAGS (\\Seen)").await.unwrap();
    gone(&mut client, 2).await;
    put(&mut client, "01-Sep-2020 10:00:00 +0000", &letter("four")).await;
    let said = stand.cli(&["batch", "verify", "B1", "--content"]).await.unwrap();
    let report = &said.json().unwrap()["mailboxes"][0];
    assert_eq!(
        (said.code, &report["pending"], &report["differing"]),
        (5, &1.into(), &0.into()),
        "{report:#}"
    );
    stand.sync_again("B1", PATIENCE).await.unwrap();
    assert_eq!(stand.cli(&["batch", "verify", "B1", "--content"]).await.unwrap().code, 0);
}
