//! Where in the file a key stands, so that an error can name line and column.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Line and column, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// The place of byte `offset` in `text`; past the end is the end.
    pub fn at(text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }

    /// The place of the key `path` (`proxy.listen[0].address`) in `text`, or of its nearest ancestor that the
    /// file has. `None` when not even the first part is there.
    pub fn of_key(text: &str, path: &str) -> Option<Self> {
        let table = DeTable::parse(text).ok()?;
        let mut found = None;
        let mut inside: Option<&DeValue<'_>> = None;
        for step in path.replace('[', ".[").split('.') {
            if let Some(index) = step.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                let Some(DeValue::Array(items)) = inside else { break };
                let Some(item) = index.parse::<usize>().ok().and_then(|index| items.get(index)) else {
                    break;
                };
                found = Some(item.span().start);
                inside = Some(item.get_ref());
                continue;
            }
            let table = match inside {
                None => table.get_ref(),
                Some(DeValue::Table(table)) => table,
                Some(_) => break,
            };
            let Some((key, value)) = entry(table, step) else { break };
            found = Some(key);
            inside = Some(value);
        }
        found.map(|offset| Self::at(text, offset))
    }
}

fn entry<'t, 'i>(table: &'t DeTable<'i>, name: &str) -> Option<(usize, &'t DeValue<'i>)> {
    table
        .iter()
        .find(|(key, _)| key.get_ref() == name)
        .map(|(key, value): (&Spanned<_>, &Spanned<DeValue<'i>>)| (key.span().start, value.get_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_path() {
        let text =
            "a = 1\n[proxy]\nlisten = [\n  { address = \"x\" },\n  { \"é\" = 1, address = \"y\" },\n]\n";
        let at = |path| Place::of_key(text, path).map(|place| (place.line, place.column));
        assert_eq!(at("a"), Some((1, 1)));
        assert_eq!(at("proxy"), Some((2, 2)));
        assert_eq!(at("proxy.listen[0].address"), Some((4, 5)));
        assert_eq!(at("proxy.listen[1].address"), Some((5, 14)));
        assert_eq!(at("proxy.listen[9].address"), Some((3, 1)));
        assert_eq!(at("proxy.missing"), Some((2, 2)));
        assert_eq!(at("missing"), None);
    }
}
