//! A small server as a model: random clients talk to it, in plain and in odd ways, one command after the other or several at
//! once. Whatever the tap tells of a message is so in the model, and unless it is blind it tells all that it was told.

use std::collections::BTreeMap;

use bytes::Bytes;
use mailferry_imap::MailboxId;
use proptest::prelude::*;

use crate::tap::{BodyNumber, Observed, Tap};

const FOLDERS: [&str; 3] = ["INBOX", "Work", "Old"];

/// A message's folder, UIDVALIDITY and UID.
type Key = (String, u32, u32);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Plain,
    LowerCase,
    Quoted,
    Literal,
    /// Forms that one server takes and another does not.
    Tab,
    CarriageReturn,
    Nul,
    Indented,
    /// The tag of the command before.
    Tag,
    /// Within what is a literal where there are literals that do not wait.
    Within,
}

#[derive(Clone, Copy, Debug)]
enum Shown {
    UidFirst,
    UidLast,
    NoUid,
    UidOnly,
}

#[derive(Clone, Debug)]
enum Step {
    Select(usize, Form),
    /// A folder that is not there.
    SelectNone,
    Unselect,
    Fetch(usize, Shown),
    Append(usize),
    Copy(usize, usize),
    Move(usize, usize),
    /// Somebody else takes a message away; told with the next answer.
    Expunged(usize),
    Arrived,
    /// A folder gets another UIDVALIDITY while it is not open.
    Renewed(usize),
}

#[derive(Default)]
struct Folder {
    validity: u32,
    uid_next: u32,
    messages: Vec<(u32, String)>,
}

struct Model {
    folders: [Folder; 3],
    open: Option<usize>,
    /// Takes odd forms for what they seem to be.
    generous: bool,
    /// Every message that ever was.
    truth: BTreeMap<Key, String>,
    /// What must be told by a tap that sees.
    must: Vec<Key>,
    serial: u32,
    tags: u32,
    client: Vec<u8>,
    server: Vec<u8>,
}

impl Model {
    fn new(generous: bool) -> Self {
        let mut model = Self {
            folders: Default::default(),
            open: None,
            generous,
            truth: BTreeMap::new(),
            must: Vec::new(),
            serial: 0,
            tags: 0,
            client: Vec::new(),
            server: Vec::new(),
        };
        for at in 0..FOLDERS.len() {
            model.folders[at].validity = 5; // The same for all: only the name tells them apart.
            for _ in 0..3 {
                model.add(at);
            }
        }
        model
    }

    /// A new message; its UID.
    fn add(&mut self, at: usize) -> u32 {
        self.serial += 1;
        self.put(at, format!("message {}", self.serial))
    }

    fn put(&mut self, at: usize, body: String) -> u32 {
        let folder = &mut self.folders[at];
        folder.uid_next += 1;
        let uid = folder.uid_next;
        folder.messages.push((uid, body.clone()));
        self.truth.insert((FOLDERS[at].to_owned(), folder.validity, uid), body);
        uid
    }

    fn tag(&mut self) -> String {
        self.tags += 1;
        format!("t{}", self.tags)
    }

    fn say(&mut self, text: &str) {
        self.client.extend_from_slice(text.as_bytes());
        self.client.extend_from_slice(b"\r\n");
    }

    fn answer(&mut self, text: &str) {
        self.server.extend_from_slice(text.as_bytes());
        self.server.extend_from_slice(b"\r\n");
    }

    fn exists(&mut self) {
        if let Some(at) = self.open {
            self.answer(&format!("* {} EXISTS", self.folders[at].messages.len()));
        }
    }

