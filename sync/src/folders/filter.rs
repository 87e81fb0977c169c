//! Which folders a batch takes, in Microsoft's words: paths relative to the user's root, without regard to case, without
//! wildcards, and `#Inbox#` and its like for folders that have another name in every language.
//!
//! A path stands for the folder and all below it. What is excluded is excluded, also from what is included.

use super::Role;

/// What an operator chose; without any line every folder goes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    include: Vec<Choice>,
    exclude: Vec<Choice>,
}

/// One line: where it begins, and the levels from there, folded.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Choice {
    from: Base,
    levels: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Base {
    Root,
    Inbox,
    Role(Role),
    /// Folders that hold no mail: Microsoft has words for them, and they never go.
    NoMail,
}

/// Microsoft's words that mean something for mail.
const WORDS: [(&str, Base); 14] = [
    ("inbox", Base::Inbox),
    ("sentitems", Base::Role(Role::Sent)),
    ("drafts", Base::Role(Role::Drafts)),
    ("deleteditems", Base::Role(Role::Trash)),
    ("junkemail", Base::Role(Role::Junk)),
    ("archive", Base::Role(Role::Archive)),
    ("calendar", Base::NoMail),
    ("contacts", Base::NoMail),
    ("journal", Base::NoMail),
    ("notes", Base::NoMail),
    ("outbox", Base::NoMail),
    ("syncissues", Base::NoMail),
    ("tasks", Base::NoMail),
    ("rssfeeds", Base::NoMail),
];

/// A line that means nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FilterError {
    /// Nothing, or an empty level.
    #[error("a path has levels with names between its /")]
    Empty,
    /// Between `#` stands no word that is known.
    #[error(
        "known words are #Inbox#, #SentItems#, #Drafts#, #DeletedItems#, #JunkEmail#, #Archive#, each also with /… behind it"
    )]
    Word,
    /// `*`, `%` or `?`.
    #[error("wildcards are not known: a path stands for its folder and all below it")]
    Wildcard,
}

/// What the filter says about a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes.
    Goes,
    /// It was excluded.
    Excluded,
    /// Others were included.
    NotIncluded,
}

impl Filter {
    /// Reads the lines as they were typed; an error comes with its line.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn parse<'a>(include: &'a [String], exclude: &'a [String]) -> Result<Self, (&'a str, FilterError)> {
        let all = |lines: &'a [String]| {
            let read = |line: &'a String| line.parse().map_err(|error| (line.as_str(), error));
            lines.iter().map(read).collect::<Result<Vec<Choice>, _>>()
        };
        Ok(Self { include: all(include)?, exclude: all(exclude)? })
    }

    /// Whether every folder goes.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Judges a folder by its levels below the root, what the namespace puts before them, and the paths of those folders
    /// that have a role.
    pub(super) fn judge(
        &self,
        levels: &[String],
        prefix: &[String],
        roles: &[(Role, Vec<String>)],
    ) -> Verdict {
        let covers = |choice: &Choice| choice.covers(levels, prefix, roles);
        if self.exclude.iter().any(covers) {
            return Verdict::Excluded;
        }
        if self.include.is_empty() || self.include.iter().any(covers) {
            return Verdict::Goes;
        }
        Verdict::NotIncluded
    }
}

impl Choice {
    fn covers(&self, levels: &[String], prefix: &[String], roles: &[(Role, Vec<String>)]) -> bool {
        let below = |base: &[String]| {
            let rest = levels.strip_prefix(base);
            rest.is_some_and(|rest| rest.starts_with(&self.levels))
        };
        match self.from {
            // The prefix may be typed or not; alone it is the folder of that name, not everything.
            Base::Root => {
                let typed = self.levels.strip_prefix(prefix).filter(|rest| !rest.is_empty());
                below(&[]) || typed.is_some_and(|rest| levels.starts_with(rest))
            }
            Base::Inbox => below(&["inbox".to_owned()]),
            Base::Role(role) => roles.iter().any(|(other, base)| *other == role && below(base)),
            Base::NoMail => false,
        }
    }
}

