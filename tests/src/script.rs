//! Scripted sessions, played to a server directly and through the proxy, and what must be equal then.

use anyhow::Context;
use serde_json::json;

use crate::python;
use crate::teletype::Teletype;

/// What the client does next.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sends this and waits for what it says.
    Say(Vec<u8>, Until),
    /// Answers the challenge that came last.
    Prove {
        /// The mechanism.
        how: Proof,
        /// Login name.
        user: String,
        /// Password.
        password: String,
        /// What is waited for.
        until: Until,
    },
    /// Sends no more, and reads to the end.
    HalfClose,
}

/// How a challenge is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// CRAM-MD5.
    Cram,
    /// SCRAM-SHA-256, behind [`SCRAM_FIRST`] for this user.
    Scram,
}

/// What a client's first word in SCRAM begins with; the user's name and [`SCRAM_NONCE`] follow.
pub const SCRAM_FIRST: &str = "n,,n=";

/// What follows the user's name there. Ours may be the same each time, the server's is not.
pub const SCRAM_NONCE: &str = ",r=fyko+d2lbbFgONRv9qkxdawL";

/// What the client waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// The answer with this tag.
    Tag(String),
    /// A line that begins like this. Nothing that follows may be sent before, however the script is played.
    Line(&'static str),
    /// Any line, or the end.
    LineOrEnd,
    /// Nothing.
    Nothing,
    /// The end of the connection.
    End,
}

/// How a script's bytes are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Each step in one write, then waiting.
    Stepwise,
    /// Each byte by itself, then waiting.
    Bytewise,
    /// As much as may be sent at once in one write.
    Block,
}

/// A command with its answer. Lines in it end with `\n`, which goes out as CRLF.
pub fn ask(text: &str) -> Step {
    let tag = text.split(' ').next().unwrap_or_default().to_owned();
    Step::Say(wire(text), Until::Tag(tag))
}

/// Sends lines and waits for the answer with that tag.
pub fn tell(text: &str, tag: &str) -> Step {
    Step::Say(wire(text), Until::Tag(tag.to_owned()))
}

/// Sends lines and waits for a line with that start.
pub fn go(text: &str, start: &'static str) -> Step {
    Step::Say(wire(text), Until::Line(start))
}

/// LOGOUT and the end.
pub fn bye() -> Step {
    Step::Say(wire("z9 LOGOUT"), Until::End)
}

