//! Which folder of the source becomes which of the target: a plan that can be shown before anything is made.
//!
//! Pure. Reversible: every folder of the source has at most one folder of the target and no two share one, and
//! what was decided once (the ledger has it) is never decided anew. Names are worked on level by level, as text.

pub mod filter;
mod special;
mod strip;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mailferry_imap::FolderName;
use mailferry_imap::response::{Listed, Namespaces};

pub use special::Role;

use filter::{Filter, Verdict, fold};
use special::no_mail_names;
use strip::Strip;

/// What is known about the source.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Its LIST.
    pub listed: Vec<Listed>,
    /// Its namespaces; all empty where it does not know the command.
    pub namespaces: Namespaces,
    /// Where the user's folders lie in the login's hierarchy: `/users/terry.adams`.
    pub user_root: Option<String>,
    /// Which kind of server it is.
    pub kind: SourceKind,
    /// Which folders the batch takes.
    pub filter: Filter,
}

/// Whether names have a meaning of their own at the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SourceKind {
    /// Every folder holds mail.
    #[default]
    Plain,
    /// Calendars and the like are listed among the folders.
    Exchange,
}

/// What becomes of one folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    /// Its name at the source.
    pub source: FolderName,
    /// The source's delimiter.
    pub delimiter: Option<u8>,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is copied.
    Copy {
        /// Its name at the target.
        target: FolderName,
        /// Why it is not called as it was.
        why: Option<Renamed>,
    },
    /// It stays behind.
    Stay(Stay),
}

/// Why a folder has another name at the target. The strongest reason only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Renamed {
    /// The user's root or the namespace's prefix is not part of the target's names.
    Prefix,
    /// The target has a folder for this.
    Special(Role),
    /// Characters that the target refuses.
    Characters,
    /// The name is reserved there.
    Reserved,
    /// It lies deeper than the target allows.
    Depth,
    /// Another folder has this name already, but for case.
    Collision,
}

impl fmt::Display for Renamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefix => "prefix taken off",
            Self::Special(_) => "the target's own folder for it",
            Self::Characters => "characters that the target refuses",
            Self::Reserved => "name reserved at the target",
            Self::Depth => "deeper than the target allows",
            Self::Collision => "another folder has this name but for case",
        })
    }
}

/// Why a folder stays behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stay {
    /// It holds folders, not messages.
    Container,
    /// It shows messages of other folders.
    Virtual,
    /// It belongs to somebody else, or to many.
    NotOwn,
    /// It lies outside the user's root.
    OutsideRoot,
    /// It holds no mail.
    NotMail,
    /// The batch excludes it.
    Excluded,
    /// The batch includes others.
    NotIncluded,
}

impl fmt::Display for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "holds no messages itself",
            Self::Virtual => "shows messages of other folders",
            Self::NotOwn => "other users' or shared",
            Self::OutsideRoot => "outside the user's root",
            Self::NotMail => "holds no mail",
            Self::Excluded => "excluded by the batch",
            Self::NotIncluded => "not among the folders that the batch includes",
        })
    }
}

/// Makes the plan: INBOX first, then by name. `target` is the target's LIST; `known` what was decided before.
pub fn plan(source: &Source, target: &[Listed], known: &BTreeMap<FolderName, FolderName>) -> Vec<Planned> {
    let mut listed: Vec<&Listed> = source.listed.iter().collect();
    listed.sort_by(|a, b| (!a.name.is_inbox(), &a.name).cmp(&(!b.name.is_inbox(), &b.name)));
    listed.dedup_by(|a, b| a.name == b.name);
    let strip = Strip::of(source, &listed);
    let mut own: Vec<Own<'_>> = Vec::new();
    let mut plan = Vec::new();
    for folder in listed {
        let delimiter = folder.delimiter;
        match strip.levels(source, folder) {
            Ok((levels, stripped)) => own.push(Own { folder, levels, stripped, role: None }),
            Err(stay) => {
                plan.push(Planned { source: folder.name.clone(), delimiter, fate: Fate::Stay(stay) });
            }
        }
    }
    give_roles(&mut own);
    let mut names = Names::new(target, known);
    // Parents before children, folders with a role before those that only happen to be called so.
    own.sort_by(|a, b| {
        let rank = |own: &Own<'_>| (own.levels.len(), own.role.is_none());
        (!a.folder.name.is_inbox()).cmp(&!b.folder.name.is_inbox()).then(rank(a).cmp(&rank(b)))
    });
    let no_mail = match source.kind {
        SourceKind::Exchange => {
            let tops: Vec<String> = own.iter().map(Own::top).collect();
            no_mail_names(tops.iter().map(String::as_str))
        }
        SourceKind::Plain => BTreeSet::new(),
    };
    let roles: Vec<(Role, Vec<String>)> =
        own.iter().filter_map(|own| Some((own.role?, own.folded()))).collect();
    for own in &own {
        let chosen = || own.reason_not_chosen(source, &roles);
        let fate = match reason_to_stay(&no_mail, own).or_else(chosen) {
            Some(stay) => {
                names.pass_through(own);
                Fate::Stay(stay)
            }
            None => names.choose(own, known.get(&own.folder.name)),
        };
        plan.push(Planned { source: own.folder.name.clone(), delimiter: own.folder.delimiter, fate });
    }
    plan.sort_by(|a, b| (!a.source.is_inbox(), &a.source).cmp(&(!b.source.is_inbox(), &b.source)));
    plan
}

