//! What the target's refusals mean, and how long to wait after them.
//!
//! Pure: words and moments in, decisions out. The words are those that Exchange Online was seen to use, and the
//! response codes of RFC 5530, RFC 7889 and RFC 9738.

use std::time::{Duration, Instant};

use mailferry_imap::response::Code;

/// What a NO, BAD or BYE means for us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// The whole mailbox waits; for so long, where it was said.
    Throttled(Option<Duration>),
    /// A new token, a new connection.
    TokenExpired,
    /// A new connection after a while: the server is ill, or is closing this one.
    Unavailable,
    /// The mailbox is full: only a person can help, whatever is sent.
    Full,
    /// The folder is not there.
    NoFolder,
    /// This message is too large for the target.
    TooLarge,
    /// This message or command, and no other, is refused.
    Item,
}

/// Reads a refusal.
pub fn meaning(code: Option<&Code>, text: &str) -> Meaning {
    let lower = text.to_ascii_lowercase();
    let has = |words: &str| lower.contains(words);
    match code {
        Some(Code::Throttled) => return Meaning::Throttled(backoff_in(&lower)),
        Some(Code::TryCreate) => return Meaning::NoFolder,
        Some(Code::Other(other)) => {
            let word = other.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            match word.as_str() {
                "NONEXISTENT" => return Meaning::NoFolder,
                "OVERQUOTA" => return Meaning::Full,
                "TOOBIG" => return Meaning::TooLarge,
                "UNAVAILABLE" | "SERVERBUG" | "INUSE" => return Meaning::Unavailable,
                "EXPIRED" => return Meaning::TokenExpired,
                _ => {}
            }
        }
        _ => {}
    }
    if has("throttled") || has("suggested backoff time") || has("too many simultaneous connections") {
        Meaning::Throttled(backoff_in(&lower))
    } else if has("accesstokenexpired") || has("session invalidated") {
        Meaning::TokenExpired
    } else if has("maximum size of appendable") || has("message too large") || has("message size exceeds") {
        Meaning::TooLarge
    } else if has("server unavailable")
        || has("not connected")
        || has("invalid state")
        || has("connection closed")
        || has("connection is closed")
        || has("internal server error")
        || has("internal error")
        || has("try again later")
    {
        Meaning::Unavailable
    } else if has("doesn't exist") || has("does not exist") {
        Meaning::NoFolder
    } else if has("quota exceeded") || has("over quota") || has("mailbox is full") {
        Meaning::Full
    } else {
        Meaning::Item
    }
}

/// `Suggested Backoff Time: N milliseconds`, however large the number is.
fn backoff_in(lower: &str) -> Option<Duration> {
    let (_, rest) = lower.split_once("backoff time:")?;
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let number: u64 = rest[..end].parse().ok()?;
    let unit = rest[end..].trim_start();
    let wait =
        if unit.starts_with("s") { Duration::from_secs(number) } else { Duration::from_millis(number) };
    Some(wait.min(LONGEST))
}

/// What is stated is obeyed, up to this.
const LONGEST: Duration = Duration::from_secs(2 * 60 * 60);

/// Without a stated time: this at first, then twice as long each time.
const FIRST: Duration = Duration::from_secs(30);

/// Without a stated time, at most this.
const UNSTATED: Duration = Duration::from_secs(300);

/// What a refusal says about how much is asked of the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Complaint {
    /// A budget is used up.
    Budget,
    /// There are too many connections.
    Crowded,
    /// The login was good and led nowhere: a missing permission, or too many connections.
    NotConnected,
}

impl Complaint {
    /// Reads a refusal; most say nothing of the kind.
    pub fn of(code: Option<&Code>, text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let has = |words: &str| lower.contains(words);
        if has("too many") && has("connections") {
            Some(Self::Crowded)
        } else if has("authenticated but not connected") {
            Some(Self::NotConnected)
        } else if matches!(meaning(code, text), Meaning::Throttled(_)) {
            Some(Self::Budget)
        } else {
            None
        }
    }
}

/// How long one mailbox waits. By a clock that nobody sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    strikes: u32,
    until: Option<Instant>,
}

impl Pace {
    /// One that waits for so long from now on, after so many strikes: as it was before this program began.
    pub fn resumed(now: Instant, left: Duration, strikes: u32) -> Self {
        Self { strikes, until: Some(now + left) }
    }