fn wire(text: &str) -> Vec<u8> {
    let mut bytes = text.replace('\n', "\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Plays a script; all that the server said.
pub async fn play(talk: &mut Teletype, steps: &[Step], pace: Pace) -> anyhow::Result<()> {
    let mut held = Vec::new();
    let mut awaited = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let (bytes, until) = match step {
            Step::Say(bytes, until) => (bytes.clone(), until.clone()),
            Step::Prove { how, user, password, until } => {
                (response(*how, &talk.heard, user, password).await?, until.clone())
            }
            Step::HalfClose => {
                flush(talk, &mut held, &mut awaited, pace).await.with_context(|| format!("step {at}"))?;
                talk.half_close().await?;
                talk.rest().await?;
                continue;
            }
        };
        held.extend_from_slice(&bytes);
        awaited.push(until.clone());
        let soft = matches!(step, Step::Say(_, Until::Tag(_) | Until::Nothing));
        if pace != Pace::Block || !soft {
            flush(talk, &mut held, &mut awaited, pace)
                .await
                .with_context(|| format!("step {at}: {}", String::from_utf8_lossy(&bytes)))?;
        }
    }
    flush(talk, &mut held, &mut awaited, pace).await
}

/// Python's HMAC: we have none of our own.
async fn response(how: Proof, heard: &[u8], user: &str, password: &str) -> anyhow::Result<Vec<u8>> {
    let text = String::from_utf8_lossy(heard);
    let challenge = text.trim_end().rsplit("+ ").next().context("challenge")?;
    let job = json!({"challenge": challenge, "user": user, "password": password,
        "first": format!("n={user}{SCRAM_NONCE}")});
    let program = match how {
        Proof::Cram => CRAM,
        Proof::Scram => SCRAM,
    };
    let answer = python::run(program, &job).await?;
    Ok(format!("{}\r\n", answer.as_str().context("answer")?).into_bytes())
}

const CRAM: &str = r#"
import base64, hmac, json, sys
job = json.load(sys.stdin)
mac = hmac.new(job["password"].encode(), base64.b64decode(job["challenge"]), "md5").hexdigest()
print(json.dumps(base64.b64encode(f"{job['user']} {mac}".encode()).decode()))
"#;

/// RFC 5802, RFC 7677.
const SCRAM: &str = r#"
import base64, hashlib, hmac, json, sys
job = json.load(sys.stdin)
first = base64.b64decode(job["challenge"]).decode()
nonce, salt, rounds = [part[2:] for part in first.split(",")][:3]
salted = hashlib.pbkdf2_hmac("sha256", job["password"].encode(), base64.b64decode(salt), int(rounds))
key = hmac.digest(salted, b"Client Key", "sha256")
last = f"c=biws,r={nonce}"
signature = hmac.digest(hashlib.sha256(key).digest(), f"{job['first']},{first},{last}".encode(), "sha256")
proof = bytes(a ^ b for a, b in zip(key, signature))
print(json.dumps(base64.b64encode(f"{last},p={base64.b64encode(proof).decode()}".encode()).decode()))
"#;

async fn flush(
    talk: &mut Teletype,
    held: &mut Vec<u8>,
    awaited: &mut Vec<Until>,
    pace: Pace,
) -> anyhow::Result<()> {
    let sent = match pace {
        Pace::Bytewise => talk.send_bytewise(held).await,
        Pace::Stepwise | Pace::Block => talk.send(held).await,
    };
    if !awaited.contains(&Until::LineOrEnd) {
        sent?; // Whoever may end the connection may do so before all came.
    }
    held.clear();
    let start = talk.seen();
    for until in awaited.drain(..) {
        // Commands that were sent at once may be answered in any order.
        talk.look_again(start);
        match until {
            Until::Tag(tag) => drop(talk.tagged(&tag).await?),
            Until::Line(start) => drop(talk.until(start).await?),
            Until::LineOrEnd => drop(talk.line().await),
            Until::Nothing => {}
            Until::End => drop(talk.rest().await?),
        }
    }
    Ok(())
}

/// Capabilities that the proxy takes out, because it cannot honour them, and those of the TLS that is its own.
const TAKEN_OUT: [&str; 6] =
    ["COMPRESS=DEFLATE", "LOGIN-REFERRALS", "MAILBOX-REFERRALS", "STARTTLS", "LOGINDISABLED", "-PLUS"];

const BASE64: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/=";

/// What a server itself varies from one session to the next: what stands behind these words, up to a character that does
/// not belong to it.
const VARIES: [(&str, &str); 16] = [
    // Another user's folder is another folder.
    ("[UIDVALIDITY ", "0123456789"),
    ("(UIDVALIDITY ", "0123456789"),
    (" UIDVALIDITY ", "0123456789"),
    ("[APPENDUID ", "0123456789"),
    ("[COPYUID ", "0123456789"),
    ("MAILBOXID (", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-"),
    // Time of day, where a message has none of its own, and how long a command took.
    ("INTERNALDATE \"", "0123456789-: +abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    ("ompleted (", "0123456789.+ secscalls"),
    ("ompleted in ", "0123456789.+ secscalls"),
    ("(0.", "0123456789.+ secs"),
    ("msgs in ", "0123456789."),
    // Session and challenge.
    ("SESSIONID=<", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-."),
    ("+ P", BASE64),
    // SCRAM: `r=` and `v=`.
    ("+ cj", BASE64),
    ("+ dj", BASE64),
    ("Time: ", "0123456789.:"),
];

/// What must be equal, directly and through the proxy: everything but the above and the user's name.
pub fn comparable(heard: &[u8], user: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(heard).replace(user, "USER");
    text.split('\n')
        .map(|line| {
            let mut line = without_taken_out(line);
            for (word, run) in VARIES {
                line = blotted(&line, word, run);
            }
            line
        })
        .collect()
}

fn blotted(line: &str, word: &str, run: &str) -> String {
    let mut done = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(word) {
        let (before, after) = rest.split_at(at + word.len());
        done.push_str(before);
        done.push('#');
        rest = after.trim_start_matches(|c| run.contains(c));
    }
    done + rest
}

fn without_taken_out(line: &str) -> String {
    let Some(at) = line.find("CAPABILITY ") else { return line.to_owned() };
    let (before, after) = line.split_at(at);
    let end = after.find([']', '\r']).unwrap_or(after.len());
    let (list, rest) = after.split_at(end);
    let kept: Vec<&str> =
        list.split(' ').filter(|word| !TAKEN_OUT.iter().any(|out| word.ends_with(out))).collect();
    format!("{before}{}{rest}", kept.join(" "))
}
