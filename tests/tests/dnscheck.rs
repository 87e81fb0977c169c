//! The DNS check against real servers.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use mailferry_dnscheck::{
    AdviceKind, Checker, Config, Failure, Observation, Outcome, Role, Transport, Verdict, clock,
};
use mailferry_tests::dns::{Authority, Dns, Secondary, Software};
use mailferry_tests::place::{free_port, loopback};

const DOMAIN: &str = "contoso.edu";
const OFFICE_365: &str = "0 contoso-edu.mail.protection.outlook.com.";
const TIMEOUT: Duration = Duration::from_millis(300);

fn config(dns: &Dns) -> Config {
    Config { roots: dns.roots(), name_servers: dns.name_servers(), timeout: TIMEOUT, ..Config::default() }
}

async fn check(config: Config) -> Observation {
    Checker::new(config).check(DOMAIN, &["mail.contoso.edu".to_owned()]).await
}

fn told(observation: &Observation, kind: AdviceKind) -> Vec<&str> {
    let advice = observation.advice.iter().filter(|advice| advice.kind == kind);
    advice.map(|advice| advice.text.as_str()).collect()
}

/// A name server that takes datagrams and never answers.
fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn source_then_switched() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Present).unwrap();
    let resolvers = vec![dns.primary.address()];
    let before = check(Config { resolvers: resolvers.clone(), ..config(&dns) }).await;
    assert_eq!(before.verdict, Verdict::Source, "{before:#?}");
    assert_eq!(before.zone.as_ref().unwrap().as_str(), DOMAIN);
    let servers: Vec<_> = before.answers.iter().map(|answer| answer.server.as_str()).collect();
    assert_eq!(servers, ["ns1.contoso.edu", "ns2.contoso.edu", &resolvers[0].to_string()]);
    assert!(before.answers.iter().all(|answer| answer.ttl == Some(3600) && answer.authoritative));
    let line = format!(
        "  authoritative ns1.contoso.edu ({}): 10 mail.contoso.edu, TTL 3600 s, serial 2, at ",
        dns.primary.address()
    );
    assert!(before.lines().iter().any(|shown| shown.starts_with(&line)), "{:#?}", before.lines());

    dns.set_mx(DOMAIN, 300, &[OFFICE_365]).unwrap();
    let after = check(Config { resolvers, ..config(&dns) }).await;
    assert_eq!(after.verdict, Verdict::Office365, "{after:#?}");
    let serial = dns.primary.serial(DOMAIN);
    assert!(after.answers[..2].iter().all(|answer| answer.serial == serial && answer.ttl == Some(300)));
    let json = serde_json::to_string(&after).unwrap();
    assert_eq!(serde_json::from_str::<Observation>(&json).unwrap(), after);
}

#[tokio::test]
async fn leftover_record_is_mixed_with_advice() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Absent).unwrap();
    dns.set_mx(DOMAIN, 3600, &[OFFICE_365, "50 mail"]).unwrap();
    let observation = check(config(&dns)).await;
    assert_eq!(observation.verdict, Verdict::Mixed);
    assert_eq!(
        told(&observation, AdviceKind::LeftoverMx),
        ["the MX record `50 mail.contoso.edu` is left: mail may still go there"]
    );
}

#[tokio::test]
async fn stale_secondary_is_mixed() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Present).unwrap();
    dns.set_mx_at_primary(DOMAIN, 3600, &[OFFICE_365]).unwrap();
    let stale = check(config(&dns)).await;
    assert_eq!(stale.verdict, Verdict::Mixed);
    assert_eq!(
        told(&stale, AdviceKind::Delegation),
        ["the servers hold different versions of the zone: ns2.contoso.edu at 2; ns1.contoso.edu at 3"]
    );
    dns.refresh_secondary().unwrap();
    assert_eq!(check(config(&dns)).await.verdict, Verdict::Office365);
}

#[tokio::test]
async fn resolver_that_still_gives_the_old_record_is_mixed() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Present).unwrap();
    dns.set_mx(DOMAIN, 3600, &[OFFICE_365]).unwrap();
    let stale = Dns::start(&[DOMAIN], Secondary::Absent).unwrap();
    let resolvers = vec![dns.primary.address(), stale.primary.address()];
    assert_eq!(check(Config { resolvers, ..config(&dns) }).await.verdict, Verdict::Mixed);
}