    /// The target asked us to wait. `dice` is any random number: up to a tenth more is waited, so that mailboxes that
    /// were told so together do not come back together. Returns how long from now.
    pub fn on_throttled(&mut self, now: Instant, stated: Option<Duration>, dice: u32) -> Duration {
        let unstated = UNSTATED.min(FIRST.saturating_mul(1 << self.strikes.min(8)));
        let wait = stated.unwrap_or(unstated);
        self.strikes = self.strikes.saturating_add(1);
        let jitter = wait.mul_f64(f64::from(dice % 1_000) / 10_000.0) + Duration::from_millis(1);
        let until = now + wait + jitter;
        let until = self.until.map_or(until, |known| known.max(until));
        self.until = Some(until);
        until.saturating_duration_since(now)
    }

    /// The target took something: it is content.
    pub fn on_progress(&mut self) {
        self.strikes = 0;
    }

    /// How often it was told to wait since the target took something.
    pub fn strikes(&self) -> u32 {
        self.strikes
    }

    /// For how long nothing may be sent; `None` when anything may.
    pub fn blocked(&self, now: Instant) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

/// How long to wait before connection attempt number `attempt` (from 0) after a broken connection.
pub fn reconnect_after(attempt: u32) -> Duration {
    match attempt {
        0 => Duration::ZERO,
        _ => Duration::from_millis(500).saturating_mul(1 << (attempt - 1).min(6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_exchange() {
        let read = |text| meaning(None, text);
        let wait = Duration::from_millis(89_000);
        assert_eq!(
            read("Request is throttled. Suggested Backoff Time: 89000 milliseconds"),
            Meaning::Throttled(Some(wait))
        );
        assert_eq!(read("Request is throttled."), Meaning::Throttled(None));
        assert_eq!(
            read("Request is throttled. Suggested Backoff Time: 99999999999999999999999 milliseconds"),
            Meaning::Throttled(None)
        );
        assert_eq!(
            read("Request is throttled. Suggested Backoff Time: 18446744073709551615 milliseconds"),
            Meaning::Throttled(Some(LONGEST))
        );
        assert_eq!(read("User is authenticated but not connected."), Meaning::Unavailable);
        assert_eq!(read("Session invalidated - AccessTokenExpired"), Meaning::TokenExpired);
        assert_eq!(read("Server Unavailable. 15"), Meaning::Unavailable);
        assert_eq!(read("Connection closed. 14"), Meaning::Unavailable);
        assert_eq!(read("Command received in Invalid state."), Meaning::Unavailable);
        assert_eq!(read("Maximum size of appendable message has been exceeded"), Meaning::TooLarge);
        for item in ["Command Error. 10", "Command Argument Error. 11", "Command Argument Error. 12"] {
            assert_eq!(read(item), Meaning::Item);
        }
        assert_eq!(read("INBOX doesn't exist."), Meaning::NoFolder);
        assert_eq!(meaning(Some(&Code::TryCreate), "no"), Meaning::NoFolder);
        assert_eq!(meaning(Some(&Code::Other("OVERQUOTA".into())), "no"), Meaning::Full);
    }

    #[test]
    fn stated_times_are_obeyed_and_unstated_ones_grow() {
        let now = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.on_throttled(now, None, 0).as_secs(), 30);
        assert_eq!(pace.on_throttled(now, None, 0).as_secs(), 60);
        assert!(pace.blocked(now).is_some());
        let stated = pace.on_throttled(now, Some(Duration::from_secs(3_000)), 999);
        assert!((3_000..=3_300).contains(&stated.as_secs()));
        assert_eq!(pace.blocked(now + stated), None);
        for _ in 0..40 {
            pace.on_throttled(now, None, 7);
        }
        assert_eq!(pace.blocked(now), Some(stated), "a shorter time never takes back a longer one");
        let mut later = Pace::resumed(now, Duration::from_secs(9), 2);
        assert_eq!(later.blocked(now + Duration::from_secs(8)), Some(Duration::from_secs(1)));
        assert_eq!(later.on_throttled(now, None, 0).as_secs(), 120);
        pace.on_progress();
        let mut rested = Pace { until: None, ..pace };
        assert_eq!(rested.on_throttled(now, None, 0).as_secs(), 30);
    }

    #[test]
    fn complaints_are_told_from_other_refusals() {
        let read = |text| Complaint::of(None, text);
        assert_eq!(
            read("Request is throttled. Suggested Backoff Time: 9 milliseconds"),
            Some(Complaint::Budget)
        );
        assert_eq!(read("Too many simultaneous connections."), Some(Complaint::Crowded));
        assert_eq!(read("User is authenticated but not connected."), Some(Complaint::NotConnected));
        for other in [
            "Server Unavailable. 15",
            "Connection closed. 14",
            "Command Argument Error. 11",
            "quota exceeded",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn reconnecting_backs_off() {
        let waits: Vec<u64> = (0..9).map(|attempt| reconnect_after(attempt).as_millis() as u64).collect();
        assert_eq!(waits, [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 32_000]);
    }
}
