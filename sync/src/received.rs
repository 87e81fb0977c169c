//! Who handed a message to the source: read from its Received lines. Pure.
//!
//! Each server puts its line on top, so the topmost are the source's own and can be believed; where they end, the
//! message came in. What lies below was written by strangers and is not looked at.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use mail_parser::{Host, MessageParser, Protocol, Received};
use serde::{Deserialize, Serialize};

/// How many lines are looked at: no message takes so many turns within one organisation.
const MOST_LINES: usize = 30;
/// The longest name that is kept.
const LONGEST: usize = 255;
/// A message that the source took in so long before the time from which mail counts was put into INBOX again.
const OLD: SignedDuration = SignedDuration::from_hours(1);

/// How a message came to a source INBOX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// From outside, to a host that the MX record named before: a cached record, or a fixed route to the old MX.
    OldMx,
    /// Submitted at the source itself: by a user who logged in there, or by a program on that machine.
    LocalSubmission,
    /// By a system that connects to the old server by its name or address, whatever the MX record says.
    HardWired,
    /// Moved there by a client: the source, and others before it, took it in long ago.
    Moved,
    /// It has no Received line: a client appended it, or a program on the old server put it there.
    Appended,
    /// Its Received lines tell nothing.
    Unclear,
}

impl Way {
    /// What an operator can do about it.
    pub fn next(self) -> &'static str {
        match self {
            Self::OldMx => {
                "it still uses the old MX: wait for its DNS cache, or have a fixed route there (transport, smart host) taken out"
            }
            Self::LocalSubmission => {
                "it submits mail at the old server: let it submit at Office 365, or let the old server relay this domain there"
            }
            Self::HardWired => {
                "a system with the old server's name or address in its settings: point it at Office 365, or at a relay"
            }
            Self::Moved => "nothing: somebody moved an old message into INBOX; it is carried over",
            Self::Appended => {
                "a client still works at the old server, or a program there writes to the mailbox: move it"
            }
            Self::Unclear => "look at the old server's mail log for this moment",
        }
    }

    /// Whether it shows that mail is still delivered to the source, or does not prove the contrary.
    pub fn is_delivery(self) -> bool {
        self != Self::Moved
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OldMx => "old MX",
            Self::LocalSubmission => "submitted locally",
            Self::HardWired => "connects directly",
            Self::Moved => "moved by a client",
            Self::Appended => "put there by a client",
            Self::Unclear => "unclear",
        })
    }
}

/// The way of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// How it came.
    pub way: Way,
    /// Who handed it over: host name and address as the source noted them.
    pub from: Option<String>,
    /// The source's server that took it.
    pub by: Option<String>,
}

/// What is known of the source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Home {
    /// The domain, lower case.
    pub(crate) domain: String,
    /// Hosts that its MX record named before the change, lower case.
    pub(crate) old_mx: Vec<String>,
    /// The endpoint's host, lower case.
    pub(crate) server: String,
}

impl Home {
    /// Reads the way from a header that holds the Received lines. `from` is the time from which arrivals count.
    pub(crate) fn trace(&self, header: &[u8], from: Timestamp) -> Trace {
        let message = MessageParser::new().parse_headers(header);
        let lines: Vec<&Received<'_>> =
            message.iter().flat_map(|message| message.received_all()).take(MOST_LINES).collect();
        let unknown = |way| Trace { way, from: None, by: None };
        let Some(top) = lines.first() else {
            let has_some = header.to_ascii_lowercase().windows(9).any(|part| part == b"received:");
            return unknown(if has_some { Way::Unclear } else { Way::Appended });
        };
        // The source's clock may be behind: a single line of its own proves nothing.
        let old = |line: &&Received<'_>| {
            let date = line.date().and_then(|date| Timestamp::from_second(date.to_timestamp()).ok());
            date.is_some_and(|date| from.duration_since(date) > OLD)
        };
        let alike = |line: &&Received<'_>| line.by().map(name) == top.by().map(name);
        let moved = lines.iter().all(old) && !lines.iter().all(alike);

