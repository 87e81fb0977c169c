//! RFC 4180 records with the line on which each begins.
//!
//! Not the `csv` crate: that one forgives quotes (one that never closes swallows the rest of the file into a field)
//! and counts lines differently after blank ones, and the promise here is the right row number for every mistake.

use super::Wrong;

/// One record; blank lines are none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Line of the file on which it begins, from 1.
    pub(super) line: u64,
    pub(super) fields: Vec<Vec<u8>>,
    /// Its form is broken, so the fields mean nothing.
    pub(super) flaw: Option<Wrong>,
}

/// Splits a whole file. Lines end with LF, CRLF or a lone CR.
pub(super) fn records(text: &[u8]) -> Vec<Record> {
    let mut reader = Reader { rest: text, line: 1 };
    let mut records = Vec::new();
    while !reader.rest.is_empty() {
        records.extend(reader.record());
    }
    records
}

struct Reader<'a> {
    rest: &'a [u8],
    line: u64,
}

impl Reader<'_> {
    fn record(&mut self) -> Option<Record> {
        let mut record = Record { line: self.line, fields: Vec::new(), flaw: None };
        loop {
            let (field, quoted) = match self.rest.first() {
                Some(b'"') => (self.quoted(&mut record.flaw), true),
                _ => (self.plain(), false),
            };
            let blank = record.fields.is_empty() && field.is_empty() && !quoted;
            record.fields.push(field);
            match self.rest.first() {
                Some(b',') => self.skip(1),
                Some(_) => {
                    self.end_of_line();
                    return (!blank).then_some(record);
                }
                None => return (!blank).then_some(record),
            }
        }
    }

    fn plain(&mut self) -> Vec<u8> {
        let end = self.rest.iter().position(|byte| matches!(byte, b',' | b'\r' | b'\n'));
        let field = self.rest[..end.unwrap_or(self.rest.len())].to_vec();
        self.skip(field.len());
        field
    }

    fn quoted(&mut self, flaw: &mut Option<Wrong>) -> Vec<u8> {
        self.skip(1);
        let mut field = Vec::new();
        loop {
            match self.rest {
                [b'"', b'"', ..] => {
                    field.push(b'"');
                    self.skip(2);
                }
                [b'"', ..] => {
                    self.skip(1);
                    if !matches!(self.rest.first(), None | Some(b',' | b'\r' | b'\n')) {
                        flaw.get_or_insert(Wrong::TextAfterQuote);
                        field.extend(self.plain());
                    }
                    return field;
                }
                [byte, ..] => {
                    if *byte == b'\n' {
                        self.line += 1;
                    }
                    field.push(*byte);
                    self.skip(1);
                }
                [] => {
                    flaw.get_or_insert(Wrong::UnclosedQuote);
                    return field;
                }
            }
        }
    }

    fn end_of_line(&mut self) {
        let length = if self.rest.starts_with(b"\r\n") { 2 } else { 1 };
        self.skip(length);
        self.line += 1;
    }

    fn skip(&mut self, count: usize) {
        self.rest = &self.rest[count..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<(u64, Vec<String>)> {
        let plain = |field: Vec<u8>| String::from_utf8(field).unwrap();
        records(text.as_bytes())
            .into_iter()
            .map(|record| (record.line, record.fields.into_iter().map(plain).collect()))
            .collect()
    }

    #[test]
    fn blank_lines_count_as_lines_and_not_as_records() {
        assert_eq!(
            fields("a,b\r\n\r\n\nc,\"d\"\"e\"\n"),
            [(1, vec!["a".into(), "b".into()]), (4, vec!["c".into(), "d\"e".into()])],
        );
    }

    #[test]
    fn a_field_over_two_lines_moves_the_count() {
        assert_eq!(fields("\"a\nb\"\nc"), [(1, vec!["a\nb".into()]), (3, vec!["c".into()])]);
    }

    #[test]
    fn empty_fields_stay() {
        assert_eq!(
            fields(",\n\"\"\nx,,"),
            [
                (1, vec![String::new(), String::new()]),
                (2, vec![String::new()]),
                (3, vec!["x".into(), String::new(), String::new()]),
            ]
        );
    }

    #[test]
    fn an_unclosed_quote_and_text_behind_one_are_flaws() {
        let flaws = |text: &str| -> Vec<_> {
            records(text.as_bytes()).into_iter().map(|record| (record.line, record.flaw)).collect()
        };
        assert_eq!(flaws("a\n\"b,c\nd"), [(1, None), (2, Some(Wrong::UnclosedQuote))]);
        assert_eq!(flaws("\"b\"c,d\ne"), [(1, Some(Wrong::TextAfterQuote)), (2, None)]);
    }
}
