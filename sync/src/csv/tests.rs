use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

const HEADER: &str = "EmailAddress,UserName,Password\n";

fn shown(file: &[u8]) -> Vec<String> {
    match parse(file, Passwords::Required) {
        Ok(rows) => rows.iter().map(|row| format!("{} {}", row.row, row.email_address)).collect(),
        Err(Problems(problems)) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn check(rows: &str, expected: &[&str]) {
    assert_eq!(shown(format!("{HEADER}{rows}").as_bytes()), expected);
}

#[test]
fn the_guides_own_files_are_read() {
    let rows = parse(
        b"EmailAddress,UserName,Password\nterrya@contoso.edu,terry.adams,1091990\nannb@contoso.edu,ann.beebe,2111991\n",
        Passwords::Required,
    )
    .unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1].row, 3);
    assert_eq!(rows[1].user_name, "ann.beebe");
    assert_eq!(rows[1].password.as_ref().unwrap().expose_secret(), "2111991");
    assert_eq!(rows[1].user_root, None);

    for row in [
        "t@contoso.edu,contoso-students/mailadmin/terry.adams,P@ssw0rd",
        "t@contoso.edu,terry.adams*mailadmin,P@ssw0rd",
        "t@contoso.edu,#terry.adams@contoso-students.edu#mailadmin#,P@ssw0rd",
    ] {
        check(row, &["2 t@contoso.edu"]);
    }

    // Courier: one admin for all, told apart by the root.
    let rows = parse(
        b"EmailAddress,UserName,Password,UserRoot\r\nt@contoso.edu,mailadmin,P,/users/terry.adams\r\na@contoso.edu,mailadmin,P,/users/ann\r\n",
        Passwords::Required,
    )
    .unwrap();
    assert_eq!(rows[0].user_root.as_deref(), Some("/users/terry.adams"));
}

#[test]
fn a_byte_order_mark_and_any_order_of_columns_are_fine() {
    let file = "\u{feff}Password,ClientLogin,UserName,EmailAddress\n\"a,\"\"b \",cl,ann,a@b.de\n";
    let rows = parse(file.as_bytes(), Passwords::Required).unwrap();
    assert_eq!(rows[0].password.as_ref().unwrap().expose_secret(), "a,\"b ");
    assert_eq!(rows[0].client_login.as_deref(), Some("cl"));
}

#[test]
fn every_problem_is_told_at_once_with_row_and_column() {
    check(
        "a@b.de,ann,1\n\nnobody,bob,2\nc@b.de,,\n,dora\nA@B.de,eve,5\nf@b.de, fred ,6\ng@b.de,gus,7,8\nh@b.de,ann,9\n",
        &[
            "row 4, EmailAddress: \"nobody\" is not an address: it must have one @",
            "row 5, UserName: is empty",
            "row 5, Password: is empty: give the password, or let the endpoint learn it (endpoint add ... --learn-credentials)",
            "row 6: has 2 fields where the header has 3",
            "row 7, EmailAddress: \"A@B.de\" is in row 2 already",
            "row 8, UserName: has spaces around it",
            "row 9: has 4 fields where the header has 3",
            "row 10, UserName: row 2 reads the same source mailbox \"ann\"",
        ],
    );
}

#[test]
fn headers_are_exact_and_the_remedy_is_named() {
    let header = |header: &str| shown(format!("{header}\na@b.de,ann,1\n").as_bytes());
    assert_eq!(
        header("Email Address,UserName,password"),
        [
            "row 1: unknown column \"Email Address\"; write EmailAddress",
            "row 1: unknown column \"password\"; write Password",
            "row 1, EmailAddress: the header lacks this column",
            "row 1, Password: the header lacks this column",
        ]
    );
    assert_eq!(header("EmailAddress,UserName,Password,Department"), ["row 1: unknown column \"Department\""]);
    assert_eq!(
        header("EmailAddress,UserName,UserName,Password"),
        ["row 1, UserName: the header has this column twice"]
    );
    assert_eq!(
        header("EmailAddress;UserName;Password"),
        ["row 1: columns are separated by ';'; Microsoft's form uses commas"]
    );
    assert_eq!(
        header("a@b.de,ann,1"),
        [
            "row 1: unknown column \"a@b.de\"",
            "row 1: unknown column \"ann\"",
            "row 1: unknown column \"1\"",
            "row 1, EmailAddress: the header lacks this column",
            "row 1, UserName: the header lacks this column",
            "row 1, Password: the header lacks this column",
        ]
    );
}

#[test]
fn whole_files_that_are_none() {
    assert_eq!(shown(b""), ["file: is empty; the first row must be EmailAddress,UserName,Password"]);
    assert_eq!(shown(b"\r\n\r\n"), ["file: is empty; the first row must be EmailAddress,UserName,Password"]);
    assert_eq!(shown(HEADER.as_bytes()), ["file: has a header and no mailbox below it"]);
    assert_eq!(shown(b"\xff\xfeE\0m\0"), ["file: is UTF-16; save it as \"CSV UTF-8\""]);
    assert_eq!(shown(&vec![b'a'; MAX_BYTES + 1]), ["file: has 10485761 bytes; at most 10485760 are allowed"]);
}

#[test]
fn bad_utf8_is_named_by_row_and_column() {
    let mut file = HEADER.as_bytes().to_vec();
    file.extend_from_slice(b"a@b.de,ann,1\nb@b.de,j\xfcrgen,2\n");
    assert_eq!(
        shown(&file),
        ["row 3, UserName: is not UTF-8 (byte 2 of the field); save the file as \"CSV UTF-8\""]
    );
}