/// One folder that is the user's own.
struct Own<'a> {
    folder: &'a Listed,
    /// Its levels below the root, as they stand on the wire. INBOX is one level.
    levels: Vec<Vec<u8>>,
    stripped: bool,
    role: Option<Role>,
}

impl Own<'_> {
    /// Its levels as the filter compares them.
    fn folded(&self) -> Vec<String> {
        self.levels.iter().map(|level| fold(&decode(level))).collect()
    }

    /// Its first level.
    fn top(&self) -> String {
        self.levels.first().map(|level| decode(level)).unwrap_or_default()
    }

    fn reason_not_chosen(&self, source: &Source, roles: &[(Role, Vec<String>)]) -> Option<Stay> {
        if source.filter.is_empty() {
            return None;
        }
        // What the namespace puts before it; the user's root is not typed.
        let mut prefix = Vec::new();
        if let (true, None, Some(delimiter)) = (self.stripped, &source.user_root, self.folder.delimiter) {
            let all = self.folder.name.wire().split(|byte| *byte == delimiter);
            prefix = all.map(|level| fold(&decode(level))).collect();
            prefix.truncate(prefix.len().saturating_sub(self.levels.len()));
        }
        match source.filter.judge(&self.folded(), &prefix, roles) {
            Verdict::Goes => None,
            Verdict::Excluded => Some(Stay::Excluded),
            Verdict::NotIncluded => Some(Stay::NotIncluded),
        }
    }
}

fn reason_to_stay(no_mail: &BTreeSet<String>, own: &Own<'_>) -> Option<Stay> {
    let has = |names: &[&str]| {
        own.folder.attributes.iter().any(|known| names.iter().any(|name| known.eq_ignore_ascii_case(name)))
    };
    if has(&["\\Noselect", "\\NonExistent"]) {
        return Some(Stay::Container);
    }
    if has(&["\\All", "\\Flagged", "\\Important"]) {
        return Some(Stay::Virtual);
    }
    no_mail.contains(&own.top().to_lowercase()).then_some(Stay::NotMail)
}