#[tokio::test]
async fn server_without_its_zone_is_unknown() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Present).unwrap();
    dns.set_mx(DOMAIN, 3600, &[OFFICE_365]).unwrap();
    dns.secondary.as_mut().unwrap().break_zone(DOMAIN).unwrap();
    let observation = check(config(&dns)).await;
    assert_eq!(observation.answers[1].outcome, Outcome::Failed(Failure::Code("SERVFAIL".into())));
    assert_eq!(observation.verdict, Verdict::Unknown, "{observation:#?}");

    // The parent's server answers for its own zone, and was never told of this one.
    let mut lame = config(&dns);
    lame.name_servers.insert("ns2.contoso.edu".into(), dns.parent.address());
    let observation = check(lame).await;
    assert_eq!(observation.answers[1].outcome, Outcome::Failed(Failure::Lame));
    assert_eq!(observation.verdict, Verdict::Unknown, "{observation:#?}");
}

#[tokio::test]
async fn silent_server_is_unknown_and_bounded_in_time() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Present).unwrap();
    dns.set_mx(DOMAIN, 3600, &[OFFICE_365]).unwrap();
    let (_socket, address) = silent();
    let mut config = config(&dns);
    config.name_servers.insert("ns2.contoso.edu".into(), address);
    config.resolvers = vec![address, dns.primary.address()];
    let started = Instant::now();
    let observation = check(config.clone()).await;
    assert_eq!(observation.verdict, Verdict::Unknown);
    let silence = Outcome::Failed(Failure::Io("connection refused".into()));
    assert_eq!(observation.answers[1].outcome, silence, "TCP is tried at last");
    assert!(started.elapsed() < TIMEOUT * 20, "{:?}", started.elapsed());

    // Nobody at all: neither the roots nor a resolver.
    config.roots = vec![address];
    config.resolvers = vec![address];
    let observation = check(config).await;
    assert_eq!(observation.verdict, Verdict::Unknown);
    assert!(matches!(observation.answers[0].outcome, Outcome::Failed(Failure::Walk(_))), "{observation:#?}");
}

#[tokio::test]
async fn none_null_and_names_below_the_zone() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Absent).unwrap();
    dns.set_mx(DOMAIN, 3600, &[]).unwrap();
    let none = check(config(&dns)).await;
    assert_eq!((none.verdict, &none.answers[0].outcome), (Verdict::None, &Outcome::NoMx));
    assert_eq!(none.answers[0].ttl, Some(300), "the zone's negative TTL");
    dns.set_mx(DOMAIN, 3600, &["0 ."]).unwrap();
    assert_eq!(check(config(&dns)).await.verdict, Verdict::Null);

    dns.primary.change(DOMAIN).set("students", "MX", 60, &[OFFICE_365]).apply().unwrap();
    let checker = Checker::new(config(&dns));
    let below = checker.check("Students.Contoso.EDU.", &[]).await;
    assert_eq!(below.verdict, Verdict::Office365, "{below:#?}");
    assert_eq!((below.domain.as_str(), below.zone.unwrap().as_str()), ("students.contoso.edu", DOMAIN));
    let missing = checker.check("nobody.contoso.edu", &[]).await;
    assert_eq!((missing.verdict, &missing.answers[0].outcome), (Verdict::None, &Outcome::NoSuchName));
    let elsewhere = checker.check("contoso.example", &[]).await;
    assert_eq!(elsewhere.verdict, Verdict::Unknown, "{elsewhere:#?}");
    let international = checker.check("MÜNCHEN.edu", &[]).await;
    assert_eq!(international.domain.as_str(), "xn--mnchen-3ya.edu");
    assert_eq!(international.verdict, Verdict::None, "{international:#?}");
    for nonsense in ["", ".", "a..b", &"x".repeat(70), "user@contoso.edu"] {
        let verdict = checker.check(nonsense, &[]).await.verdict;
        assert!(matches!(verdict, Verdict::Unknown | Verdict::None), "{nonsense}: {verdict}");
    }
}

