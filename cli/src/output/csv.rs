//! Rows for spreadsheets (RFC 4180).

/// One row with its line end. Cells come from strangers: where a spreadsheet would take one for a formula, an apostrophe
/// goes before it; line ends become blanks, so that every row is one line.
pub fn row<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let mut row = String::new();
    for (index, text) in cells.into_iter().enumerate() {
        if index > 0 {
            row.push(',');
        }
        cell(text, &mut row);
    }
    row.push_str("\r\n");
    row
}

fn cell(text: &str, row: &mut String) {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quoted =
        formula || text.contains(|c: char| matches!(c, '"' | ',') || c.is_control()) || text.trim() != text;
    if !quoted {
        return row.push_str(text);
    }
    row.push('"');
    if formula {
        row.push('\'');
    }
    for c in text.chars() {
        match c {
            '"' => row.push_str("\"\""),
            c if c.is_control() => row.push(' '),
            c => row.push(c),
        }
    }
    row.push('"');
}

#[cfg(test)]
mod tests {
    use super::row;

    #[test]
    fn cells_stay_one_cell_one_line_and_no_formula() {
        assert_eq!(row(["a", "b c", "", "7"]), "a,b c,,7\r\n");
        assert_eq!(row(["a,b", "say \"x\"", " x"]), "\"a,b\",\"say \"\"x\"\"\",\" x\"\r\n");
        assert_eq!(
            row(["=HYPERLINK(\"x\")", "@a", "-1", "a\r\nb"]),
            "\"'=HYPERLINK(\"\"x\"\")\",\"'@a\",\"'-1\",\"a  b\"\r\n"
        );
    }
}
