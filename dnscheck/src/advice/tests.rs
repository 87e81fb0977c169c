use expect_test::{Expect, expect};

use super::*;
use crate::{Failure, Role, Transport};

fn answer(server: &str, serial: u32, records: &[(u16, &str)]) -> Answer {
    let record = |&(preference, host)| MxRecord { preference, host: HostName::from(host), ttl: 86_400 };
    Answer {
        role: Role::Authoritative,
        server: server.to_owned(),
        address: None,
        name: HostName::from("contoso.edu"),
        transport: Some(Transport::Udp),
        authoritative: true,
        outcome: Outcome::Records(records.iter().map(record).collect()),
        ttl: Some(86_400),
        serial: Some(serial),
        at: None,
    }
}

fn check(answers: &[Answer], facts: &Facts, expected: &Expect) {
    let policy = Policy::default();
    let verdict = crate::verdict::rule(answers, &policy).verdict;
    let lines: Vec<String> =
        advise(&HostName::from("contoso.edu"), Timestamp::UNIX_EPOCH, answers, verdict, &policy, facts)
            .into_iter()
            .map(|advice| format!("{:?}: {}\n  -> {}\n", advice.kind, advice.text, advice.next))
            .collect();
    expected.assert_eq(&lines.concat());
}

fn texts(texts: &[&str]) -> Facts {
    Facts { texts: Some(texts.iter().map(ToString::to_string).collect()), ..Facts::default() }
}

const GOOD: (u16, &str) = (0, "contoso-edu.mail.protection.outlook.com");

#[test]
fn nothing_to_say_when_all_is_well() {
    let facts = Facts {
        texts: Some(vec![
            "v=spf1 include:SPF.protection.outlook.com -all".into(),
            "v=spf10 is another".into(),
        ]),
        autodiscover: Some(Target::Alias(HostName::from("autodiscover.outlook.com"))),
        targets: [(HostName::from(GOOD.1), Target::Host)].into(),
        delegated: [HostName::from("ns1")].into(),
        claimed: [HostName::from("ns1")].into(),
        ..Facts::default()
    };
    check(&[answer("ns1", 1, &[GOOD])], &facts, &expect![""]);
}