impl std::str::FromStr for Choice {
    type Err = FilterError;

    fn from_str(line: &str) -> Result<Self, FilterError> {
        if line.contains(['*', '%', '?']) {
            return Err(FilterError::Wildcard);
        }
        let (from, path) = match line.strip_prefix('#') {
            None => (Base::Root, Some(line.strip_prefix('/').unwrap_or(line))),
            Some(rest) => {
                let (word, behind) = rest.split_once('#').ok_or(FilterError::Word)?;
                let known = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
                let path = match behind {
                    "" => None,
                    behind => Some(behind.strip_prefix('/').ok_or(FilterError::Word)?),
                };
                (known.ok_or(FilterError::Word)?.1, path)
            }
        };
        let levels: Vec<String> = path.map(|path| path.split('/').map(fold).collect()).unwrap_or_default();
        if levels.iter().any(String::is_empty) {
            return Err(FilterError::Empty);
        }
        Ok(Self { from, levels })
    }
}

/// As two names are compared.
pub(super) fn fold(level: &str) -> String {
    level.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(include: &[&str], exclude: &[&str], folder: &str) -> Verdict {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let (include, exclude) = (lines(include), lines(exclude));
        let filter = Filter::parse(&include, &exclude).unwrap();
        let levels = |path: &str| path.split('/').map(fold).collect::<Vec<_>>();
        let roles = [(Role::Sent, levels("Gesendet")), (Role::Trash, levels("INBOX/Papierkorb"))];
        filter.judge(&levels(folder), &[], &roles)
    }

    #[test]
    fn a_path_stands_for_all_below_it_in_any_case() {
        for (include, exclude, folder, expected) in [
            (&[][..], &[][..], "A", Verdict::Goes),
            (&[], &["Projekte/2024"], "Projekte/2024", Verdict::Excluded),
            (&[], &["/projekte/2024"], "PROJEKTE/2024/x", Verdict::Excluded),
            (&[], &["Projekte/2024"], "Projekte/20245", Verdict::Goes),
            (&[], &["Projekte/2024"], "Projekte", Verdict::Goes),
            (&["ÜBER"], &[], "über/x", Verdict::Goes),
            (&["ÜBER"], &[], "unter", Verdict::NotIncluded),
            (&["A"], &["A/B"], "A/B/C", Verdict::Excluded),
            (&["#inbox#"], &[], "INBOX", Verdict::Goes),
            (&["#Inbox#/Old"], &[], "INBOX", Verdict::NotIncluded),
            (&["#Inbox#/Old"], &[], "Inbox/old/er", Verdict::Goes),
            (&[], &["#SentItems#"], "Gesendet/2020", Verdict::Excluded),
            (&[], &["#SentItems#"], "Sent", Verdict::Goes),
            (&[], &["#SENTITEMS#/2020"], "Gesendet", Verdict::Goes),
            (&[], &["#DeletedItems#"], "Inbox/papierkorb", Verdict::Excluded),
            (&[], &["#Drafts#", "#Calendar#"], "Drafts", Verdict::Goes),
        ] {
            assert_eq!(verdict(include, exclude, folder), expected, "{include:?} {exclude:?} {folder}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (line, expected) in [
            ("", FilterError::Empty),
            ("/", FilterError::Empty),
            ("A//B", FilterError::Empty),
            ("A/*", FilterError::Wildcard),
            ("#Inbox#/*", FilterError::Wildcard),
            ("#Inbox", FilterError::Word),
            ("#Inbox#Old", FilterError::Word),
            ("#Eingang#", FilterError::Word),
            ("#Inbox#/", FilterError::Empty),
        ] {
            assert_eq!(line.parse::<Choice>().unwrap_err(), expected, "{line:?}");
        }
    }
}
