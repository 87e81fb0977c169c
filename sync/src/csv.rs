//! Microsoft's migration CSV: `EmailAddress,UserName,Password[,UserRoot][,ClientLogin]`.
//!
//! Pure: bytes in, rows or *all* problems out. Nothing is guessed or repaired, because a row that was understood
//! wrongly would carry one person's mail into another's mailbox. A problem names its row (the line of the file on
//! which the row begins; the header is row 1) and its column. Passwords never appear in a problem.

mod address;
mod reader;

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Serialize;

pub use address::{AddressProblem, domain_of};

/// Most rows below the header (Microsoft's limit).
pub const MAX_ROWS: usize = 50_000;
/// Most bytes of the whole file (Microsoft's limit: 10 MB).
pub const MAX_BYTES: usize = 10 * 1024 * 1024;

/// One mailbox of the file.
#[derive(Debug, Clone)]
pub struct Row {
    /// Line of the file on which the row begins; the header is 1.
    pub row: u64,
    /// The Office 365 user, as written.
    pub email_address: String,
    /// The login at the source, in any of the admin forms; empty only where it and its password are learnt.
    pub user_name: String,
    /// The password of `user_name`; `None` only where [`Passwords::MayBeLearned`].
    pub password: Option<SecretString>,
    /// Courier: the user's root in the admin's hierarchy.
    pub user_root: Option<String>,
    /// The name that the user's own client logs in with, where it cannot be told from `user_name`.
    pub client_login: Option<String>,
}

/// Whether the endpoint can do without passwords in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passwords {
    /// Every row must have one.
    Required,
    /// An empty one will be learned at the user's next login through the proxy.
    MayBeLearned,
}

/// A column of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[expect(missing_docs, reason = "Microsoft's column names")]
pub enum Column {
    EmailAddress,
    UserName,
    Password,
    UserRoot,
    ClientLogin,
}

impl Column {
    const ALL: [Self; 5] =
        [Self::EmailAddress, Self::UserName, Self::Password, Self::UserRoot, Self::ClientLogin];

    /// The header as Microsoft spells it.
    pub fn header(self) -> &'static str {
        match self {
            Self::EmailAddress => "EmailAddress",
            Self::UserName => "UserName",
            Self::Password => "Password",
            Self::UserRoot => "UserRoot",
            Self::ClientLogin => "ClientLogin",
        }
    }

    fn is_required(self) -> bool {
        match self {
            Self::EmailAddress | Self::UserName | Self::Password => true,
            Self::UserRoot | Self::ClientLogin => false,
        }
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.header())
    }
}

/// One thing that is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Line on which the row begins (header: 1); `None` when it is about the whole file.
    pub row: Option<u64>,
    /// The column, if one is to blame.
    pub column: Option<Column>,
    /// What is wrong.
    pub what: Wrong,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.row, self.column) {
            (Some(row), Some(column)) => write!(f, "row {row}, {column}: {}", self.what),
            (Some(row), None) => write!(f, "row {row}: {}", self.what),
            (None, _) => write!(f, "file: {}", self.what),
        }
    }
}

