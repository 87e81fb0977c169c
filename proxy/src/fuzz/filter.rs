//! The capability filter and the watch: equal to a slow reference, and nothing but lists is touched.

use bytes::Bytes;

use super::{Cuts, Script, Side, same_for_all_cuts};
use crate::filter::{Leg, filtered};
use crate::watch::Watch;

/// Beyond 64 KiB a line passes as it stands.
const MAX_INPUT: usize = 8 << 10;

/// See the module.
pub fn run(input: &[u8]) {
    let Some((flags, script)) = input.split_first() else { return };
    if script.len() > MAX_INPUT {
        return;
    }
    let leg = if flags & 1 == 0 { Leg::Open } else { Leg::BeforeStartTls };
    let script = Script::new(script);
    let (asked, said) = (script.said(Side::Client), script.said(Side::Server));
    let (mut plain, mut expected) = (Vec::new(), Vec::new());
    for line in said.split_inclusive(|byte| *byte == b'\n') {
        if line.ends_with(b"\n") {
            assert_eq!(
                filtered(line, leg).as_deref().unwrap_or(line).escape_ascii().to_string(),
                reference(line, leg).escape_ascii().to_string()
            );
            expected.push(reference(line, Leg::Open));
        } else {
            expected.push(line.to_vec());
        }
        plain.push(line);
    }
    let told = same_for_all_cuts(|cuts| play(&script, cuts));
    let told: Vec<_> = told.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(told.len(), plain.len(), "no line more or less");
    // Without literals, and commands behind which no lines may follow, every line is one.
    let asked = asked.to_ascii_uppercase();
    let asks_for = |verb: &str| memchr::memmem::find(&asked, verb.as_bytes()).is_some();
    let is_simple = !said.contains(&b'{')
        && !asked.contains(&b'{')
        && !["COMPRESS", "STARTTLS", "AUTHENTICATE"].into_iter().any(asks_for);
    for ((told, plain), expected) in told.into_iter().zip(plain).zip(expected) {
        assert!(told == expected || (told == plain && !is_simple), "{}", told.escape_ascii());
    }
}

fn play(script: &Script<'_>, cuts: Cuts) -> Vec<u8> {
    let mut watch = Watch::new();
    let mut out: Vec<Bytes> = Vec::new();
    for (side, chunk) in script.chunks(cuts) {
        match side {
            Side::Client => watch.on_client(&Bytes::from(chunk)),
            Side::Server => watch.on_server(&Bytes::from(chunk), &mut out),
        }
    }
    watch.on_server_end(&mut out);
    out.concat()
}

/// The same as [`filtered`], word by word from the description.
fn reference(line: &[u8], leg: Leg) -> Vec<u8> {
    let upper = line.to_ascii_uppercase();
    let tag = upper.split(|byte| *byte == b' ').next().unwrap_or_default();
    let (statuses, untagged): (&[&str], _) = match tag {
        b"*" => (&["OK", "NO", "BAD", "PREAUTH", "BYE"], true),
        tag if tag.is_empty() || tag.starts_with(b"+") || tag.contains(&b'\n') => return line.to_vec(),
        _ => (&["OK", "NO", "BAD"], false),
    };
    let without_blanks =
        |text: &[u8]| text.iter().position(|byte| *byte != b' ').map(|at| text[at..].to_vec());
    let start = without_blanks(&upper[tag.len()..]).and_then(|text| {
        let list = untagged.then(|| text.strip_prefix(b"CAPABILITY ")).flatten().or_else(|| {
            let code = statuses.iter().find_map(|status| text.strip_prefix(status.as_bytes()))?;
            let code = &code[code.iter().position(|byte| *byte != b' ')?..];
            code.strip_prefix(b"[CAPABILITY ")
        })?;
        Some(line.len() - list.len())
    });
    let Some(start) = start else { return line.to_vec() };
    let end = (start..line.len()).find(|at| b"\r\n]".contains(&line[*at])).unwrap_or(line.len());
    let items: Vec<&[u8]> = line[start..end].split(|byte| *byte == b' ').collect();
    let is_out = |item: &&[u8]| {
        let item = String::from_utf8_lossy(item).to_ascii_uppercase();
        let before_tls = leg == Leg::BeforeStartTls
            && (item.starts_with("AUTH=")
                || ["LOGINDISABLED", "LITERAL+", "LITERAL-"].contains(&item.as_str()));
        let never = [
            "COMPRESS",
            "STARTTLS",
            "LOGIN-REFERRALS",
            "MAILBOX-REFERRALS",
            "UNAUTHENTICATE",
            "AUTH=EXTERNAL",
        ];
        before_tls
            || (item.starts_with("AUTH=") && item.ends_with("-PLUS"))
            || item.starts_with("COMPRESS=")
            || never.contains(&item.as_str())
    };
    let mut list = items.iter().copied().filter(|item| !is_out(item)).collect::<Vec<_>>().join(&b' ');
    if items.last().is_some_and(is_out) {
        list.truncate(list.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1));
    }
    if leg == Leg::BeforeStartTls {
        if !list.is_empty() && !list.ends_with(b" ") {
            list.push(b' ');
        }
        list.extend_from_slice(b"STARTTLS LOGINDISABLED");
    }
    [&line[..start], &list, &line[end..]].concat()
}
