//! What clients do with folders is done on the target: renamed, made, removed, subscribed to, without a body passing again.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use mailferry_tests::fault::{Fault, Rule};
use mailferry_tests::mail::exact;
use mailferry_tests::stand::{Options, Person, Stand};
use mailferry_tests::talk::Talk;

const PATIENCE: Duration = Duration::from_secs(60);

/// These folders with three messages each and `INBOX` with ten, all on the target; nothing counted so far.
async fn synced_stand(folders: &[&str], options: Options) -> (Stand, Person) {
    let mut stand = Stand::start(options).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let mail =
        (0..10).map(|n| exact(&["INBOX"], 1_000 + 10 * n, &format!("inbox {n}"), 1_600_000_000 + n as i64));
    stand.source.load(&terry.login, mail).unwrap();
    let mut client = stand.talk_directly(&terry).await.unwrap();
    for folder in folders {
        client.say(&format!("CREATE {folder}")).await.unwrap();
        for n in 0..3 {
            client.append(folder, "", &letter(&format!("{folder} {n}"))).await.unwrap();
        }
    }
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    forget_counts(&stand);
    (stand, terry)
}

fn forget_counts(stand: &Stand) {
    stand.source_relay.forget_counts();
    stand.target.relay.forget_counts();
}

fn letter(subject: &str) -> String {
    let id = subject.replace(' ', ".");
    format!(
        "Subject: {subject}\r\nMessage-ID: <{id}@contoso.edu>\r\nDate: Tue, 1 Sep 2020 10:00:00 +0000\r\n\r\nx\r\n"
    )
}