#[test]
fn quotes_that_do_not_close_are_named_where_they_open() {
    check("a@b.de,ann,\"1\nb@b.de,bob,2\n", &["row 2: a quoted field is never closed"]);
    check("a@b.de,\"ann\"x,1\n", &["row 2: text after a closing quote"]);
    check("\"a\n@b.de\",ann,1\n", &["row 2, EmailAddress: has a control character"]);
}

#[test]
fn fifty_thousand_rows_and_not_one_more() {
    let file = |rows: usize| {
        let rows: String = (0..rows).map(|row| format!("u{row}@b.de,u{row},p\n")).collect();
        format!("{HEADER}{rows}").into_bytes()
    };
    assert_eq!(parse(&file(MAX_ROWS), Passwords::Required).unwrap().len(), MAX_ROWS);
    assert_eq!(shown(&file(MAX_ROWS + 1)), ["file: has 50001 rows; at most 50000 are allowed"]);
}

#[test]
fn passwords_may_be_learnt_where_the_endpoint_says_so() {
    let file = format!("{HEADER}a@b.de,ann,\n");
    assert!(parse(file.as_bytes(), Passwords::MayBeLearned).unwrap()[0].password.is_none());
    assert_eq!(
        shown(file.as_bytes()),
        [
            "row 2, Password: is empty: give the password, or let the endpoint learn it (endpoint add ... --learn-credentials)"
        ]
    );
    let header = "EmailAddress,UserName,Password,UserRoot,ClientLogin\n";
    let learned = |rows: &str| {
        let parsed = parse(format!("{header}{rows}").as_bytes(), Passwords::MayBeLearned);
        parsed
            .map(|rows| rows.len())
            .map_err(|problems| problems.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    assert_eq!(learned("a@b.de,,,,ann\nb@b.de,,,,bob\nc@b.de,carl,,,\n"), Ok(3));
    assert_eq!(
        learned("a@b.de,,,,\n").unwrap_err(),
        "row 2, UserName: is empty: give it, or leave Password empty too and give ClientLogin"
    );
    assert!(learned("a@b.de,,1,,ann\n").unwrap_err().contains("UserName: is empty"));
    assert!(learned("a@b.de,admin,,/users/ann,\n").unwrap_err().contains("an administrator's"));
    assert_eq!(learned("a@b.de,admin,1,/users/ann,\n"), Ok(1));
}

#[test]
fn logins_of_clients_are_unique_without_regard_to_case() {
    let file = "EmailAddress,UserName,Password,ClientLogin\na@b.de,ann,1,Ann\nb@b.de,bob,1,ann\n";
    assert_eq!(shown(file.as_bytes()), ["row 3, ClientLogin: \"ann\" is in row 2 already"]);
}

fn quoted(field: &str) -> String {
    format!("\"{}\"", field.replace('"', "\"\""))
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        names in proptest::collection::btree_set("[a-z]{1,8}", 1..20),
        password in "[ -~äöü€]{1,20}",
        bom in any::<bool>(),
        newline in prop_oneof![Just("\n"), Just("\r\n")],
    ) {
        let mut file = String::from(if bom { "\u{feff}" } else { "" });
        file.push_str(&format!("EmailAddress,UserName,Password{newline}"));
        for name in &names {
            file.push_str(&format!("{name}@b.de,{name}*admin,{}{newline}", quoted(&password)));
        }
        let rows = parse(file.as_bytes(), Passwords::Required).unwrap();
        prop_assert_eq!(rows.len(), names.len());
        for (index, (row, name)) in rows.iter().zip(&names).enumerate() {
            prop_assert_eq!(row.row, index as u64 + 2);
            prop_assert_eq!(&row.email_address, &format!("{name}@b.de"));
            prop_assert_eq!(row.password.as_ref().unwrap().expose_secret(), password.as_str());
        }
    }

    #[test]
    fn no_bytes_break_it_and_no_problem_tells_a_password(
        junk in proptest::collection::vec(any::<u8>(), 0..200),
        password in "[a-z]{12}",
    ) {
        let mut file = format!("{HEADER}a@b.de,ann,{password}\nb@b.de,,{password}\n").into_bytes();
        file.extend_from_slice(&junk);
        let problems = parse(&file, Passwords::Required).unwrap_err();
        prop_assert!(!problems.0.is_empty());
        prop_assert!(!problems.to_string().contains(&password));
        let debug = format!("{problems:?}");
        prop_assert!(!debug.contains(&password));
        let _ = parse(&junk, Passwords::Required);
    }

    #[test]
    fn one_bad_row_spoils_the_file_and_is_the_only_one_named(rows in 1_usize..50, bad in 0_usize..50) {
        let bad = bad % rows;
        let mut file = HEADER.to_owned();
        for row in 0..rows {
            let at = if row == bad { "" } else { "@" };
            file.push_str(&format!("u{row}{at}b.de,u{row},p\n"));
        }
        let problems = parse(file.as_bytes(), Passwords::Required).unwrap_err();
        prop_assert_eq!(problems.0.len(), 1);
        prop_assert_eq!(problems.0[0].row, Some(bad as u64 + 2));
        prop_assert_eq!(problems.0[0].column, Some(Column::EmailAddress));
    }
}