/// What can be wrong with a file, a row or a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Wrong {
    /// Nothing at all, or only blank lines.
    #[error("is empty; the first row must be EmailAddress,UserName,Password")]
    Empty,
    /// Larger than [`MAX_BYTES`].
    #[error("has {bytes} bytes; at most {MAX_BYTES} are allowed")]
    TooLarge {
        /// Size of the file.
        bytes: usize,
    },
    /// More than [`MAX_ROWS`].
    #[error("has {rows} rows; at most {MAX_ROWS} are allowed")]
    TooManyRows {
        /// Rows below the header.
        rows: usize,
    },
    /// A header but no mailbox.
    #[error("has a header and no mailbox below it")]
    NoRows,
    /// Excel's "Unicode text".
    #[error("is UTF-16; save it as \"CSV UTF-8\"")]
    Utf16,
    /// A list separator other than the comma.
    #[error("columns are separated by {found:?}; Microsoft's form uses commas")]
    Separator {
        /// What was found.
        found: char,
    },
    /// A column that must be there is not.
    #[error("the header lacks this column")]
    MissingColumn,
    /// A column that nobody knows.
    #[error("unknown column {name:?}{}", hint(.nearest))]
    UnknownColumn {
        /// As the file spells it.
        name: String,
        /// What was probably meant.
        nearest: Option<Column>,
    },
    /// The same column twice.
    #[error("the header has this column twice")]
    RepeatedColumn,
    /// More or fewer fields than the header.
    #[error("has {found} fields where the header has {expected}")]
    FieldCount {
        /// Fields in the row.
        found: usize,
        /// Fields in the header.
        expected: usize,
    },
    /// A quote that opens and never closes.
    #[error("a quoted field is never closed")]
    UnclosedQuote,
    /// `"abc"def`.
    #[error("text after a closing quote")]
    TextAfterQuote,
    /// Bytes that are not UTF-8.
    #[error("is not UTF-8 (byte {at} of the field); save the file as \"CSV UTF-8\"")]
    NotUtf8 {
        /// Offset in the field, from 1.
        at: usize,
    },
    /// No password, and none will be learnt.
    #[error(
        "is empty: give the password, or let the endpoint learn it (endpoint add ... --learn-credentials)"
    )]
    NoPassword,
    /// An administrator's login is not to be learnt from the user's.
    #[error("is empty: with UserRoot it is an administrator's, which no user's login tells")]
    NoRootPassword,
    /// Nothing says whose login is to be learnt.
    #[error("is empty: give it, or leave Password empty too and give ClientLogin")]
    NoUserName,
    /// A field that must be filled.
    #[error("is empty")]
    EmptyField,
    /// Spaces around a value that cannot have any.
    #[error("has spaces around it")]
    Spaces,
    /// NUL, CR, LF and the like.
    #[error("has a control character")]
    Control,
    /// Not an address that Office 365 can have.
    #[error("{address:?} is not an address: {problem}")]
    Address {
        /// As the file spells it.
        address: String,
        /// What is wrong with it.
        problem: AddressProblem,
    },
    /// Two rows of one mailbox.
    #[error("{value:?} is in row {first} already")]
    Duplicate {
        /// As this row spells it.
        value: String,
        /// The first row that has it.
        first: u64,
    },
    /// The address belongs to a batch that was added earlier.
    #[error("{address:?} is in batch {batch:?} already")]
    InBatch {
        /// As this row spells it.
        address: String,
        /// The batch that has it.
        batch: String,
    },
    /// Two mailboxes that would read the same source.
    #[error("row {first} reads the same source mailbox {value:?}")]
    SameSource {
        /// The login, as this row spells it.
        value: String,
        /// The first row that has it.
        first: u64,
    },
}

fn hint(nearest: &Option<Column>) -> String {
    nearest.map(|column| format!("; write {column}")).unwrap_or_default()
}

/// Every problem of a file, in file order; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("the CSV file has {} problem(s):{}", .0.len(), listed(.0))]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Reads a whole file: every mailbox of it, or everything that is wrong with it.
pub fn parse(file: &[u8], passwords: Passwords) -> Result<Vec<Row>, Problems> {
    let mut problems = Vec::new();
    let rows = whole(file, passwords, &mut problems);
    if problems.is_empty() {
        return Ok(rows);
    }
    problems.sort_by_key(|problem| (problem.row, problem.column));
    Err(Problems(problems))
}

fn whole(file: &[u8], passwords: Passwords, problems: &mut Vec<Problem>) -> Vec<Row> {
    let mut fail = |what| problems.push(Problem { row: None, column: None, what });
    if file.len() > MAX_BYTES {
        fail(Wrong::TooLarge { bytes: file.len() });
        return Vec::new();
    }
    if file.starts_with(&[0xff, 0xfe]) || file.starts_with(&[0xfe, 0xff]) {
        fail(Wrong::Utf16);
        return Vec::new();
    }
    let text = file.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(file);
    let mut records = reader::records(text).into_iter();
    let Some(header) = records.next() else {
        fail(Wrong::Empty);
        return Vec::new();
    };
    let Some(columns) = columns(&header, problems) else { return Vec::new() };

    let mut rows = Vec::new();
    let mut count = 0;
    for record in records {
        count += 1;
        if count <= MAX_ROWS {
            rows.extend(row(&record, &columns, passwords, problems));
        }
    }
    if count > MAX_ROWS {
        problems.push(Problem { row: None, column: None, what: Wrong::TooManyRows { rows: count } });
    }
    if count == 0 {
        problems.push(Problem { row: None, column: None, what: Wrong::NoRows });
    }
    duplicates(&rows, problems);
    rows
}

