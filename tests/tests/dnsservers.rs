//! The DNS check against three authoritative servers by different hands, and seen through a real resolver.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use mailferry_dnscheck::{
    AdviceKind, Checker, Config, Failure, Observation, Outcome, Role, Transport, Verdict,
};
use mailferry_tests::dns::{Dns, Recursive, Secondary, Software, View};

const TIMEOUT: Duration = Duration::from_millis(700);
const OFFICE_365: &str = "0 contoso-edu.mail.protection.outlook.com.";

/// A zone's content and what must be said of it. The MX data are as in a zone file.
struct Row {
    domain: &'static str,
    mx: &'static [&'static str],
    more: &'static [(&'static str, &'static str, &'static [&'static str])],
    verdict: Verdict,
    /// Advice that must be given, among others.
    advice: Option<(AdviceKind, &'static str)>,
}

const fn row(domain: &'static str, mx: &'static [&'static str], verdict: Verdict) -> Row {
    Row { domain, mx, more: &[], verdict, advice: None }
}

const ROWS: &[Row] = &[
    row("worldwide.edu", &["0 worldwide-edu.mail.protection.outlook.com."], Verdict::Office365),
    row("capitals.edu", &["0 CAPITALS-edu.Mail.Protection.OUTLOOK.com."], Verdict::Office365),
    row("dane.edu", &["0 dane-edu.e-v1.mx.microsoft."], Verdict::Office365),
    row("government.edu", &["0 government-edu.mail.protection.office365.us."], Verdict::Office365),
    row("china.edu", &["0 china-edu.mail.protection.partner.outlook.cn."], Verdict::Office365),
    row("legacy.edu", &["0 legacy-edu.mail.eo.outlook.com."], Verdict::Office365),
    row(
        "two-hosts.edu",
        &["0 two-hosts-edu.mail.protection.outlook.com.", "10 two-hosts-edu.e-v1.mx.microsoft."],
        Verdict::Office365,
    ),
    row("filter.edu", &["10 mxa.filter.example.", "10 mxb.filter.example."], Verdict::Filtered),
    row("filter-and.edu", &["0 x.mail.protection.outlook.com.", "5 mxa.filter.example."], Verdict::Filtered),
    row("old.edu", &["10 mail"], Verdict::Source),
    row("consumer.edu", &["0 consumer-edu.olc.protection.outlook.com."], Verdict::Source),
    row("proof.edu", &["32767 ms12345678.msv1.invalid."], Verdict::Source),
    row("germany.edu", &["0 germany-edu.mail.protection.outlook.de."], Verdict::Source),
    row("apex.edu", &["0 mail.protection.outlook.com."], Verdict::Source),
    row("apex-dane.edu", &["0 mx.microsoft."], Verdict::Source),
    row("suffix.edu", &["0 suffix-edu.mail.protection.outlook.com.evil.example."], Verdict::Source),
    row("prefix.edu", &["0 xmail.protection.outlook.com."], Verdict::Source),
    row("glued.edu", &["0 glued-edu.xmail.protection.outlook.com."], Verdict::Source),
    row("dotted.edu", &["0 dotted\\.mail.protection.outlook.com."], Verdict::Source),
    row("relative.edu", &["0 relative-edu.mail.protection.outlook.com"], Verdict::Source),
    row("nofilter.edu", &["10 mxa.notfilter.example."], Verdict::Source),
    row("mixed.edu", &["0 mixed-edu.mail.protection.outlook.com.", "50 mail"], Verdict::Mixed),
    row("mixed-proof.edu", &["0 x.mail.protection.outlook.com.", "32767 ms1.msv1.invalid."], Verdict::Mixed),
    row("mixed-null.edu", &["0 .", "10 mixed-null-edu.mail.protection.outlook.com."], Verdict::Mixed),
    row("null.edu", &["0 ."], Verdict::Null),
    row("none.edu", &[], Verdict::None),
    Row {
        domain: "implicit.edu",
        mx: &[],
        more: &[("@", "A", &["127.0.0.1"])],
        verdict: Verdict::None,
        advice: Some((AdviceKind::ImplicitMx, "implicit.edu has no MX but an address")),
    },
    Row {
        domain: "alias-target.edu",
        mx: &["10 mx"],
        more: &[("mx", "CNAME", &["alias-target-edu.mail.protection.outlook.com."])],
        verdict: Verdict::Source,
        advice: Some((
            AdviceKind::MxTarget,
            "MX target mx.alias-target.edu is an alias of alias-target-edu.mail.protection.outlook.com",
        )),
    },
    Row {
        domain: "gone-target.edu",
        mx: &["10 nobody"],
        more: &[],
        verdict: Verdict::Source,
        advice: Some((AdviceKind::MxTarget, "MX target nobody.gone-target.edu has no address")),
    },
    Row {
        domain: "spf-two.edu",
        mx: &["10 mail"],
        more: &[("@", "TXT", &["\"v=spf1 -all\"", "\"v=spf1 mx -all\"", "\"other\""])],
        verdict: Verdict::Source,
        advice: Some((AdviceKind::Spf, "there are 2 SPF records")),
    },
    Row {
        domain: "spf-deep.edu",
        mx: &["10 mail"],
        more: &[
            (
                "@",
                "TXT",
                &["\"v=spf1 a mx include:one.spf-deep.edu a:x.example exists:y.example \" \"ptr -all\""],
            ),
            ("one", "TXT", &["\"v=spf1 include:two.spf-deep.edu a a a ~all\""]),
            ("two", "TXT", &["\"v=spf1 mx a ?all\""]),
        ],
        verdict: Verdict::Source,
        advice: Some((AdviceKind::Spf, "the SPF record needs 12 look-ups")),
    },
    Row {
        domain: "signed-half.edu",
        mx: &["10 mail"],
        more: &[],
        verdict: Verdict::Source,
        advice: Some((AdviceKind::Dnssec, "the parent has a DS record, and the zone no DNSKEY")),
    },
];

const DS: &str = "12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn config(dns: &Dns, resolvers: Vec<SocketAddr>) -> Config {
    Config {
        roots: dns.roots(),
        name_servers: dns.name_servers(),
        resolvers,
        accept: vec!["filter.example".into()],
        timeout: TIMEOUT,
        ..Config::default()
    }
}

fn seen_through(domains: &[&str], servers: &[SocketAddr]) -> Recursive {
    let zones: Vec<_> = domains.iter().map(|domain| (*domain, View::Servers(servers.to_vec()))).collect();
    Recursive::start(&zones).unwrap()
}

fn told(observation: &Observation, kind: AdviceKind) -> Vec<&str> {
    let advice = observation.advice.iter().filter(|advice| advice.kind == kind);
    advice.map(|advice| advice.text.as_str()).collect()
}

/// The answers, authoritative ones first, by what they are.
fn outcomes(observation: &Observation) -> Vec<&Outcome> {
    observation.answers.iter().map(|answer| &answer.outcome).collect()
}

async fn every_row(software: Software) {
    let domains: Vec<&str> = ROWS.iter().map(|row| row.domain).collect();
    let mut dns = Dns::start_with(software, &domains, Secondary::Absent).unwrap();
    for row in ROWS {
        let mut change = dns.primary.change(row.domain).set("@", "MX", 600, row.mx);
        for (owner, kind, data) in row.more {
            change = change.set(owner, kind, 600, data);
        }
        change.apply().unwrap();
    }
    dns.parent.change("edu").set("signed-half", "DS", 3600, &[DS]).apply().unwrap();
    let resolver = seen_through(&domains, &[dns.primary.address()]);
    let checker = Checker::new(config(&dns, vec![resolver.address()]));
    let names: Vec<String> = domains.iter().map(ToString::to_string).collect();
    let observations = checker.check_all(&names, &[]).await;
    assert_eq!(observations.len(), ROWS.len());
    for (row, seen) in ROWS.iter().zip(&observations) {
        let context = format!("{software:?} {}: {seen:#?}", row.domain);
        assert_eq!(seen.domain.as_str(), row.domain, "{context}");
        assert_eq!(seen.verdict, row.verdict, "{context}");
        let [server, resolver] = &seen.answers[..] else { panic!("{context}") };
        assert_eq!((server.role, resolver.role), (Role::Authoritative, Role::Resolver), "{context}");
        assert!(server.authoritative && !resolver.authoritative, "{context}");
        assert_eq!(server.serial, dns.primary.serial(row.domain), "{context}");
        match (&server.outcome, &resolver.outcome) {
            (Outcome::Records(inside), Outcome::Records(outside)) => {
                let hosts = |records: &[mailferry_dnscheck::MxRecord]| {
                    records.iter().map(|mx| (mx.preference, mx.host.clone())).collect::<Vec<_>>()
                };
                assert_eq!(hosts(inside), hosts(outside), "{context}");
                assert!(outside.iter().all(|mx| mx.ttl <= 600), "{context}");
            }
            (inside, outside) => assert_eq!(inside, outside, "{context}"),
        }
        if let Some((kind, text)) = row.advice {
            let told = told(seen, kind);
            assert!(told.iter().any(|told| told.starts_with(text)), "{told:?} {context}");
        }
        assert!(seen.advice.iter().all(|advice| !advice.next.is_empty()), "{context}");
    }
}

#[tokio::test]
async fn every_row_on_knot() {
    every_row(Software::Knot).await;
}

#[tokio::test]
async fn every_row_on_nsd() {
    every_row(Software::Nsd).await;
}

#[tokio::test]
async fn every_row_on_bind() {
    every_row(Software::Bind).await;
}

/// `ns1` on one software and `ns2` on the next: whatever is wrong with one of them keeps `office365` away.
#[tokio::test]
async fn faults_of_one_server_on_each_software() {
    const DOMAINS: [&str; 7] =
        ["well.edu", "stale.edu", "lame.edu", "broken.edu", "silent.edu", "dead.edu", "large.edu"];
    for software in Software::ALL {
        let mut dns = Dns::start_with(software, &DOMAINS, Secondary::Present).unwrap();
        for domain in DOMAINS {
            dns.set_mx_at_primary(domain, 600, &[OFFICE_365]).unwrap();
        }
        let label = "x".repeat(40);
        let many: Vec<String> = (0..80)
            .map(|n| format!("{n} {label}{n}.{label}.contoso-edu.mail.protection.outlook.com."))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        dns.set_mx_at_primary("large.edu", 600, &many).unwrap();
        let secondary = dns.secondary.as_mut().unwrap();
        for domain in DOMAINS.into_iter().filter(|domain| *domain != "stale.edu") {
            secondary.copy_zone(domain, &dns.primary).unwrap();
        }
        secondary.break_zone("broken.edu").unwrap();

        let silence = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let resolver = seen_through(&DOMAINS, &[dns.primary.address()]);
        let mut config = config(&dns, vec![resolver.address()]);
        // The parent's server knows of lame.edu, and does not hold it.
        config.name_servers.insert("ns2.lame.edu".into(), dns.parent.address());
        config.name_servers.insert("ns2.silent.edu".into(), silence.local_addr().unwrap());
        config.name_servers.insert("ns2.dead.edu".into(), closed);
        let names: Vec<String> = DOMAINS.iter().map(ToString::to_string).collect();
        let seen = Checker::new(config).check_all(&names, &[]).await;
        let [well, stale, lame, broken, silent, dead, large] = &seen[..] else { panic!("{seen:#?}") };

        assert_eq!(well.verdict, Verdict::Office365, "{software:?} {well:#?}");
        assert_eq!(stale.verdict, Verdict::Mixed, "{software:?} {stale:#?}");
        let versions = stale.advice.iter().find(|advice| advice.kind == AdviceKind::Delegation).unwrap();
        assert!(versions.next.starts_with("have ns2.stale.edu transfer the zone"), "{versions:?}");
        assert_eq!(lame.verdict, Verdict::Unknown, "{software:?} {lame:#?}");
        assert_eq!(outcomes(lame)[1], &Outcome::Failed(Failure::Lame), "{software:?}");
        assert_eq!(broken.verdict, Verdict::Unknown, "{software:?} {broken:#?}");
        assert_eq!(outcomes(broken)[1], &Outcome::Failed(Failure::Code("SERVFAIL".into())), "{software:?}");
        for unheard in [silent, dead] {
            assert_eq!(unheard.verdict, Verdict::Unknown, "{software:?} {unheard:#?}");
            assert!(matches!(outcomes(unheard)[1], Outcome::Failed(Failure::Io(_))), "{unheard:#?}");
            assert_eq!(told(unheard, AdviceKind::Server).len(), 1, "{unheard:#?}");
        }
        assert_eq!(large.verdict, Verdict::Office365, "{software:?} {large:#?}");
        for answer in &large.answers {
            assert_eq!(answer.transport, Some(Transport::Tcp), "{software:?} {answer:#?}");
            assert!(matches!(&answer.outcome, Outcome::Records(records) if records.len() == 80));
        }
    }
}

#[tokio::test]
async fn cache_outside_holds_the_old_record_and_servers_that_fail_are_a_servfail() {
    const DOMAINS: [&str; 3] = ["contoso.edu", "fabrikam.edu", "fine.edu"];
    for software in Software::ALL {
        let mut dns = Dns::start_with(software, &DOMAINS, Secondary::Absent).unwrap();
        let resolver = seen_through(&DOMAINS, &[dns.primary.address()]);
        let checker = Checker::new(config(&dns, vec![resolver.address()]));
        assert_eq!(checker.check("contoso.edu", &[]).await.verdict, Verdict::Source);

        dns.set_mx("contoso.edu", 300, &[OFFICE_365]).unwrap();
        let cached = checker.check("contoso.edu", &[]).await;
        assert_eq!(cached.verdict, Verdict::Mixed, "{software:?} {cached:#?}");
        let [server, outside] = &cached.answers[..] else { panic!("{cached:#?}") };
        assert_eq!(server.ttl, Some(300));
        assert!(outside.ttl.unwrap() > 300, "what is left of the old hour: {outside:?}");
        assert_eq!(cached.other_ttl, outside.ttl);
        assert_eq!(told(&cached, AdviceKind::LeftoverMx), [""; 0], "nothing is left on the server");
        let outside = cached.advice.iter().find(|advice| advice.kind == AdviceKind::Outside).unwrap();
        assert!(outside.next.starts_with("its cache lets go by "), "{outside:?}");

        let fresh = seen_through(&DOMAINS, &[dns.primary.address()]);
        let seen = Checker::new(config(&dns, vec![fresh.address()])).check("contoso.edu", &[]).await;
        assert_eq!(seen.verdict, Verdict::Office365, "{software:?} {seen:#?}");

        // One resolver that has not the old record any more is not enough while the other still has it.
        let both = Checker::new(config(&dns, vec![fresh.address(), resolver.address()]));
        assert_eq!(both.check("contoso.edu", &[]).await.verdict, Verdict::Mixed);

        dns.primary.break_zone("fabrikam.edu").unwrap();
        let seen = Checker::new(config(&dns, vec![fresh.address()])).check("fabrikam.edu", &[]).await;
        assert_eq!(seen.verdict, Verdict::Unknown, "{software:?} {seen:#?}");
        let code = |code: &str| Outcome::Failed(Failure::Code(code.into()));
        assert_eq!(outcomes(&seen).last().unwrap(), &&code("SERVFAIL"), "{software:?} {seen:#?}");
    }
}

#[tokio::test]
async fn inside_view_is_told_from_a_cache() {
    const DOMAIN: &str = "contoso.edu";
    let mut dns = Dns::start(&[DOMAIN], Secondary::Absent).unwrap();
    dns.set_mx(DOMAIN, 300, &[OFFICE_365]).unwrap();
    let own = View::Own(vec![format!("{DOMAIN}. 300 IN MX 10 mail.{DOMAIN}.")]);
    let inside = Recursive::start(&[(DOMAIN, own)]).unwrap();
    let outside = seen_through(&[DOMAIN], &[dns.primary.address()]);
    let checker = Checker::new(config(&dns, vec![inside.address(), outside.address()]));
    let seen = checker.check(DOMAIN, &[]).await;
    assert_eq!(seen.verdict, Verdict::Mixed, "{seen:#?}");
    let advice: Vec<_> = seen.advice.iter().filter(|advice| advice.kind == AdviceKind::Outside).collect();
    assert_eq!(advice.len(), 1, "{seen:#?}");
    assert!(advice[0].text.starts_with(&format!("resolver {} says `10 mail", inside.address())));
    assert!(advice[0].next.starts_with("it answers from a zone of its own (split horizon)"), "{advice:?}");
}

#[tokio::test]
async fn international_names_and_names_below() {
    const DOMAIN: &str = "xn--mnchen-3ya.edu";
    for software in Software::ALL {
        let mut dns = Dns::start_with(software, &[DOMAIN], Secondary::Absent).unwrap();
        let host = "0 xn--mnchen-3ya-edu.mail.protection.outlook.com.";
        dns.primary
            .change(DOMAIN)
            .set("@", "MX", 60, &[host])
            .set("students", "MX", 60, &[host, "10 mail"])
            .apply()
            .unwrap();
        let resolver = seen_through(&[DOMAIN], &[dns.primary.address()]);
        let expect = [("MÜNCHEN.edu".into(), "xn--mnchen-3ya-edu.mail.protection.outlook.com".into())].into();
        let checker = Checker::new(Config { expect, ..config(&dns, vec![resolver.address()]) });
        for spelling in ["münchen.edu", "MÜNCHEN.EDU.", "mu\u{308}nchen.edu", DOMAIN] {
            let seen = checker.check(spelling, &[]).await;
            assert_eq!((seen.domain.as_str(), seen.verdict), (DOMAIN, Verdict::Office365), "{seen:#?}");
        }
        let below = checker.check("students.münchen.edu", &[]).await;
        assert_eq!(below.verdict, Verdict::Mixed, "{software:?} {below:#?}");
        assert_eq!(below.zone.as_ref().unwrap().as_str(), DOMAIN);
    }
}