        // Down to the line at which it came from elsewhere, or to the first of all.
        let inner = lines.iter().take_while(|line| self.took(line) && self.is_own_sender(line)).count();
        let entry = lines.get(inner).filter(|line| inner == 0 || self.took(line));
        let Some(line) = entry.or_else(|| lines.get(inner.saturating_sub(1))) else {
            return unknown(Way::Unclear);
        };
        let by = line.by().map(name);
        let trace = |way| Trace { way, from: sender(line), by: by.clone() };
        if moved {
            return trace(Way::Moved);
        }
        let Some(by) = &by else { return trace(Way::Unclear) };
        if is_authenticated(line) || is_this_machine(line, by) {
            return trace(Way::LocalSubmission);
        }
        if line.from().is_none() && line.from_ip().is_none() {
            return trace(Way::Unclear);
        }
        // A device of the house does not ask for its own MX.
        if line.from_ip().is_some_and(is_inside) || self.is_own_sender(line) {
            return trace(Way::HardWired);
        }
        match self.old_mx.contains(by) {
            true => trace(Way::OldMx),
            false => trace(Way::HardWired),
        }
    }

    /// Whether a server of the source wrote this line.
    fn took(&self, line: &Received<'_>) -> bool {
        line.by().is_some_and(|by| self.is_own(&name(by)))
    }

    fn is_own_sender(&self, line: &Received<'_>) -> bool {
        let named = line.from().is_some_and(|from| self.is_own(&name(from)));
        let of_address = line.from_iprev().is_some_and(|name| self.is_own(&name.to_lowercase()));
        // What a stranger calls itself is no proof: its address must not be a public one, or lead back to the name.
        match line.from_ip() {
            Some(address) => of_address || (named && is_inside(address)),
            None => named,
        }
    }

    fn is_own(&self, host: &str) -> bool {
        let below = host.strip_suffix(self.domain.as_str()).is_some_and(|rest| rest.ends_with('.'));
        host == self.domain
            || below
            || host == self.server
            || self.old_mx.iter().any(|own| own == host)
            || host == "localhost"
    }
}

/// Domains of the hosts that deliver into Office 365 mailboxes, in each of its clouds.
const OFFICE365: [&str; 5] =
    ["outlook.com", "exchangelabs.com", "office365.us", "partner.outlook.cn", "outlook.de"];