    fn select(&mut self, at: usize) {
        self.open = Some(at);
        self.exists();
        self.answer(&format!("* OK [UIDVALIDITY {}] ok", self.folders[at].validity));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Select(at, form) => self.on_select(at, form),
            Step::SelectNone => {
                let tag = self.tag();
                self.say(&format!("{tag} SELECT Nowhere"));
                self.open = None;
                self.answer(&format!("{tag} NO none"));
            }
            Step::Unselect => {
                let tag = self.tag();
                self.say(&format!("{tag} UNSELECT"));
                self.open = None;
                self.answer(&format!("{tag} OK done"));
            }
            Step::Fetch(number, shown) => self.on_fetch(number, shown),
            Step::Append(at) => {
                let tag = self.tag();
                let uid = self.add(at);
                let (validity, body) =
                    (self.folders[at].validity, self.folders[at].messages.last().unwrap().1.clone());
                self.say(&format!("{tag} APPEND {} {{{}+}}\r\n{body}", FOLDERS[at], body.len()));
                if self.open == Some(at) {
                    self.exists();
                }
                self.answer(&format!("{tag} OK [APPENDUID {validity} {uid}] done"));
                self.must.push((FOLDERS[at].to_owned(), validity, uid));
            }
            Step::Copy(number, to) | Step::Move(number, to) => {
                let moves = matches!(step, Step::Move(..));
                let (tag, verb) = (self.tag(), if moves { "MOVE" } else { "COPY" });
                self.say(&format!("{tag} {verb} {} {}", number + 1, FOLDERS[to]));
                let found =
                    self.open.and_then(|open| Some((open, self.folders[open].messages.get(number)?.clone())));
                let Some((open, (uid, body))) = found else { return self.answer(&format!("{tag} BAD none")) };
                let new = self.put(to, body);
                let told = format!("[COPYUID {} {uid} {new}]", self.folders[to].validity);
                if open == to {
                    self.exists();
                }
                if moves {
                    self.answer(&format!("* OK {told} moved"));
                    self.folders[open].messages.remove(number);
                    self.answer(&format!("* {} EXPUNGE", number + 1));
                    self.answer(&format!("{tag} OK done"));
                } else {
                    self.answer(&format!("{tag} OK {told} done"));
                }
            }
            Step::Expunged(number) => {
                let tag = self.tag();
                self.say(&format!("{tag} NOOP"));
                if let Some(open) = self.open
                    && number < self.folders[open].messages.len()
                {
                    self.folders[open].messages.remove(number);
                    self.answer(&format!("* {} EXPUNGE", number + 1));
                }
                self.answer(&format!("{tag} OK done"));
            }
            Step::Arrived => {
                if let Some(open) = self.open {
                    self.add(open);
                    self.exists();
                }
            }
            Step::Renewed(at) => {
                if self.open != Some(at) {
                    self.folders[at].validity += 1;
                    for (uid, body) in self.folders[at].messages.clone() {
                        let validity = self.folders[at].validity;
                        self.truth.insert((FOLDERS[at].to_owned(), validity, uid), body);
                    }
                }
            }
        }
    }

    fn on_select(&mut self, at: usize, form: Form) {
        let name = FOLDERS[at];
        let before = format!("t{}", self.tags.max(1));
        let tag = self.tag();
        let (tag, line) = match form {
            Form::Plain => (tag.clone(), format!("{tag} SELECT {name}")),
            Form::LowerCase => (tag.clone(), format!("{tag} select {name}")),
            Form::Quoted => (tag.clone(), format!("{tag} SELECT \"{name}\"")),
            Form::Literal => (tag.clone(), format!("{tag} SELECT {{{}+}}\r\n{name}", name.len())),
            Form::Tab => (tag.clone(), format!("{tag}\tSELECT\t{name}")),
            Form::CarriageReturn => (tag.clone(), format!("x NOOP\r{tag} SELECT {name}")),
            Form::Nul => (tag.clone(), format!("{tag} SELECT {name}\0x")),
            Form::Indented => (tag.clone(), format!(" {tag} SELECT {name}")),
            Form::Tag => (before.clone(), format!("{before} SELECT {name}")),
            Form::Within => {
                let inner = format!("{tag} SELECT {name}\r\n");
                self.say(&format!("w{tag} SEARCH SUBJECT {{{}+}}\r\n{inner}", inner.len()));
                self.answer(&format!("w{tag} BAD what"));
                if self.generous {
                    self.select(at);
                    self.answer(&format!("{tag} OK done"));
                }
                return;
            }
        };
        self.say(&line);
        let odd = matches!(form, Form::Tab | Form::CarriageReturn | Form::Nul | Form::Indented);
        if odd && !self.generous {
            return self.answer("* BAD what");
        }
        self.select(at);
        self.answer(&format!("{tag} OK done"));
    }

    fn on_fetch(&mut self, number: usize, shown: Shown) {
        let tag = self.tag();
        let seq = number + 1;
        let items = if matches!(shown, Shown::UidOnly) { "UID" } else { "(UID BODY.PEEK[])" };
        self.say(&format!("{tag} FETCH {seq} {items}"));
        let found = self.open.and_then(|open| Some((open, self.folders[open].messages.get(number)?.clone())));
        let Some((open, (uid, body))) = found else { return self.answer(&format!("{tag} BAD none")) };
        let length = body.len();
        let fetched = match shown {
            Shown::UidFirst => format!("UID {uid} BODY[] {{{length}}}\r\n{body}"),
            Shown::UidLast => format!("BODY[] {{{length}}}\r\n{body} UID {uid}"),
            Shown::NoUid => format!("BODY[] {{{length}}}\r\n{body}"),
            Shown::UidOnly => format!("UID {uid}"),
        };
        self.answer(&format!("* {seq} FETCH ({fetched})"));
        self.answer(&format!("{tag} OK done"));
        if matches!(shown, Shown::UidFirst | Shown::UidLast) {
            self.must.push((FOLDERS[open].to_owned(), self.folders[open].validity, uid));
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let folder = 0..FOLDERS.len();
    let form = prop::sample::select(vec![
        Form::Plain,
        Form::Plain,
        Form::Plain,
        Form::LowerCase,
        Form::Quoted,
        Form::Literal,
        Form::Tab,
        Form::CarriageReturn,
        Form::Nul,
        Form::Indented,
        Form::Tag,
        Form::Within,
    ]);
    let shown = prop::sample::select(vec![Shown::UidFirst, Shown::UidLast, Shown::NoUid, Shown::UidOnly]);
    let step = prop_oneof![
        4 => (folder.clone(), form).prop_map(|(at, form)| Step::Select(at, form)),
        1 => Just(Step::SelectNone),
        1 => Just(Step::Unselect),
        8 => (0..4_usize, shown).prop_map(|(number, shown)| Step::Fetch(number, shown)),
        2 => folder.clone().prop_map(Step::Append),
        2 => (0..4_usize, folder.clone()).prop_map(|(number, to)| Step::Copy(number, to)),
        2 => (0..4_usize, folder.clone()).prop_map(|(number, to)| Step::Move(number, to)),
        2 => (0..4_usize).prop_map(Step::Expunged),
        1 => Just(Step::Arrived),
        1 => folder.prop_map(Step::Renewed),
    ];
    // Steps of one turn are said before the first of them is answered.
    prop::collection::vec(prop::collection::vec(step, 1..4), 1..14)
}

/// Told messages, told pairs, whether it went blind.
#[derive(Default)]
struct Told {
    open: BTreeMap<BodyNumber, Vec<u8>>,
    messages: Vec<(Key, String)>,
    pairs: Vec<(Key, Key)>,
    blind: bool,
}

impl Told {
    fn take(&mut self, tap: &mut Tap) {
        for observed in tap.take() {
            match observed {
                Observed::Begin { body, .. } => drop(self.open.insert(body, Vec::new())),
                Observed::Chunk(body, bytes) => self.open.get_mut(&body).unwrap().extend_from_slice(&bytes),
                Observed::End(body, key, _) => {
                    let body = String::from_utf8(self.open.remove(&body).unwrap()).unwrap();
                    let key = (key.folder.to_string(), key.validity.value(), key.uid.value());
                    self.messages.push((key, body));
                }
                Observed::Transferred { from, to, pairs, .. } => {
                    for (one, other) in pairs {
                        let from = (from.folder.to_string(), from.validity.value(), one.value());
                        let to = (to.folder.to_string(), to.validity.value(), other.value());
                        self.pairs.push((from, to));
                    }
                }
                Observed::Blind(_) => self.blind = true,
                Observed::Discard(_) | Observed::FolderChanged(_) | Observed::FoldersChanged => {}
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_told_is_so(turns in steps(), generous in any::<bool>(), cut in 1..60_usize) {
        let mut model = Model::new(generous);
        let (mut tap, mut told) = (Tap::new(MailboxId(1)), Told::default());
        let mut talk = String::new();
        for turn in &turns {
            turn.iter().for_each(|step| model.step(step));
            for (side, said) in [('C', std::mem::take(&mut model.client)), ('S', std::mem::take(&mut model.server))] {
                talk.push_str(&format!("{side}: {}\n", said.escape_ascii()));
                for chunk in said.chunks(cut) {
                    let chunk = Bytes::copy_from_slice(chunk);
                    if side == 'C' { tap.on_client(chunk) } else { tap.on_server(chunk) }
                    told.take(&mut tap);
                }
            }
        }
        for (key, body) in &told.messages {
            prop_assert_eq!(model.truth.get(key), Some(body), "{:?} is another: {}", key, talk);
        }
        for (from, to) in &told.pairs {
            prop_assert!(model.truth.contains_key(from), "{:?} never was: {}", from, talk);
            prop_assert_eq!(model.truth.get(from), model.truth.get(to), "{:?} did not become {:?}: {}", from, to, talk);
        }
        if !told.blind {
            for key in &model.must {
                prop_assert!(told.messages.iter().any(|(told, _)| told == key), "{:?} is not told: {}", key, talk);
            }
        }
    }
}