#[tokio::test]
async fn zone_below_on_the_same_server_and_on_another() {
    let dns = Dns::start(&[DOMAIN], Secondary::Absent).unwrap();
    // Holds parent and child, so that it never shows the delegation between them.
    let mut both = Authority::start(Software::Knot, &[DOMAIN, "same.contoso.edu"]).unwrap();
    let mut other = Authority::start(Software::Knot, &["other.contoso.edu"]).unwrap();
    both.change(DOMAIN)
        .set("same", "NS", 60, &["ns1.same"])
        .set("other", "NS", 60, &["ns1.other"])
        .set("ns1.other", "A", 60, &["127.0.0.1"])
        .apply()
        .unwrap();
    both.change("same.contoso.edu").set("@", "MX", 60, &[OFFICE_365]).apply().unwrap();
    other.change("other.contoso.edu").set("@", "MX", 60, &[OFFICE_365]).apply().unwrap();
    let mut config = config(&dns);
    for (host, server) in [("ns1", &both), ("ns1.same", &both), ("ns1.other", &other)] {
        config.name_servers.insert(format!("{host}.contoso.edu"), server.address());
    }
    // A walk that begins one zone lower must come to the same.
    let lower = Config { roots: vec![both.address()], ..config.clone() };
    for checker in [Checker::new(config), Checker::new(lower)] {
        for (domain, server) in [("same.contoso.edu", both.address()), ("other.contoso.edu", other.address())]
        {
            let observation = checker.check(domain, &[]).await;
            assert_eq!(observation.verdict, Verdict::Office365, "{observation:#?}");
            assert_eq!(observation.zone.unwrap().as_str(), domain);
            assert_eq!(observation.answers[0].address, Some(server));
        }
    }
}

#[tokio::test]
async fn many_records_come_over_tcp() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Absent).unwrap();
    let label = "x".repeat(40);
    let many: Vec<String> =
        (0..80).map(|n| format!("{n} {label}{n}.{label}.contoso-edu.mail.protection.outlook.com.")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    dns.set_mx(DOMAIN, 3600, &many).unwrap();
    let observation = check(config(&dns)).await;
    assert_eq!(observation.verdict, Verdict::Office365);
    let answer = &observation.answers[0];
    assert_eq!(answer.transport, Some(Transport::Tcp));
    assert!(matches!(&answer.outcome, Outcome::Records(records) if records.len() == 80));
}

#[tokio::test]
async fn advice_on_alias_spf_and_autodiscover() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Absent).unwrap();
    dns.primary
        .change(DOMAIN)
        .set("mx", "CNAME", 60, &["mail"])
        .set("@", "MX", 86_400, &["10 mx", "20 gone", "30 mail"])
        .set("@", "TXT", 60, &["\"v=spf1 mx\" \" -all\"", "\"something else\""])
        .set("autodiscover", "CNAME", 60, &["autodiscover.outlook.com."])
        .apply()
        .unwrap();
    let observation = check(config(&dns)).await;
    assert_eq!(observation.verdict, Verdict::Source);
    assert_eq!(
        told(&observation, AdviceKind::MxTarget),
        [
            "MX target gone.contoso.edu has no address: no mail can arrive there",
            "MX target mx.contoso.edu is an alias of mail.contoso.edu, which RFC 2181 forbids: some senders deliver nothing",
            "contoso.edu's MX at Office 365 cannot be derived from its name (new ones are below mx.microsoft)",
        ]
    );
    assert_eq!(
        told(&observation, AdviceKind::Spf),
        ["the SPF record `v=spf1 mx -all` does not lead to `include:spf.protection.outlook.com`"]
    );
    assert!(told(&observation, AdviceKind::Autodiscover).is_empty());
    assert_eq!(told(&observation, AdviceKind::Ttl).len(), 1);
}