#[test]
fn slow_records_and_leftovers() {
    check(
        &[answer("ns1", 1, &[(10, "mail.contoso.edu")])],
        &Facts::default(),
        &expect![[r#"
            Ttl: the MX records' TTL is 86400 s: so long caches keep the old ones after the change
              -> lower it to 3600 s now; the MX may then be changed from 1970-01-02T00:00:00Z on, later if lowered later
            MxTarget: contoso.edu's MX at Office 365 cannot be derived from its name (new ones are below mx.microsoft)
              -> take it from the Microsoft 365 admin centre (Graph: the domain's serviceConfigurationRecords), and set `dns.expect`
        "#]],
    );
    check(
        &[answer("ns1", 1, &[GOOD, (20, "mail.contoso.edu")])],
        &Facts::default(),
        &expect![[r#"
            LeftoverMx: the MX record `20 mail.contoso.edu` is left: mail may still go there
              -> delete it everywhere; caches may use it for 86400 s after that
        "#]],
    );
}

#[test]
fn spf_of_the_right_cloud() {
    let good = [answer("ns1", 1, &[GOOD])];
    check(
        &good,
        &texts(&["unrelated"]),
        &expect![[r#"
            Spf: there is no SPF record: mail that Office 365 sends may be refused
              -> add the TXT record `v=spf1 include:spf.protection.outlook.com -all`, with your other senders in it
        "#]],
    );
    check(
        &good,
        &texts(&["v=spf1 ip4:192.0.2.0/24 -all"]),
        &expect![[r#"
            Spf: the SPF record `v=spf1 ip4:192.0.2.0/24 -all` does not lead to `include:spf.protection.outlook.com`, as far as it could be followed
              -> put `include:spf.protection.outlook.com` before its `all`, before anybody sends from Office 365
        "#]],
    );
    check(
        &good,
        &texts(&["v=spf1 -all", "V=SPF1"]),
        &expect![[r#"
            Spf: there are 2 SPF records, and with more than one none is valid
              -> make them one, with `include:spf.protection.outlook.com` in it
        "#]],
    );
    let high = [answer("ns1", 1, &[(0, "contoso-edu.mail.protection.office365.us")])];
    check(
        &high,
        &texts(&["v=spf1 include:spf.protection.outlook.com -all"]),
        &expect![[r#"
            Spf: the SPF record `v=spf1 include:spf.protection.outlook.com -all` does not lead to `include:spf.protection.office365.us`, as far as it could be followed
              -> put `include:spf.protection.office365.us` before its `all`, before anybody sends from Office 365
        "#]],
    );
    let china = [answer("ns1", 1, &[(0, "contoso-edu.mail.protection.partner.outlook.cn")])];
    check(&china, &texts(&["v=spf1 include:spf.protection.partner.outlook.cn -all"]), &expect![""]);
}

#[test]
fn targets_and_autodiscover() {
    let good = [answer("ns1", 1, &[GOOD])];
    for autodiscover in [Target::Host, Target::Missing, Target::Alias(HostName::from("mail.contoso.edu"))] {
        let facts = Facts { autodiscover: Some(autodiscover), ..Facts::default() };
        assert_eq!(
            advise(
                &HostName::from("contoso.edu"),
                Timestamp::UNIX_EPOCH,
                &good,
                Verdict::Office365,
                &Policy::default(),
                &facts
            )
            .len(),
            1
        );
    }
    let facts = Facts {
        targets: [
            (HostName::from("a.example"), Target::Alias(HostName::from("b.example"))),
            (HostName::from("gone.example"), Target::Missing),
        ]
        .into(),
        ..Facts::default()
    };
    check(
        &good,
        &facts,
        &expect![[r#"
            MxTarget: MX target a.example is an alias of b.example, which RFC 2181 forbids: some senders deliver nothing
              -> name b.example itself in the MX record, if that is where mail shall go
            MxTarget: MX target gone.example has no address: no mail can arrive there
              -> correct the name in the MX record, or give the host its address
        "#]],
    );
    check(
        &[answer("ns1", 1, &[(0, "fabrikam-com.mail.protection.outlook.com")])],
        &Facts::default(),
        &expect![[r#"
            MxTarget: fabrikam-com.mail.protection.outlook.com does not look like contoso.edu's own Office 365 host: it may be another tenant's
              -> compare it with the Microsoft 365 admin centre (Graph: the domain's serviceConfigurationRecords), and set `dns.expect`
        "#]],
    );
}

#[test]
fn servers_that_differ_or_fail() {
    let mut silent = answer("192.0.2.53", 1, &[]);
    silent.role = Role::Resolver;
    silent.serial = None;
    silent.outcome = Outcome::Failed(Failure::Timeout);
    let facts = Facts {
        delegated: [HostName::from("ns1"), HostName::from("ns2")].into(),
        claimed: [HostName::from("ns1"), HostName::from("ns3")].into(),
        ..Facts::default()
    };
    check(
        &[answer("ns1", 5, &[GOOD]), answer("ns2", 4, &[GOOD]), silent],
        &facts,
        &expect![[r#"
            Delegation: the parent names ns1, ns2; the zone names ns1, ns3
              -> make them the same, at the registrar or in the zone: each of them is asked by somebody
            Server: resolver 192.0.2.53: no answer in time
              -> ask again; take it from `dns.resolvers` if it stays so
            Delegation: the servers hold different versions of the zone: ns2 at 4; ns1 at 5
              -> have ns2 transfer the zone; if it stays behind, look at NOTIFY and at who may transfer
        "#]],
    );
}

fn resolver(ttl: u32, records: &[(u16, &str)]) -> Answer {
    let mut answer = answer("192.0.2.53", 1, records);
    (answer.role, answer.serial, answer.authoritative, answer.ttl) = (Role::Resolver, None, false, Some(ttl));
    answer
}

fn old(server: &str, ttl: u32) -> Answer {
    let mut answer = answer(server, 1, &[(10, "mail.contoso.edu")]);
    answer.ttl = Some(ttl);
    answer
}

#[test]
fn times_of_the_change_come_from_ttls() {
    // Lowered on the servers, and a cache still holds the record by its old TTL.
    check(
        &[old("ns1", 3600), resolver(50_000, &[(10, "mail.contoso.edu")])],
        &Facts::default(),
        &expect![[r#"
            Ttl: the MX records' TTL is 3600 s, but a resolver holds them for 50000 s more: it was lowered not long ago
              -> change the MX from 1970-01-01T13:53:20Z on, when that is over
            MxTarget: contoso.edu's MX at Office 365 cannot be derived from its name (new ones are below mx.microsoft)
              -> take it from the Microsoft 365 admin centre (Graph: the domain's serviceConfigurationRecords), and set `dns.expect`
        "#]],
    );
    // Lowered, and gone from the cache: nothing more to wait for.
    check(
        &[old("ns1", 3600), resolver(3000, &[(10, "mail.contoso.edu")])],
        &Facts::default(),
        &expect![[r#"
            MxTarget: contoso.edu's MX at Office 365 cannot be derived from its name (new ones are below mx.microsoft)
              -> take it from the Microsoft 365 admin centre (Graph: the domain's serviceConfigurationRecords), and set `dns.expect`
        "#]],
    );
}

#[test]
fn caches_and_inside_views() {
    let cache = resolver(1800, &[(10, "mail.contoso.edu")]);
    check(
        &[answer("ns1", 2, &[GOOD]), cache.clone()],
        &Facts::default(),
        &expect![[r#"
            Outside: resolver 192.0.2.53 says `10 mail.contoso.edu`, and all authoritative servers say otherwise
              -> its cache lets go by 1970-01-01T00:30:00Z; if it says so still, it sees another view of the zone (split horizon)
        "#]],
    );
    let inside = Answer { authoritative: true, ..cache };
    check(
        &[answer("ns1", 2, &[GOOD]), inside],
        &Facts::default(),
        &expect![[r#"
            Outside: resolver 192.0.2.53 says `10 mail.contoso.edu`, and all authoritative servers say otherwise
              -> it answers from a zone of its own (split horizon): change the MX there too, or ask a resolver outside
        "#]],
    );
}

#[test]
fn names_that_resemble_and_names_that_cannot_be_derived() {
    check(
        &[answer("ns1", 1, &[(0, "contoso-edu.mail.protection.outlook.com.evil.example")])],
        &Facts::default(),
        &expect![[r#"
            Ttl: the MX records' TTL is 86400 s: so long caches keep the old ones after the change
              -> lower it to 3600 s now; the MX may then be changed from 1970-01-02T00:00:00Z on, later if lowered later
            MxTarget: MX target contoso-edu.mail.protection.outlook.com.evil.example resembles Office 365 and is none of its names
              -> compare it, letter by letter, with the MX that the Microsoft 365 admin centre shows
            MxTarget: contoso.edu's MX at Office 365 cannot be derived from its name (new ones are below mx.microsoft)
              -> take it from the Microsoft 365 admin centre (Graph: the domain's serviceConfigurationRecords), and set `dns.expect`
        "#]],
    );
    check(
        &[answer("ns1", 1, &[(0, "contoso-edu.e-v1.mx.microsoft")])],
        &Facts { signed: Some(Signed::Not), ..Facts::default() },
        &expect![[r#"
            MxTarget: contoso-edu.e-v1.mx.microsoft cannot be derived from contoso.edu: by its name alone it may be another tenant's
              -> compare it with the Microsoft 365 admin centre (Graph: the domain's serviceConfigurationRecords), and set `dns.expect`
            Dnssec: the MX is below mx.microsoft, and the zone is not signed: DANE has no effect
              -> sign the zone if you want DANE; mail arrives without it
        "#]],
    );
    check(
        &[answer("ns1", 1, &[(0, "contoso-edu.mail.eo.outlook.com")])],
        &Facts::default(),
        &expect![[r#"
            MxTarget: contoso-edu.mail.eo.outlook.com is of a form that Microsoft gave out before 2013
              -> move to the MX that the Microsoft 365 admin centre shows today
        "#]],
    );
}

#[test]
fn signed_zones() {
    for signed in [Signed::Chained, Signed::Island, Signed::Broken] {
        let facts = Facts { signed: Some(signed), ..Facts::default() };
        let advice = advise(
            &HostName::from("contoso.edu"),
            Timestamp::UNIX_EPOCH,
            &[],
            Verdict::Source,
            &Policy::default(),
            &facts,
        );
        assert_eq!(advice[advice.len() - 1].kind, AdviceKind::Dnssec, "{signed:?}");
    }
    let mut bogus = resolver(0, &[]);
    bogus.outcome = Outcome::Failed(Failure::Code("SERVFAIL".into()));
    check(
        &[answer("ns1", 1, &[GOOD]), bogus],
        &Facts { signed: Some(Signed::Chained), ..Facts::default() },
        &expect![[r#"
            Dnssec: the zone is signed (DS at the parent): an MX that is changed and not signed again fails for all who validate
              -> change it where the signing is done, and ask a validating resolver after it; before moving the zone to other servers have the DS record removed and wait for its TTL. DANE for incoming mail needs an mx.microsoft host (Enable-DnssecForVerifiedDomain)
            Server: resolver 192.0.2.53: answered SERVFAIL
              -> the zone is signed: look for expired or missing signatures, which the servers themselves do not notice
        "#]],
    );
}

#[test]
fn address_without_mx_takes_mail() {
    let mut none = answer("ns1", 1, &[]);
    none.outcome = Outcome::NoMx;
    check(
        &[none],
        &Facts { itself: Some(Target::Host), ..Facts::default() },
        &expect![[r#"
        ImplicitMx: contoso.edu has no MX but an address: mail is delivered there all the same (RFC 5321, section 5.1)
          -> set the MX record; what that address accepts meanwhile is mail at the source
    "#]],
    );
}

#[test]
fn spf_is_followed_and_counted() {
    let good = [answer("ns1", 1, &[GOOD])];
    let record = "v=spf1 include:_spf.contoso.edu -all";
    let reach = |lookups, complete, name: &str| Facts {
        spf: Some(Reach { names: [HostName::from(name)].into(), lookups, complete }),
        ..texts(&[record])
    };
    check(&good, &reach(2, true, "spf.protection.outlook.com"), &expect![[r#""#]]);
    check(
        &good,
        &reach(11, true, "spf.protection.outlook.com"),
        &expect![[r#"
        Spf: the SPF record needs 11 look-ups, and beyond 10 it is void (RFC 7208, section 4.6.4)
          -> take out senders that you no longer use, or write their networks as ip4 and ip6
    "#]],
    );
    check(
        &good,
        &reach(12, false, "_spf.contoso.edu"),
        &expect![[r#"
        Spf: the SPF record `v=spf1 include:_spf.contoso.edu -all` does not lead to `include:spf.protection.outlook.com`, as far as it could be followed
          -> put `include:spf.protection.outlook.com` before its `all`, before anybody sends from Office 365
        Spf: the SPF record needs at least 12 look-ups, and beyond 10 it is void (RFC 7208, section 4.6.4)
          -> take out senders that you no longer use, or write their networks as ip4 and ip6
    "#]],
    );
}

#[test]
fn newest_serial_by_the_circle() {
    let behind = |one, other| {
        let answers = [answer("ns1", one, &[GOOD]), answer("ns2", other, &[GOOD])];
        let facts = Facts::default();
        let advice = advise(
            &HostName::from("contoso.edu"),
            Timestamp::UNIX_EPOCH,
            &answers,
            Verdict::Office365,
            &Policy::default(),
            &facts,
        );
        advice.last().unwrap().next.split(" transfer").next().unwrap().to_owned()
    };
    assert_eq!(behind(5, 4), "have ns2");
    assert_eq!(behind(u32::MAX, 3), "have ns1");
    assert_eq!(behind(0, 1 << 31), "find out which of them is right, and have the others");
}
