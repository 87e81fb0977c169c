use mailferry_imap::response::Namespace;
use proptest::prelude::*;

use super::*;

/// One line a folder: `name` or `name \Attribute …`; `delimiter name`'s delimiter is `.` or `/`.
fn listed(delimiter: u8, lines: &str) -> Vec<Listed> {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (name, attributes) = line
                .split_once(" \\")
                .map_or((line, String::new()), |(name, rest)| (name, format!("\\{rest}")));
            Listed {
                name: FolderName::from_text(name),
                delimiter: Some(delimiter),
                attributes: attributes.split_whitespace().map(str::to_owned).collect(),
            }
        })
        .collect()
}

fn show(plan: &[Planned]) -> String {
    let line = |planned: &Planned| match &planned.fate {
        Fate::Copy { target, why: None } => format!("{} -> {target}\n", planned.source),
        Fate::Copy { target, why: Some(why) } => format!("{} -> {target} ({why})\n", planned.source),
        Fate::Stay(stay) => format!("{} stays: {stay}\n", planned.source),
    };
    plan.iter().map(line).collect()
}

const EXCHANGE: &str =
    "INBOX\nDrafts\nSent Items\nDeleted Items\nJunk Email\nArchive\nOutbox\nCalendar\nContacts";

fn check(source: &Source, target: &str, expected: &str) {
    let plan = plan(source, &listed(b'/', target), &BTreeMap::new());
    let trim = |text: &str| {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(show(&plan).trim(), trim(expected));
}

fn plain(delimiter: u8, lines: &str) -> Source {
    Source { listed: listed(delimiter, lines), ..Source::default() }
}

fn namespace(prefix: &str) -> Namespace {
    Namespace { prefix: FolderName::from_wire(prefix.to_owned()), delimiter: prefix.bytes().last() }
}

#[test]
fn special_folders_by_attribute_then_by_name() {
    check(
        &plain(
            b'/',
            "INBOX\nSent Messages\nGesendet \\Sent\nTrash\nTrash/Old\nSpam\nEntwürfe\nProjekte/Ä\nProjekte \\Noselect\nSent Items",
        ),
        EXCHANGE,
        "
        INBOX -> INBOX
        Entwürfe -> Drafts (the target's own folder for it)
        Gesendet -> Sent Items (the target's own folder for it)
        Projekte stays: holds no messages itself
        Projekte/Ä -> Projekte/Ä
        Sent Items -> Sent Items (2) (another folder has this name but for case)
        Sent Messages -> Sent Messages
        Spam -> Junk Email (the target's own folder for it)
        Trash -> Deleted Items (the target's own folder for it)
        Trash/Old -> Deleted Items/Old
        ",
    );
}

#[test]
fn a_german_target_has_german_folders() {
    check(
        &plain(b'/', "INBOX\nSent\nTrash"),
        "Inbox\nGesendete Elemente \\Sent\nGelöschte Elemente\nEntwürfe",
        "
        INBOX -> INBOX
        Sent -> Gesendete Elemente (the target's own folder for it)
        Trash -> Gelöschte Elemente (the target's own folder for it)
        ",
    );
}

#[test]
fn separators_and_refused_characters() {
    check(
        &plain(b'.', "INBOX\nWork.2024\nin/out\nTrailing \nFiles\nNotes.Old\nINBOX.Sub"),
        EXCHANGE,
        "
        INBOX -> INBOX
        Files -> Files (2) (name reserved at the target)
        INBOX.Sub -> INBOX/Sub
        Notes.Old -> Notes (2)/Old (name reserved at the target)
        Trailing -> Trailing
        Work.2024 -> Work/2024
        in/out -> in_out (characters that the target refuses)
        ",
    );
}

#[test]
fn case_collisions_are_found() {
    check(
        &plain(b'/', "INBOX\nFoo\nfoo\nFOO\nfoo/bar\nprojects"),
        "INBOX\nProjects",
        "
        INBOX -> INBOX
        FOO -> FOO
        Foo -> Foo (2) (another folder has this name but for case)
        foo -> foo (3) (another folder has this name but for case)
        foo/bar -> foo (3)/bar
        projects -> Projects
        ",
    );
}

#[test]
fn everything_below_inbox() {
    let below = "INBOX\nINBOX.Sent\nINBOX.a.b\nINBOX.INBOX";
    let expected = "
        INBOX -> INBOX
        INBOX.INBOX -> INBOX (2) (another folder has this name but for case)
        INBOX.Sent -> Sent Items (the target's own folder for it)
        INBOX.a.b -> a/b (prefix taken off)
        ";
    check(&plain(b'.', below), EXCHANGE, expected);
    let namespaces = Namespaces { personal: vec![namespace("INBOX.")], ..Namespaces::default() };
    check(&Source { namespaces, ..plain(b'.', below) }, EXCHANGE, expected);
}

#[test]
fn other_peoples_folders_stay() {
    let namespaces = Namespaces {
        personal: vec![namespace("")],
        other: vec![namespace("user/")],
        shared: vec![namespace("Shared/")],
    };
    check(
        &Source { namespaces, ..plain(b'/', "INBOX\nuser/ann\nShared\nShared/all\nusers\nAll \\All") },
        EXCHANGE,
        "
        INBOX -> INBOX
        All stays: shows messages of other folders
        Shared stays: other users' or shared
        Shared/all stays: other users' or shared
        user/ann stays: other users' or shared
        users -> users
        ",
    );
}

#[test]
fn user_root_of_courier() {
    let source = Source {
        user_root: Some("/users/terry.adams".to_owned()),
        ..plain(b'/', "INBOX\nusers/terry.adams\nusers/terry.adams/Sent\nusers/terry.adams/x/y\nusers/ann")
    };
    check(
        &source,
        EXCHANGE,
        "
        INBOX stays: outside the user's root
        users/ann stays: outside the user's root
        users/terry.adams -> INBOX (prefix taken off)
        users/terry.adams/Sent -> Sent Items (the target's own folder for it)
        users/terry.adams/x/y -> x/y (prefix taken off)
        ",
    );
}

#[test]
fn exchange_lists_what_is_no_mail() {
    let source =
        Source { kind: SourceKind::Exchange, ..plain(b'/', "INBOX\nCalendar\nCalendar/Birthdays\nx") };
    check(
        &source,
        EXCHANGE,
        "
        INBOX -> INBOX
        Calendar stays: holds no mail
        Calendar/Birthdays stays: holds no mail
        x -> x
        ",
    );
}

#[test]
fn what_was_decided_stays_decided() {
    let known = BTreeMap::from([(FolderName::from_text("foo"), FolderName::from_text("Foo"))]);
    let plan = plan(&plain(b'/', "INBOX\nFoo\nfoo\nfoo/x"), &listed(b'/', "INBOX"), &known);
    assert_eq!(
        show(&plan),
        "INBOX -> INBOX\nFoo -> Foo (2) (another folder has this name but for case)\n\
         foo -> Foo (characters that the target refuses)\nfoo/x -> Foo/x\n"
    );
}

#[test]
fn a_german_exchange_lists_what_is_no_mail_in_german() {
    let german = "INBOX\nKalender\nKalender/Geburtstage\nKontakte\nAufgaben\nx";
    check(
        &Source { kind: SourceKind::Exchange, ..plain(b'/', german) },
        EXCHANGE,
        "
        INBOX -> INBOX
        Aufgaben stays: holds no mail
        Kalender stays: holds no mail
        Kalender/Geburtstage stays: holds no mail
        Kontakte stays: holds no mail
        x -> x
        ",
    );
    // And mail is not put into a German mailbox's calendar.
    check(
        &plain(b'/', "INBOX\nKalender"),
        "Posteingang\nKalender\nKontakte\nAufgaben",
        "
        INBOX -> INBOX
        Kalender -> Kalender (2) (name reserved at the target)
        ",
    );
    check(&plain(b'/', "INBOX\nKalender"), EXCHANGE, "INBOX -> INBOX\nKalender -> Kalender");
}

#[test]
fn the_batch_chooses_folders_relative_to_the_root() {
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let (include, exclude) =
        (lines(&["#Inbox#", "#SentItems#", "work/2024", "INBOX/Alt"]), lines(&["#SentItems#/alt"]));
    let filter = Filter::parse(&include, &exclude).unwrap();
    let namespaces = Namespaces { personal: vec![namespace("INBOX.")], ..Namespaces::default() };
    let below = "INBOX\nINBOX.Gesendet\nINBOX.Gesendet.Alt\nINBOX.Work\nINBOX.Work.2024.Q1\nINBOX.Work.2023\nINBOX.Alt";
    check(
        &Source { namespaces, filter, ..plain(b'.', below) },
        EXCHANGE,
        "
        INBOX -> INBOX
        INBOX.Alt -> Alt (prefix taken off)
        INBOX.Gesendet -> Sent Items (the target's own folder for it)
        INBOX.Gesendet.Alt stays: excluded by the batch
        INBOX.Work stays: not among the folders that the batch includes
        INBOX.Work.2023 stays: not among the folders that the batch includes
        INBOX.Work.2024.Q1 -> Work/2024/Q1 (prefix taken off)
        ",
    );
}

#[test]
fn what_lies_deeper_than_the_target_allows_lies_less_deep() {
    let deep = vec!["a"; 302].join("/");
    let plan = plan(&plain(b'/', &format!("INBOX\n{deep}")), &listed(b'/', EXCHANGE), &BTreeMap::new());
    let Fate::Copy { target, why } = &plan[1].fate else { panic!("{plan:?}") };
    assert_eq!((target.to_text().split('/').count(), *why), (300, Some(Renamed::Depth)));
    assert!(target.to_text().ends_with("/a_a_a"), "{target}");
}

proptest! {
    #[test]
    fn no_two_share_a_target_and_a_second_plan_is_the_same(
        names in proptest::collection::vec("[aA/.ä&Sent ]{1,6}", 0..12), dot in proptest::bool::ANY,
    ) {
        let delimiter = if dot { b'.' } else { b'/' };
        let mut source = Source::default();
        for name in std::iter::once("INBOX").chain(names.iter().map(String::as_str)) {
            let name = FolderName::from_text(name);
            source.listed.push(Listed { name, delimiter: Some(delimiter), attributes: Vec::new() });
        }
        let target = listed(b'/', EXCHANGE);
        let first = plan(&source, &target, &BTreeMap::new());
        let copied = |plan: &[Planned]| -> BTreeMap<FolderName, FolderName> {
            plan.iter().filter_map(|planned| match &planned.fate {
                Fate::Copy { target, .. } => Some((planned.source.clone(), target.clone())),
                Fate::Stay(_) => None,
            }).collect()
        };
        let known = copied(&first);
        let folded: BTreeSet<String> = known.values().map(|name| name.to_text().to_lowercase()).collect();
        prop_assert_eq!(folded.len(), known.len());
        prop_assert_eq!(copied(&plan(&source, &target, &known)), known);
    }
}