#[tokio::test]
async fn glue_on_both_families_and_servers_named_elsewhere() {
    // One port on three addresses, as name servers have it in the world: no address book.
    let port = free_port().unwrap();
    let at = |ip: IpAddr| SocketAddr::new(ip, port);
    let (parent, child, six) = (
        at(Ipv4Addr::new(127, 0, 0, 1).into()),
        at(Ipv4Addr::new(127, 0, 0, 2).into()),
        at(Ipv6Addr::LOCALHOST.into()),
    );
    let mut parent = Authority::start_at(Software::Knot, parent, &["edu", "com"]).unwrap();
    let mut child = Authority::start_at(Software::Knot, child, &[DOMAIN, "fabrikam.com"]).unwrap();
    let mut six = Authority::start_at(Software::Knot, six, &[DOMAIN, "fabrikam.com"]).unwrap();
    // contoso.edu is served by hosts of fabrikam.com, for which no glue can be given in `edu`.
    parent.change("edu").set("contoso", "NS", 60, &["dns.fabrikam.com."]).apply().unwrap();
    parent
        .change("com")
        .set("fabrikam", "NS", 60, &["ns1.fabrikam"])
        .set("ns1.fabrikam", "A", 60, &["127.0.0.2"])
        .set("ns1.fabrikam", "AAAA", 60, &["::1"])
        .apply()
        .unwrap();
    for server in [&mut child, &mut six] {
        server
            .change(DOMAIN)
            .set("@", "NS", 60, &["dns.fabrikam.com."])
            .set("@", "MX", 60, &[OFFICE_365])
            .apply()
            .unwrap();
        server
            .change("fabrikam.com")
            .set("dns", "A", 60, &["127.0.0.2"])
            .set("dns", "AAAA", 60, &["::1"])
            .set("@", "CNAME", 60, &[])
            .set("mail", "CNAME", 60, &["contoso.edu."])
            .set("@", "MX", 60, &["10 contoso-edu.mail.protection.outlook.com."])
            .apply()
            .unwrap();
    }
    let config = Config { roots: vec![parent.address()], port, timeout: TIMEOUT, ..Config::default() };
    let checker = Checker::new(config);
    let asked = |observation: &Observation| {
        observation.answers.iter().filter_map(|answer| answer.address).collect::<BTreeSet<_>>()
    };
    let both = BTreeSet::from([child.address(), six.address()]);
    for domain in [DOMAIN, "fabrikam.com", "mail.fabrikam.com"] {
        let observation = checker.check(domain, &[]).await;
        assert_eq!(observation.verdict, Verdict::Office365, "{observation:#?}");
        assert_eq!(asked(&observation), both, "{observation:#?}");
    }
    // An alias that leaves its zone was followed to where the MX is.
    let alias = checker.check("mail.fabrikam.com", &[]).await;
    assert!(alias.answers.iter().all(|answer| answer.name.as_str() == DOMAIN), "{alias:#?}");

    // One of the two addresses is left behind.
    six.change(DOMAIN).set("@", "MX", 60, &["10 mail.contoso.edu."]).apply().unwrap();
    assert_eq!(checker.check(DOMAIN, &[]).await.verdict, Verdict::Mixed);
}

#[tokio::test]
async fn server_that_only_the_zone_names_is_heard() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Absent).unwrap();
    dns.set_mx(DOMAIN, 60, &[OFFICE_365]).unwrap();
    let hidden = Authority::start(Software::Knot, &[DOMAIN]).unwrap();
    dns.primary.change(DOMAIN).set("@", "NS", 60, &["ns1", "ns9"]).apply().unwrap();
    let mut config = config(&dns);
    config.name_servers.insert("ns9.contoso.edu".into(), hidden.address());
    let observation = check(config).await;
    assert_eq!(observation.verdict, Verdict::Mixed, "ns9 has no MX");
    assert_eq!(
        told(&observation, AdviceKind::Delegation)[0],
        "the parent names ns1.contoso.edu; the zone names ns1.contoso.edu, ns9.contoso.edu"
    );
}

#[tokio::test]
async fn operator_pins_and_accepts() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Absent).unwrap();
    dns.set_mx(DOMAIN, 60, &["10 mxa.pphosted.com.", "10 mxb.pphosted.com."]).unwrap();
    assert_eq!(check(config(&dns)).await.verdict, Verdict::Source);
    let accept = vec!["*.PPhosted.com".to_owned()];
    assert_eq!(check(Config { accept, ..config(&dns) }).await.verdict, Verdict::Filtered);

    dns.set_mx(DOMAIN, 60, &[OFFICE_365]).unwrap();
    let pin = |host: &str| [("Contoso.edu".to_owned(), host.to_owned())].into();
    let right = pin("contoso-edu.mail.protection.outlook.com");
    assert_eq!(check(Config { expect: right, ..config(&dns) }).await.verdict, Verdict::Office365);
    let wrong = pin("contoso-edu.o-v1.mx.microsoft");
    assert_eq!(check(Config { expect: wrong, ..config(&dns) }).await.verdict, Verdict::Source);
}