/// Each role to one folder: by attribute, else the top-level folder with the likeliest name.
fn give_roles(own: &mut [Own<'_>]) {
    for role in Role::ALL {
        let by_attribute =
            own.iter().position(|own| Role::of_attributes(&own.folder.attributes) == Some(role));
        let by_name = || {
            let ranked = own.iter().enumerate().filter_map(|(at, own)| match own.levels.as_slice() {
                [top] if own.role.is_none() && Role::of_attributes(&own.folder.attributes).is_none() => {
                    Some((role.rank_of_name(&decode(top))?, at))
                }
                _ => None,
            });
            ranked.min().map(|(_, at)| at)
        };
        if let Some(own) = by_attribute.or_else(by_name).and_then(|at| own.get_mut(at)) {
            own.role = Some(role);
        }
    }
}

/// The target's names as they are given out.
struct Names {
    delimiter: char,
    /// Folded names that are taken.
    taken: BTreeSet<String>,
    /// What the target calls its folders: folded to real.
    existing: BTreeMap<String, String>,
    roles: BTreeMap<Role, String>,
    /// Names at the top, folded, that no mail is put under.
    reserved: BTreeSet<String>,
    /// Where the children of a source path go.
    parents: BTreeMap<Vec<Vec<u8>>, String>,
}

impl Names {
    fn new(target: &[Listed], known: &BTreeMap<FolderName, FolderName>) -> Self {
        let delimiter = target.iter().find_map(|folder| folder.delimiter).unwrap_or(b'/');
        let mut roles = BTreeMap::new();
        for role in Role::ALL {
            let by_attribute =
                target.iter().find(|folder| Role::of_attributes(&folder.attributes) == Some(role));
            let by_name = || {
                let ranked = target.iter().filter(|folder| Role::of_attributes(&folder.attributes).is_none());
                ranked
                    .filter_map(|folder| Some((role.rank_of_name(&folder.name.to_text())?, folder)))
                    .min_by_key(
                        // The target's own default name before what a user made there.
                        |(rank, folder)| (folder.name.to_text() != role.default_name(), *rank),
                    )
            };
            let found = by_attribute.or_else(|| by_name().map(|(_, folder)| folder));
            let name = found.map_or_else(|| role.default_name().to_owned(), |folder| folder.name.to_text());
            roles.insert(role, name);
        }
        let tops: Vec<String> = target.iter().map(|folder| folder.name.to_text()).collect();
        Self {
            delimiter: char::from(delimiter),
            reserved: no_mail_names(tops.iter().map(String::as_str)),
            taken: known.values().map(|name| name.to_text().to_lowercase()).collect(),
            existing: target
                .iter()
                .map(|folder| folder.name.to_text())
                .map(|name| (name.to_lowercase(), name))
                .collect(),
            roles,
            parents: BTreeMap::new(),
        }
    }

    /// A name for a folder that is copied.
    fn choose(&mut self, own: &Own<'_>, known: Option<&FolderName>) -> Fate {
        if let Some(target) = known {
            self.parents.insert(own.levels.clone(), target.to_text());
            let same = target.to_text() == own.folder.name.to_text();
            let why = match own.role {
                _ if same => None,
                Some(role) if self.roles.get(&role) == Some(&target.to_text()) => {
                    Some(Renamed::Special(role))
                }
                _ => Some(if own.stripped { Renamed::Prefix } else { Renamed::Characters }),
            };
            return Fate::Copy { target: target.clone(), why };
        }
        let (wanted, why) = self.wanted(own);
        let (name, why) = match self.free(&wanted) {
            true => (wanted, why),
            false => {
                let numbered = (2..).map(|number| format!("{wanted} ({number})"));
                let free = numbered.into_iter().find(|name| self.free(name)).unwrap_or(wanted);
                (free, Some(Renamed::Collision))
            }
        };
        // Where the target has it in another case, that is the one.
        let name = match self.existing.get(&name.to_lowercase()) {
            Some(real) => real.clone(),
            None => name,
        };
        self.taken.insert(name.to_lowercase());
        self.parents.insert(own.levels.clone(), name.clone());
        Fate::Copy { target: FolderName::from_text(&name), why }
    }

    /// A folder that stays behind but may have children that go.
    fn pass_through(&mut self, own: &Own<'_>) {
        let (name, _) = self.wanted(own);
        self.parents.insert(own.levels.clone(), name);
    }

    fn free(&self, name: &str) -> bool {
        !self.taken.contains(&name.to_lowercase())
    }

    fn wanted(&self, own: &Own<'_>) -> (String, Option<Renamed>) {
        let inbox = own.levels.len() == 1 && own.levels[0].eq_ignore_ascii_case(b"INBOX");
        let plain = own.folder.name.to_text();
        if inbox && (own.folder.name.is_inbox() || own.stripped) {
            let why = (!own.folder.name.is_inbox()).then_some(Renamed::Prefix);
            return ("INBOX".to_owned(), why);
        }
        if let Some(name) = own.role.and_then(|role| self.roles.get(&role)) {
            let why = (*name != plain).then_some(own.role).flatten().map(Renamed::Special);
            return (name.clone(), why);
        }
        let mut why = own.stripped.then_some(Renamed::Prefix);
        let mut path = String::new();
        for depth in 1..=own.levels.len() {
            if depth > MAX_DEPTH {
                // Deeper than the target goes: what is left becomes part of the last level's name.
                let (level, _) = self.clean(&own.levels[depth - 1]);
                path.push('_');
                path.push_str(&level);
                why = Some(Renamed::Depth);
                continue;
            }
            if depth < own.levels.len()
                && let Some(parent) = self.parents.get(&own.levels[..depth])
            {
                path.clone_from(parent);
                continue;
            }
            let (mut level, cleaned) = self.clean(&own.levels[depth - 1]);
            if cleaned {
                why = Some(Renamed::Characters);
            }
            if depth == 1
                && (self.reserved.contains(&level.to_lowercase())
                    || level.eq_ignore_ascii_case("INBOX") && own.levels.len() == 1)
            {
                level.push_str(" (2)");
                why = Some(Renamed::Reserved);
            }
            if depth > 1 {
                path.push(self.delimiter);
            }
            path.push_str(&level);
        }
        (path, why)
    }

    /// One level as the target takes it, and whether it had to be changed.
    fn clean(&self, level: &[u8]) -> (String, bool) {
        let text = decode(level);
        let swap = |c: char| c == self.delimiter || c == '/' || c.is_control();
        let swapped: String = text.chars().map(|c| if swap(c) { '_' } else { c }).collect();
        let mut clean: String = swapped.trim().chars().take(MAX_LEVEL).collect();
        clean.truncate(clean.trim_end().len());
        if clean.is_empty() {
            clean.push('_');
        }
        let changed = clean != text;
        (clean, changed)
    }
}

/// How deep Exchange Online lets folders lie.
const MAX_DEPTH: usize = 300;

/// The longest level of a name, in characters.
const MAX_LEVEL: usize = 240;

/// A level as text. What is no modified UTF-7 is UTF-8, or its odd bytes are written as `%E9`: no two levels become one.
fn decode(level: &[u8]) -> String {
    if let Some(text) = mailferry_imap::utf7::decode(level) {
        return text;
    }
    if let Ok(text) = std::str::from_utf8(level) {
        return text.to_owned();
    }
    let byte =
        |byte: &u8| if byte.is_ascii() { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    level.iter().map(byte).collect()
}

#[cfg(test)]
mod tests;
