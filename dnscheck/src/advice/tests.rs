use expect_test::{Expect, expect};

use super::*;
use crate::Transport;

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
    }
}

fn check(answers: &[Answer], facts: &Facts, expected: &Expect) {
    let policy = Policy::default();
    let verdict = crate::verdict::rule(answers, &policy).verdict;
    let lines: Vec<String> = advise(&HostName::from("contoso.edu"), answers, verdict, &policy, facts)
        .into_iter()
        .map(|advice| format!("{:?}: {}\n", advice.kind, advice.text))
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
    };
    check(&[answer("ns1", 1, &[GOOD])], &facts, &expect![""]);
}

#[test]
fn slow_records_and_leftovers() {
    check(
        &[answer("ns1", 1, &[(10, "mail.contoso.edu")])],
        &Facts::default(),
        &expect![[r#"
        Ttl: the MX records' TTL is 86400 s: lower it to 3600 at least 86400 s before the switch
    "#]],
    );
    check(
        &[answer("ns1", 1, &[GOOD, (20, "mail.contoso.edu")])],
        &Facts::default(),
        &expect![[r#"
        Ttl: the MX records' TTL is 86400 s: lower it to 3600 at least 86400 s before the switch
        LeftoverMx: delete the MX record `20 mail.contoso.edu`: mail may still go there
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
        Spf: there is no SPF record: add `v=spf1 include:spf.protection.outlook.com -all`, with your other senders
    "#]],
    );
    check(
        &good,
        &texts(&["v=spf1 ip4:192.0.2.0/24 -all"]),
        &expect![[r#"
        Spf: the SPF record has no `include:spf.protection.outlook.com` of its own: `v=spf1 ip4:192.0.2.0/24 -all`
    "#]],
    );
    check(
        &good,
        &texts(&["v=spf1 -all", "V=SPF1"]),
        &expect![[r#"
        Spf: there are 2 SPF records, and only one is allowed
    "#]],
    );
    let high = [answer("ns1", 1, &[(0, "contoso-edu.mail.protection.office365.us")])];
    check(
        &high,
        &texts(&["v=spf1 include:spf.protection.outlook.com -all"]),
        &expect![[r#"
        Spf: the SPF record has no `include:spf.protection.office365.us` of its own: `v=spf1 include:spf.protection.outlook.com -all`
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
            advise(&HostName::from("contoso.edu"), &good, Verdict::Office365, &Policy::default(), &facts)
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
        MxTarget: MX target a.example is an alias of b.example, which RFC 2181 forbids: name the host itself
        MxTarget: MX target gone.example has no address: no mail can arrive
    "#]],
    );
    check(
        &[answer("ns1", 1, &[(0, "fabrikam-com.mail.protection.outlook.com")])],
        &Facts::default(),
        &expect![[r#"
            MxTarget: fabrikam-com.mail.protection.outlook.com does not look like contoso.edu's own Office 365 host: check it, or set `expect`
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
        Ttl: the MX records' TTL is 86400 s: lower it to 3600 at least 86400 s before the switch
        Delegation: the parent names ns1, ns2; the zone names ns1, ns3: make them the same
        Server: resolver 192.0.2.53: no answer in time
        Delegation: the servers hold different versions of the zone: ns2 at 4; ns1 at 5
    "#]],
    );
}
