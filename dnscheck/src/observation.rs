//! What was seen of one domain at one moment, in a form that is stored and shown.
//!
//! An observation keeps every answer as it was given, so that a verdict can be judged anew later. It is plain
//! data; the JSON of old observations stays readable (fields are only ever added, with defaults).

use std::fmt;
use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Advice, HostName, Verdict};

/// Everything that one check of one domain saw and concluded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The domain that was asked about, as given, in canonical form.
    pub domain: HostName,
    /// The conclusion.
    pub verdict: Verdict,
    /// Why the verdict is what it is, a sentence each.
    pub reasons: Vec<String>,
    /// When the check ended, by the wall clock.
    pub at: Timestamp,
    /// The zone that holds the domain's records, once a server named it. A subdomain without a cut of its
    /// own lies in a zone above it.
    #[serde(default)]
    pub zone: Option<HostName>,
    /// Every answer about MX: each address of each authoritative server, then each resolver.
    pub answers: Vec<Answer>,
    /// The highest TTL, in seconds, among the answers that lead mail elsewhere than to where it should go.
    #[serde(default)]
    pub other_ttl: Option<u32>,
    /// What the operator should look at; never changes the verdict.
    #[serde(default)]
    pub advice: Vec<Advice>,
}

/// What one server said about the MX records of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// In which role the server was asked.
    pub role: Role,
    /// The server's host name, or its address for a resolver.
    pub server: String,
    /// Where the question went; none when the host name had no address that we could find.
    pub address: Option<SocketAddr>,
    /// The name that was asked about: the domain, or what it is an alias of.
    pub name: HostName,
    /// How the answer came; none when none came.
    pub transport: Option<Transport>,
    /// The answer's authoritative flag.
    pub authoritative: bool,
    /// What came.
    pub outcome: Outcome,
    /// How long the outcome may be cached, in seconds: the highest TTL of the records, or the negative TTL
    /// of RFC 2308. From a resolver it is what was left.
    pub ttl: Option<u32>,
    /// The zone's serial at this server, if it told: equal serials mean an unchanged zone.
    #[serde(default)]
    pub serial: Option<u32>,
    /// When it came, or was given up, by the wall clock.
    #[serde(default)]
    pub at: Option<Timestamp>,
}

/// In which role a server was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Named in the delegation, or by the zone itself: holds the zone.
    Authoritative,
    /// Configured by the operator: what other mail systems see, caches included.
    Resolver,
}

/// How an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// In one datagram.
    Udp,
    /// Over TCP, because the datagram was truncated or none came.
    Tcp,
}

/// What one question brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// MX records, by preference and host.
    Records(Vec<MxRecord>),
    /// A sole null MX: the domain says that it takes no mail (RFC 7505).
    NullMx,
    /// The name exists, or may, and has no MX.
    NoMx,
    /// The name does not exist.
    NoSuchName,
    /// The name is an alias whose target this server does not hold.
    Alias(HostName),
    /// Nothing usable.
    Failed(Failure),
}

/// One MX record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MxRecord {
    /// Lower is tried first.
    pub preference: u16,
    /// Where mail is to be delivered.
    pub host: HostName,
    /// Seconds that this record may be cached.
    pub ttl: u32,
}

/// Why a question brought nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// No answer in time, over UDP and TCP.
    Timeout,
    /// Not asked: the server had left several other questions in a row unanswered just before.
    Silent,
    /// The server refused with this code (`SERVFAIL`, `REFUSED` …).
    Code(String),
    /// The server is named as authoritative and does not hold the zone.
    Lame,
    /// This machine has no route to the address, for example no IPv6: it says nothing about the server.
    NoRoute,
    /// The connection was refused or broke.
    Io(String),
    /// What came was not a DNS answer to our question.
    Malformed(String),
    /// No address of the server could be found.
    NoAddress,
    /// The authoritative servers could not be found; where the walk from the roots ended, and why.
    Walk(String),
}

impl Observation {
    /// The evidence in lines for a person: verdict and reasons, then each answer, then advice.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{}: {} at {:.0}", self.domain, self.verdict, self.at)];
        lines.extend(self.reasons.iter().map(|reason| format!("  {reason}")));
        lines.extend(self.answers.iter().map(|answer| format!("  {answer}")));
        for advice in &self.advice {
            lines.push(format!("  advice: {}", advice.text));
            if !advice.next.is_empty() {
                lines.push(format!("          next: {}", advice.next));
            }
        }
        lines
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.server)?;
        if let Some(address) = self.address.filter(|address| address.to_string() != self.server) {
            write!(f, " ({address})")?;
        }
        write!(f, ": {}", self.outcome)?;
        if let (Some(ttl), false) = (self.ttl, matches!(self.outcome, Outcome::Failed(_))) {
            write!(f, ", TTL {ttl} s")?;
        }
        if self.transport == Some(Transport::Tcp) {
            write!(f, ", over TCP")?;
        }
        if let Some(serial) = self.serial {
            write!(f, ", serial {serial}")?;
        }
        if let Some(at) = self.at {
            write!(f, ", at {}", at.strftime("%H:%M:%SZ"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authoritative => "authoritative",
            Self::Resolver => "resolver",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records(records) => {
                for (index, MxRecord { preference, host, .. }) in records.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{preference} {host}")?;
                }
                Ok(())
            }
            Self::NullMx => f.write_str("null MX (takes no mail)"),
            Self::NoMx => f.write_str("no MX"),
            Self::NoSuchName => f.write_str("no such name"),
            Self::Alias(target) => write!(f, "alias of {target}"),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no answer in time"),
            Self::Silent => f.write_str("silent to the questions just before, so not asked this one"),
            Self::Code(code) => write!(f, "answered {code}"),
            Self::Lame => f.write_str("lame: does not hold the zone"),
            Self::NoRoute => f.write_str("no route from here"),
            Self::Io(error) => write!(f, "connection failed: {error}"),
            Self::Malformed(what) => write!(f, "malformed answer: {what}"),
            Self::NoAddress => f.write_str("its address was not found"),
            Self::Walk(what) => write!(f, "not found: {what}"),
        }
    }
}