/// Whether Office 365 itself put the topmost Received line there: it delivered the message.
pub(crate) fn is_of_office365(header: &[u8]) -> bool {
    let message = MessageParser::new().parse_headers(header);
    let by = message.as_ref().and_then(|message| message.received_all().next()?.by().map(name));
    by.is_some_and(|by| {
        OFFICE365.iter().any(|domain| by.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
    })
}

fn is_authenticated(line: &Received<'_>) -> bool {
    matches!(
        line.with(),
        Some(
            Protocol::ESMTPA
                | Protocol::ESMTPSA
                | Protocol::UTF8SMTPA
                | Protocol::UTF8SMTPSA
                | Protocol::LMTPA
                | Protocol::LMTPSA
                | Protocol::UTF8LMTPA
                | Protocol::UTF8LMTPSA
        )
    )
}

/// Whether it came from the machine that took it: from a loopback address, from itself, or from a user there.
fn is_this_machine(line: &Received<'_>, by: &str) -> bool {
    let loopback = line.from_ip().is_some_and(|address| address.is_loopback());
    // Servers note the address of whoever connects; a name without one, and without a dot, is a user's ("from root",
    // "from userid 0").
    let user = |from: &str| from == by || !from.contains('.');
    let inside = line.from_ip().is_none() && line.from().map(name).is_none_or(|from| user(&from));
    loopback || (inside && (line.from().is_some() || line.id().is_some()))
}

/// Addresses that have no meaning outside an organisation.
fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn name(host: &Host<'_>) -> String {
    let text = match host {
        Host::Name(name) => name.to_lowercase(),
        Host::IpAddr(address) => address.to_string(),
    };
    let text = text.trim_end_matches('.');
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

fn sender(line: &Received<'_>) -> Option<String> {
    let own = line.from_iprev().map(str::to_lowercase).or_else(|| line.from().map(name));
    let own = own.map(|own| own.chars().filter(|c| !c.is_control()).take(LONGEST).collect::<String>());
    match (own, line.from_ip()) {
        (Some(own), Some(address)) if own != address.to_string() => Some(format!("{own} [{address}]")),
        (own, address) => address.map(|address| format!("[{address}]")).or(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: i64 = 1_795_000_000; // 18 November 2026

    fn trace(header: &str) -> String {
        let home = Home {
            domain: "contoso.edu".into(),
            old_mx: vec!["mx1.contoso.edu".into(), "in.provider.example".into()],
            server: "imap.contoso.edu".into(),
        };
        let header: String =
            header.lines().map(|line| format!("{}\r\n", line.trim_start_matches('|'))).collect();
        let trace = home.trace(format!("{header}\r\n").as_bytes(), Timestamp::from_second(FROM).unwrap());
        format!(
            "{}, from {}, by {}",
            trace.way,
            trace.from.as_deref().unwrap_or("-"),
            trace.by.as_deref().unwrap_or("-")
        )
    }

    const LATE: &str = "Fri, 20 Nov 2026 10:00:00 +0000";

    #[test]
    fn the_old_mx_is_still_used() {
        let header = format!(
            "Received: from mx1.contoso.edu ([10.0.0.5])\n\tby imap.contoso.edu with LMTP id 1; {LATE}\n\
             Received: from mail.fabrikam.com (mail.fabrikam.com [203.0.113.9])\n\tby mx1.contoso.edu (Postfix) with ESMTPS id 2; {LATE}\n\
             Received: from evil (localhost [127.0.0.1]) by laptop.contoso.edu with ESMTPSA id 3; {LATE}"
        );
        assert_eq!(trace(&header), "old MX, from mail.fabrikam.com [203.0.113.9], by mx1.contoso.edu");
        // A provider's MX outside the domain.
        let header = format!(
            "Received: from out.example.net ([198.51.100.7]) by in.provider.example with ESMTP id x; {LATE}"
        );
        assert_eq!(trace(&header), "old MX, from out.example.net [198.51.100.7], by in.provider.example");
    }

    #[test]
    fn submitted_at_the_source() {
        for (header, expected) in [
            (
                "Received: from [192.0.2.55] (dsl.example.net [192.0.2.55]) by mx1.contoso.edu (Postfix) with ESMTPSA id 1",
                "submitted locally, from dsl.example.net [192.0.2.55], by mx1.contoso.edu",
            ),
            (
                "Received: by imap.contoso.edu (Postfix, from userid 0) id 4F2",
                "submitted locally, from userid, by imap.contoso.edu",
            ),
            (
                "Received: from root by imap.contoso.edu with local (Exim 4.96) (envelope-from <root@imap.contoso.edu>) id 1a-2b",
                "submitted locally, from root, by imap.contoso.edu",
            ),
            (
                "Received: from localhost (localhost [127.0.0.1]) by imap.contoso.edu (Postfix) with ESMTP id 4",
                "submitted locally, from localhost [127.0.0.1], by imap.contoso.edu",
            ),
        ] {
            assert_eq!(trace(&format!("{header}; {LATE}")), expected);
        }
    }

    #[test]
    fn systems_that_know_the_old_server_by_name() {
        for (header, expected) in [
            (
                "Received: from printer.contoso.edu ([10.1.2.3]) by mx1.contoso.edu (Postfix) with ESMTP id 1",
                "connects directly, from printer.contoso.edu [10.1.2.3], by mx1.contoso.edu",
            ),
            (
                "Received: from crm.saas.example (crm.saas.example [203.0.113.77]) by imap.contoso.edu with ESMTP id 1",
                "connects directly, from crm.saas.example [203.0.113.77], by imap.contoso.edu",
            ),
        ] {
            assert_eq!(trace(&format!("{header}; {LATE}")), expected);
        }
    }

    #[test]
    fn what_did_not_come_from_outside() {
        let line = |from: &str, by: &str| {
            format!("Received: from {from} by {by} with ESMTP id 1; Mon, 2 Nov 2026 10:00:00 +0000\n")
        };
        let taken = line("mail.fabrikam.com ([203.0.113.9])", "mx1.contoso.edu");
        let trace_of = |rest: &str| trace(&format!("{taken}{rest}"));
        let moved = "moved by a client, from mail.fabrikam.com [203.0.113.9], by mx1.contoso.edu";
        assert_eq!(trace_of(&line("desk.fabrikam.com ([10.1.1.1])", "mail.fabrikam.com")), moved);
        // The old server's clock may be days behind: what was on its way lately, or went no way at all, is mail.
        let late = "old MX, from mail.fabrikam.com [203.0.113.9], by mx1.contoso.edu";
        let desk = "Received: from desk.fabrikam.com ([10.1.1.1]) by mail.fabrikam.com with ESMTP id 1";
        assert_eq!(trace_of(&format!("{desk}; {LATE}")), late);
        assert_eq!(trace_of(""), late);
        assert_eq!(trace("Message-ID: <1@x>"), "put there by a client, from -, by -");
        assert!(!Way::Moved.is_delivery() && Way::Appended.is_delivery() && Way::Unclear.is_delivery());
    }

    #[test]
    fn what_office_365_delivered_has_its_line_on_top() {
        let delivered = |header: &str| is_of_office365(header.as_bytes());
        let theirs = "Received: from AM0PR01MB1.eurprd01.prod.exchangelabs.com (2603:10a6::1) by\r\n \
                      DB7PR01MB2.eurprd01.prod.outlook.com with HTTPS; Mon, 2 Nov 2026 10:00:00 +0000\r\n";
        let old =
            "Received: from a.example by mx1.contoso.edu with ESMTP; Mon, 2 Nov 2026 10:00:00 +0000\r\n";
        assert!(delivered(&format!("{theirs}{old}\r\n")));
        assert!(!delivered(&format!("{old}{theirs}\r\n")), "the old server took it after that");
        assert!(delivered(&format!(
            "{}\r\n",
            theirs.replace("eurprd01.prod.outlook.com", "x.PROD.Partner.Outlook.cn")
        )));
        for not in ["outlook.com.evil.example", "notoutlook.com", "mail.contoso.edu"] {
            assert!(
                !delivered(&format!("{}\r\n", theirs.replace("DB7PR01MB2.eurprd01.prod.outlook.com", not))),
                "{not}"
            );
        }
        assert!(!delivered("\r\n") && !delivered("Received: nonsense\r\n\r\n"));
    }

    #[test]
    fn a_name_that_a_stranger_gives_itself_proves_nothing() {
        let header = format!(
            "Received: from mx1.contoso.edu (unknown [203.0.113.66]) by mx1.contoso.edu with ESMTP id 1; {LATE}\n\
             Received: from x (localhost [127.0.0.1]) by imap.contoso.edu with ESMTP id 2; {LATE}"
        );
        assert!(trace(&header).starts_with("old MX, from "), "{}", trace(&header));
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_read_breaks_it(text in "[ -~\r\n\t]{0,400}", bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let home = Home { domain: "contoso.edu".into(), ..Home::default() };
            let mut header = b"Received: ".to_vec();
            header.extend(text.bytes());
            header.extend(bytes);
            let trace = home.trace(&header, Timestamp::from_second(FROM).unwrap());
            let longest = |text: &Option<String>| text.as_ref().map_or(0, |text| text.chars().count());
            assert!(longest(&trace.from) <= LONGEST + 50 && longest(&trace.by) <= LONGEST);
            assert!(!trace.from.iter().chain(&trace.by).any(|text| text.chars().any(char::is_control)));
        }
    }
}