/// Waits until the target lists what is wanted.
async fn lists(target: &mut Talk, wanted: impl Fn(&[String]) -> bool) {
    let started = Instant::now();
    loop {
        let found = target.folders().await.unwrap();
        if wanted(&found) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "the target has {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|known| known == name)
}

/// No body was asked of the source, none was sent to the target.
fn no_body_passed(stand: &Stand) {
    assert_eq!(stand.source_relay.counts().bodies_served(), 0, "{:?}", stand.source_relay.counts());
    assert_eq!(stand.target.relay.counts().of("APPEND"), 0, "{:?}", stand.target.relay.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_folder_is_renamed_with_all_that_is_below_it() {
    let folders = ["Projects", "Projects.Ferry", "Projects.Ferry.Bills", "Projects.Tea", "Projection"];
    let (mut stand, terry) = synced_stand(&folders, Options::default()).await;
    let mut client = stand.talk(&terry).await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    client.say("RENAME Projects Done").await.unwrap();
    lists(&mut target, |names| {
        ["Done", "Done/Ferry", "Done/Ferry/Bills", "Done/Tea", "Projection"]
            .iter()
            .all(|name| has(names, name))
            && !names.iter().any(|name| name.starts_with("Projects"))
    })
    .await;
    stand.same(&terry, PATIENCE).await.unwrap();
    // Down into another tree, one level only; and what happens in it meanwhile.
    client.say("CREATE Archive").await.unwrap();
    // Or the folders are listed amid the rename.
    stand.sync_again("B1", PATIENCE).await.unwrap();
    client.say("SELECT Done.Ferry").await.unwrap();
    client.say("STORE 1 +FLAGS (\\Flagged)").await.unwrap();
    client.say("UNSELECT").await.unwrap();
    client.say("RENAME Done.Ferry Archive.Ferry").await.unwrap();
    lists(&mut target, |names| {
        ["Done", "Done/Tea", "Archive/Ferry/Bills"].iter().all(|name| has(names, name))
            && !names.iter().any(|name| name.starts_with("Done/Ferry"))
    })
    .await;
    stand.same(&terry, PATIENCE).await.unwrap();
    no_body_passed(&stand);
    // Two names changed with each other.
    client.say("RENAME Done.Tea Between").await.unwrap();
    client.say("RENAME Projection Done.Tea").await.unwrap();
    client.say("RENAME Between Projection").await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    lists(&mut target, |names| !has(names, "Between")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_ends_amid_a_rename_gives_what_is_below_no_other_name() {
    let (stand, terry) = synced_stand(&["Projects", "Projects.Ferry"], Options::default()).await;
    let mut client = stand.talk(&terry).await.unwrap();
    // The first look is at the folder itself; a second one, at what is below it, would not come through.
    stand.source_relay.order(Rule::next("EXAMINE", Fault::Cut).after(1));
    client.say("RENAME Projects Done").await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    lists(&mut target, |names| has(names, "Done/Ferry")).await;
    stand.same(&terry, PATIENCE).await.unwrap();
    no_body_passed(&stand);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_below_a_renamed_folder_and_new_is_known_once() {
    let (mut stand, terry) = synced_stand(&["Projects"], Options::default()).await;
    let mut client = stand.talk(&terry).await.unwrap();
    client.say("CREATE Projects.Ferry").await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    lists(&mut target, |names| has(names, "Projects/Ferry")).await;
    // The target hears nothing meanwhile.
    stand.target.relay.go_down().await;
    client.append("Projects.Ferry", "", &letter("late")).await.unwrap();
    client.say("RENAME Projects Done").await.unwrap();
    stand.target.relay.come_back().await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    let shown = stand.cli(&["mailbox", "show", &terry.address]).await.unwrap().json().unwrap();
    let folders = shown["folders"].as_array().unwrap().iter();
    assert_eq!(folders.filter(|folder| folder["source"] == "Done.Ferry").count(), 1, "{shown:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_back_under_the_old_name_of_a_renamed_folder_is_there() {
    let (stand, terry) = synced_stand(&["Projects", "Projects.Ferry"], Options::default()).await;
    let mut client = stand.talk(&terry).await.unwrap();
    // The target hears nothing meanwhile.
    stand.target.relay.go_down().await;
    client.say("RENAME Projects Done").await.unwrap();
    client.say("CREATE Projects").await.unwrap();
    client.say("RENAME Done.Ferry Projects.Ferry").await.unwrap();
    stand.target.relay.come_back().await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    lists(&mut target, |names| ["Done", "Projects/Ferry"].iter().all(|name| has(names, name))).await;
    stand.same(&terry, PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn made_and_removed_folders_are_made_and_removed() {
    let folders = ["Work", "Work.Old", "Work.Old.Older", "Workshop"];
    let (stand, terry) = synced_stand(&folders, Options::default()).await;
    let mut client = stand.talk(&terry).await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    client.say("CREATE New.Below").await.unwrap();
    lists(&mut target, |names| has(names, "New/Below")).await;
    client.say("DELETE Work.Old.Older").await.unwrap();
    lists(&mut target, |names| has(names, "Work/Old") && !has(names, "Work/Old/Older")).await;
    // At once, so that one pass sees both gone.
    for folder in ["Work", "Work.Old", "New.Below"] {
        client.send(&format!("DELETE {folder}")).await.unwrap();
    }
    client.say("NOOP").await.unwrap();
    lists(&mut target, |names| {
        has(names, "Workshop")
            && !names.iter().any(|name| name == "Work" || name.starts_with("Work/"))
            && !has(names, "New/Below")
    })
    .await;
    assert_eq!(stand.source_relay.counts().bodies_served(), 0, "{:?}", stand.source_relay.counts());
    // The same name once more is another folder.
    client.say("CREATE Work").await.unwrap();
    client.append("Work", "", &letter("anew")).await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    assert_eq!(target.list("Work").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_subscribes_to_is_subscribed_to() {
    let (mut stand, terry) = synced_stand(&["Work", "Work.Old"], Options::default()).await;
    let mut client = stand.talk(&terry).await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    for (command, wanted) in [
        ("SUBSCRIBE Work", &["Work"][..]),
        ("SUBSCRIBE Work.Old", &["Work", "Work/Old"]),
        ("UNSUBSCRIBE Work", &["Work/Old"]),
    ] {
        client.say(command).await.unwrap();
        subscribed_to(&mut target, wanted).await;
    }
    // Under another name, and in the place of another; the target hears nothing meanwhile.
    for (commands, wanted) in [
        (&["RENAME Work Done", "SUBSCRIBE Done.Old"][..], &["Done/Old"][..]),
        (&["UNSUBSCRIBE Done.Old", "DELETE Done.Old", "CREATE Done.Old"], &[]),
    ] {
        stand.target.relay.go_down().await;
        for command in commands {
            client.say(command).await.unwrap();
        }
        stand.target.relay.come_back().await.unwrap();
        stand.sync_again("B1", PATIENCE).await.unwrap();
        subscribed_to(&mut target, wanted).await;
    }
}

/// Waits until of `Work`, `Done` and what is below them these are subscribed to.
async fn subscribed_to(target: &mut Talk, wanted: &[&str]) {
    let started = Instant::now();
    loop {
        let there = target.folders().await.unwrap();
        let lines = target.say("LSUB \"\" *").await.unwrap();
        let found = |name: &str| {
            let line = lines.iter().find(|line| line.trim_matches('"').ends_with(&format!(" {name}")));
            has(&there, name) && line.is_some_and(|line| !line.contains("\\Noselect"))
        };
        if ["Work", "Work/Old", "Done", "Done/Old"].iter().all(|name| found(name) == wanted.contains(name)) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{wanted:?}: {lines:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_folder_whose_name_stays_above_others_is_gone() {
    let (mut stand, terry) = synced_stand(&["Work", "Done", "Done.Old"], Options::default()).await;
    let mut client = stand.talk(&terry).await.unwrap();
    // The target hears nothing meanwhile.
    stand.target.relay.go_down().await;
    client.say("DELETE Work").await.unwrap();
    client.say("DELETE Done").await.unwrap();
    // What is only a name takes along what is below it.
    client.say("RENAME Done Work").await.unwrap();
    let listed = client.say("LIST \"\" Work*").await.unwrap().join("\n");
    assert!(listed.contains("\\Noselect"), "{listed}");
    stand.target.relay.come_back().await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    assert_eq!(target.list("Work").await.unwrap(), []);
    assert_eq!(target.list("Work/Old").await.unwrap().len(), 3);
    let batch = stand.batch("B1").await.unwrap();
    assert_eq!(batch["status"]["tally"]["messages_done"], 13, "{batch:#}");
    client.say("DELETE Work.Old").await.unwrap();
    // If a pass listed the folders amid the rename, `Work` was made as a mere name, which this target keeps.
    let started = Instant::now();
    while target.selectable().await.unwrap().iter().any(|name| name.starts_with("Work")) {
        assert!(started.elapsed() < PATIENCE, "the target has {:?}", target.folders().await.unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_above_others_on_the_target_is_no_folder() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let mut client = stand.talk_directly(&terry).await.unwrap();
    client.say("CREATE Work").await.unwrap();
    client.say("CREATE Work.Old").await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    target.say("CREATE Work/Old").await.unwrap();
    assert!(!has(&target.selectable().await.unwrap(), "Work"), "only a name");
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    assert!(has(&target.selectable().await.unwrap(), "Work"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_inbox_held_is_in_the_folder_that_it_was_renamed_to() {
    let (stand, terry) = synced_stand(&[], Options::default()).await;
    let mut client = stand.talk(&terry).await.unwrap();
    let answer = client.ask("RENAME INBOX Old").await.unwrap();
    if !answer.last().unwrap().starts_with("OK") {
        // Dovecot does not; what RFC 3501 section 6.3.5 says it is to do, then. It may have made the folder all the same.
        client.ask("CREATE Old").await.unwrap();
        client.say("SELECT INBOX").await.unwrap();
        client.say("UID MOVE 1:* Old").await.unwrap();
    }
    client.append("INBOX", "", &letter("after")).await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    assert_eq!(target.list("Old").await.unwrap().len(), 10);
    assert_eq!(target.list("INBOX").await.unwrap().len(), 1);
    assert_eq!(stand.source_relay.counts().bodies_served(), 0, "{:?}", stand.source_relay.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_uidvalidity_costs_no_body_and_no_second_copy() {
    let (mut stand, terry) = synced_stand(&["Work", "Work.Old"], Options::default()).await;
    let mut target = stand.look(&terry).await.unwrap();
    let before = target.list("Work").await.unwrap();
    for (round, folder) in ["Work", "INBOX"].into_iter().enumerate() {
        let dovecot = stand.source.dovecot().unwrap().instance();
        dovecot.set_uid_validity(&terry.login, folder, 4_000_000_000 + round as u32).unwrap();
        // A client at work is the first to meet it.
        let mut client = stand.talk(&terry).await.unwrap();
        let opened = client.say(&format!("SELECT {folder}")).await.unwrap().join("\n");
        assert!(opened.contains("UIDVALIDITY 400000000"), "{opened}");
        client.say("UID STORE 2 +FLAGS (\\Answered)").await.unwrap();
        client.say("UID STORE 1 +FLAGS (\\Deleted)").await.unwrap();
        client.say("EXPUNGE").await.unwrap();
        stand.sync_again("B1", PATIENCE).await.unwrap();
        stand.same(&terry, PATIENCE).await.unwrap();
    }
    no_body_passed(&stand);
    let after = target.list("Work").await.unwrap();
    let uids = |list: &[(String, String, u32)]| list.iter().map(|one| one.2).collect::<Vec<_>>();
    assert_eq!(uids(&after), uids(&before)[1..], "the copies of then");
    let mut client = stand.talk(&terry).await.unwrap();
    client.append("Work", "", &letter("after")).await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_beyond_the_cap_wait_for_the_operators_word() {
    let options = Options { sync: "max_deletions = 2".into(), ..Options::default() };
    let (mut stand, terry) = synced_stand(&["Work"], options).await;
    let mut client = stand.talk(&terry).await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    client.say("SELECT INBOX").await.unwrap();
    client.say("UID STORE 1:5 +FLAGS.SILENT (\\Deleted)").await.unwrap();
    client.say("EXPUNGE").await.unwrap();
    client.say("DELETE Work").await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let held = |shown: &serde_json::Value, folder: &str| {
        let folders = shown["folders"].as_array().unwrap().iter();
        folders
            .filter(|one| one["source"] == folder)
            .map(|one| one["held_deletions"].as_u64().unwrap())
            .sum::<u64>()
    };
    let shown = stand.cli(&["mailbox", "show", &terry.address]).await.unwrap().json().unwrap();
    assert_eq!((held(&shown, "INBOX"), held(&shown, "Work")), (5, 3), "{shown:#}");
    assert_eq!(target.list("INBOX").await.unwrap().len(), 10, "all of it is held");
    assert_eq!(target.list("Work").await.unwrap().len(), 3);
    // What else happens goes on.
    client.append("INBOX", "", &letter("meanwhile")).await.unwrap();
    let started = Instant::now();
    while target.list("INBOX").await.unwrap().len() != 11 {
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stand.cli(&["mailbox", "allow-deletions", &terry.address]).await.unwrap().done().unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    lists(&mut target, |names| !has(names, "Work")).await;
    assert_eq!(target.list("INBOX").await.unwrap().len(), 6);
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let shown = stand.cli(&["mailbox", "show", &terry.address]).await.unwrap().json().unwrap();
    assert_eq!((held(&shown, "INBOX"), held(&shown, "Work")), (0, 0), "{shown:#}");
}