#[tokio::test]
async fn many_domains_in_order_and_clock_over_them() {
    let names: Vec<String> = (0..20).map(|n| format!("d{n}.edu")).collect();
    let domains: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut dns = Dns::start(&domains, Secondary::Absent).unwrap();
    let checker = Checker::new(config(&dns));
    let mut recorded = vec![checker.check_all(&names, &[]).await];
    dns.set_mx("d7.edu", 60, &[OFFICE_365]).unwrap();
    recorded.push(checker.check_all(&names, &[]).await);
    recorded.push(checker.check_all(&names, &[]).await);
    let rules = clock::Rules { wait: Duration::ZERO, ..clock::Rules::default() };
    for (index, name) in names.iter().enumerate() {
        let course: Vec<&Observation> = recorded.iter().map(|all| &all[index]).collect();
        assert!(course.iter().all(|observation| observation.domain.as_str() == name));
        assert!(course.iter().all(|observation| observation.answers[0].role == Role::Authoritative));
        let steady = |one: &Observation| one.at.duration_since(course[0].at);
        let mut clock = clock::Course::default();
        course.iter().for_each(|one| clock.observe(one, steady(one), &rules));
        let clock = clock.read(clock::Moment { at: course[2].at, steady: steady(course[2]) }, &rules);
        // The old record's TTL of an hour is not over, however short the wait.
        assert!(!clock.is_confirmed());
        assert_eq!(clock.since.map(|since| since.at), (name == "d7.edu").then_some(course[1].at));
        assert_eq!(clock.required.as_secs(), 3600);
    }
}

#[tokio::test]
async fn restarted_server_keeps_its_port() {
    let knot = Authority::start(Software::Knot, &[DOMAIN]).unwrap();
    let address = knot.address();
    drop(knot);
    let again = Authority::start_at(Software::Knot, address, &[DOMAIN]).unwrap();
    assert_eq!(again.address(), loopback(address.port()));
}

#[tokio::test]
async fn resolvers_are_heard_with_codes_ttls_and_over_tcp() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Absent).unwrap();
    let resolvers = vec![dns.primary.address()];
    let config = |dns: &Dns| Config { resolvers: resolvers.clone(), ..config(dns) };
    let label = "x".repeat(40);
    let many: Vec<String> =
        (0..80).map(|n| format!("{n} {label}{n}.{label}.contoso-edu.mail.protection.outlook.com.")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    dns.set_mx(DOMAIN, 604_800, &many).unwrap();
    let observation = check(config(&dns)).await;
    assert_eq!(observation.verdict, Verdict::Office365, "{observation:#?}");
    let [server, resolver] = &observation.answers[..] else { panic!("{observation:#?}") };
    assert_eq!((resolver.role, resolver.transport), (Role::Resolver, Some(Transport::Tcp)));
    assert_eq!((&resolver.outcome, resolver.ttl), (&server.outcome, Some(604_800)));

    dns.set_mx(DOMAIN, 3600, &[]).unwrap();
    let observation = check(config(&dns)).await;
    let resolver = &observation.answers[1];
    assert_eq!((&resolver.outcome, resolver.ttl), (&Outcome::NoMx, Some(300)));
    let observation = Checker::new(config(&dns)).check("nobody.contoso.edu", &[]).await;
    let resolver = &observation.answers[1];
    assert_eq!((&resolver.outcome, resolver.ttl), (&Outcome::NoSuchName, Some(300)));

    // The library's negative answer does not show the alias that leads to it.
    dns.primary
        .change(DOMAIN)
        .set("@", "MX", 60, &["10 mx"])
        .set("mx", "CNAME", 60, &["gone"])
        .apply()
        .unwrap();
    assert_eq!(
        told(&check(config(&dns)).await, AdviceKind::MxTarget)[0],
        "MX target mx.contoso.edu is an alias of gone.contoso.edu, which RFC 2181 forbids: some senders deliver nothing"
    );

    // An answer of all servers, and a resolver that has none: not certain.
    dns.set_mx(DOMAIN, 3600, &[OFFICE_365]).unwrap();
    let mut broken = Dns::start(&[DOMAIN], Secondary::Absent).unwrap();
    broken.primary.break_zone(DOMAIN).unwrap();
    let resolvers = vec![broken.primary.address()];
    let observation = check(Config { resolvers, ..config(&dns) }).await;
    assert_eq!(observation.answers[1].outcome, Outcome::Failed(Failure::Code("SERVFAIL".into())));
    assert_eq!(observation.verdict, Verdict::Unknown, "{observation:#?}");
}