/// The meaning of each field, or `None` when the rows cannot be read by this header.
fn columns(header: &reader::Record, problems: &mut Vec<Problem>) -> Option<Vec<Column>> {
    let before = problems.len();
    let mut fail = |column, what| problems.push(Problem { row: Some(header.line), column, what });
    if let Some(flaw) = header.flaw.clone() {
        fail(None, flaw);
        return None;
    }
    if let [only] = header.fields.as_slice()
        && let Some(found) = only.iter().copied().find(|byte| matches!(byte, b';' | b'\t'))
    {
        fail(None, Wrong::Separator { found: char::from(found) });
        return None;
    }
    let mut columns = Vec::new();
    for field in &header.fields {
        let name = String::from_utf8_lossy(field);
        match Column::ALL.into_iter().find(|column| column.header() == name) {
            Some(column) if columns.contains(&column) => fail(Some(column), Wrong::RepeatedColumn),
            Some(column) => columns.push(column),
            None => {
                let nearest = Column::ALL.into_iter().find(|column| plain(column.header()) == plain(&name));
                fail(None, Wrong::UnknownColumn { name: name.into_owned(), nearest });
            }
        }
    }
    for column in Column::ALL {
        if column.is_required() && !columns.contains(&column) {
            fail(Some(column), Wrong::MissingColumn);
        }
    }
    (problems.len() == before).then_some(columns)
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn row(
    record: &reader::Record,
    columns: &[Column],
    passwords: Passwords,
    problems: &mut Vec<Problem>,
) -> Option<Row> {
    let before = problems.len();
    let mut fail = |column, what| problems.push(Problem { row: Some(record.line), column, what });
    if let Some(flaw) = record.flaw.clone() {
        fail(None, flaw);
        return None;
    }
    if record.fields.len() != columns.len() {
        fail(None, Wrong::FieldCount { found: record.fields.len(), expected: columns.len() });
        return None;
    }
    let mut values = BTreeMap::new();
    for (column, field) in columns.iter().copied().zip(&record.fields) {
        match text(field) {
            Ok(value) => {
                if let Err(what) = check(column, value, passwords) {
                    fail(Some(column), what);
                }
                values.insert(column, value);
            }
            Err(what) => fail(Some(column), what),
        }
    }
    let optional =
        |column| values.get(&column).copied().filter(|value: &&str| !value.is_empty()).map(str::to_owned);
    if passwords == Passwords::MayBeLearned && problems.len() == before {
        let is_empty = |column| optional(column).is_none();
        let mut fail =
            |column, what| problems.push(Problem { row: Some(record.line), column: Some(column), what });
        if is_empty(Column::Password) && !is_empty(Column::UserRoot) {
            fail(Column::Password, Wrong::NoRootPassword);
        }
        if is_empty(Column::UserName) && (is_empty(Column::ClientLogin) || !is_empty(Column::Password)) {
            fail(Column::UserName, Wrong::NoUserName);
        }
    }
    if problems.len() > before {
        return None;
    }
    Some(Row {
        row: record.line,
        email_address: optional(Column::EmailAddress)?,
        user_name: optional(Column::UserName).unwrap_or_default(),
        password: optional(Column::Password).map(SecretString::from),
        user_root: optional(Column::UserRoot),
        client_login: optional(Column::ClientLogin),
    })
}

fn text(field: &[u8]) -> Result<&str, Wrong> {
    std::str::from_utf8(field).map_err(|error| Wrong::NotUtf8 { at: error.valid_up_to() + 1 })
}

fn check(column: Column, value: &str, passwords: Passwords) -> Result<(), Wrong> {
    // Neither LOGIN nor SASL PLAIN can carry these, and a header cannot either.
    if value.chars().any(char::is_control) {
        return Err(Wrong::Control);
    }
    match column {
        Column::Password if value.is_empty() && passwords == Passwords::MayBeLearned => Ok(()),
        Column::Password if value.is_empty() => Err(Wrong::NoPassword),
        Column::Password => Ok(()), // Spaces may well belong to it.
        Column::EmailAddress => {
            filled(value)?;
            address::check(value).map_err(|problem| Wrong::Address { address: value.to_owned(), problem })
        }
        Column::UserName if value.is_empty() && passwords == Passwords::MayBeLearned => Ok(()),
        Column::UserName => filled(value),
        Column::UserRoot | Column::ClientLogin if value.is_empty() => Ok(()),
        Column::UserRoot | Column::ClientLogin => filled(value),
    }
}

fn filled(value: &str) -> Result<(), Wrong> {
    if value.trim().is_empty() {
        return Err(Wrong::EmptyField);
    }
    if value.trim() != value {
        return Err(Wrong::Spaces);
    }
    Ok(())
}

fn duplicates(rows: &[Row], problems: &mut Vec<Problem>) {
    let mut addresses = BTreeMap::new();
    let mut logins = BTreeMap::new();
    let mut sources = BTreeMap::new();
    for row in rows {
        let mut fail = |column, what| {
            problems.push(Problem { row: Some(row.row), column: Some(column), what });
        };
        let first = *addresses.entry(row.email_address.to_lowercase()).or_insert(row.row);
        if first != row.row {
            let value = row.email_address.clone();
            fail(Column::EmailAddress, Wrong::Duplicate { value, first });
            continue;
        }
        if let Some(login) = &row.client_login {
            let first = *logins.entry(login.to_lowercase()).or_insert(row.row);
            if first != row.row {
                fail(Column::ClientLogin, Wrong::Duplicate { value: login.clone(), first });
            }
        }
        if row.user_name.is_empty() {
            continue;
        }
        // Logins are compared exactly: a source may well tell `Ann` from `ann`.
        let first = *sources.entry((&row.user_name, &row.user_root)).or_insert(row.row);
        if first != row.row {
            fail(Column::UserName, Wrong::SameSource { value: row.user_name.clone(), first });
        }
    }
}

#[cfg(test)]
mod tests;
