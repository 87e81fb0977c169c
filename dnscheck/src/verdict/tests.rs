use expect_test::{Expect, expect};

use super::*;
use crate::{HostName, MxRecord, Transport, Verdict};

/// Reads a table of answers, `role server: outcome`, and shows the ruling. A server named `ns1/v6` is a second
/// address of `ns1`.
fn check(table: &str, policy: &Policy, expected: &Expect) {
    let answers: Vec<Answer> =
        table.lines().map(str::trim).filter(|line| !line.is_empty()).map(answer).collect();
    let Ruling { verdict, reasons, .. } = rule(&answers, policy);
    expected.assert_eq(&format!("{verdict}\n{}\n", reasons.join("\n")));
}

fn answer(line: &str) -> Answer {
    let (who, what) = line.split_once(": ").unwrap();
    let (role, server) = who.split_once(' ').unwrap();
    Answer {
        role: if role == "auth" { Role::Authoritative } else { Role::Resolver },
        server: server.split('/').next().unwrap().to_owned(),
        address: None,
        name: HostName::from("contoso.edu"),
        transport: Some(Transport::Udp),
        authoritative: role == "auth",
        outcome: match what {
            "null" => Outcome::NullMx,
            "no MX" => Outcome::NoMx,
            "no name" => Outcome::NoSuchName,
            "timeout" => Outcome::Failed(Failure::Timeout),
            "lame" => Outcome::Failed(Failure::Lame),
            "no route" => Outcome::Failed(Failure::NoRoute),
            "SERVFAIL" => Outcome::Failed(Failure::Code("SERVFAIL".into())),
            "alias" => Outcome::Alias(HostName::from("loop.example")),
            records => Outcome::Records(records.split(", ").map(record).collect()),
        },
        ttl: Some(3600),
        serial: None,
        at: None,
    }
}

fn record(text: &str) -> MxRecord {
    let (preference, host) = text.split_once(' ').unwrap();
    MxRecord { preference: preference.parse().unwrap(), host: HostName::from(host), ttl: 3600 }
}

fn policy() -> Policy {
    Policy {
        accept: vec![HostName::from("pphosted.com")],
        expect: None,
        old: vec![HostName::from("mail.contoso.edu")],
    }
}

#[test]
fn before_during_and_after_the_switch() {
    check(
        "
        auth ns1: 10 mail.contoso.edu
        auth ns2: 10 mail.contoso.edu
        resolver 192.0.2.53: 10 mail.contoso.edu
    ",
        &policy(),
        &expect![[r#"
            source
            all that answered, 192.0.2.53, ns1, ns2: mail.contoso.edu
            mail.contoso.edu is the source's
        "#]],
    );
    check(
        "
        auth ns1: 0 contoso-edu.mail.protection.outlook.com
        auth ns2: 10 mail.contoso.edu
    ",
        &policy(),
        &expect![[r#"
            mixed
            ns1: contoso-edu.mail.protection.outlook.com
            ns2: mail.contoso.edu
            contoso-edu.mail.protection.outlook.com is Office 365
            mail.contoso.edu is the source's
        "#]],
    );
    check(
        "
        auth ns1: 0 contoso-edu.mail.protection.outlook.com
        auth ns2: 0 contoso-edu.mail.protection.outlook.com
        resolver 192.0.2.53: 10 mail.contoso.edu
    ",
        &policy(),
        &expect![[r#"
            mixed
            ns1, ns2: contoso-edu.mail.protection.outlook.com
            192.0.2.53: mail.contoso.edu
            contoso-edu.mail.protection.outlook.com is Office 365
            mail.contoso.edu is the source's
        "#]],
    );
    check(
        "
        auth ns1: 0 contoso-edu.mail.protection.outlook.com
        auth ns2: 5 Contoso-Edu.Mail.Protection.Outlook.COM.
        resolver 192.0.2.53: 0 contoso-edu.mail.protection.outlook.com
    ",
        &policy(),
        &expect![[r#"
            office365
            all that answered, 192.0.2.53, ns1, ns2: contoso-edu.mail.protection.outlook.com
            contoso-edu.mail.protection.outlook.com is Office 365
        "#]],
    );
}

#[test]
fn any_leftover_makes_it_mixed() {
    check(
        "auth ns1: 0 contoso-edu.mail.protection.outlook.com, 50 mail.contoso.edu",
        &policy(),
        &expect![[r#"
            mixed
            all that answered, ns1: contoso-edu.mail.protection.outlook.com, mail.contoso.edu
            contoso-edu.mail.protection.outlook.com is Office 365
            mail.contoso.edu is the source's
        "#]],
    );
    check(
        "auth ns1: 0 contoso-edu.mail.protection.outlook.com, 32767 ms1.msv1.invalid",
        &policy(),
        &expect![[r#"
            mixed
            all that answered, ns1: contoso-edu.mail.protection.outlook.com, ms1.msv1.invalid
            contoso-edu.mail.protection.outlook.com is Office 365
            ms1.msv1.invalid proves ownership to Microsoft and takes no mail: delete it
        "#]],
    );
    check(
        "auth ns1: 0 contoso-edu.mail.protection.outlook.com, 10 .",
        &policy(),
        &expect![[r#"
            mixed
            all that answered, ns1: ., contoso-edu.mail.protection.outlook.com
            . says that no mail is taken, which is void beside other records
            contoso-edu.mail.protection.outlook.com is Office 365
        "#]],
    );
    check(
        "
        auth ns1: 0 contoso-edu.mail.protection.outlook.com
        auth ns2: 0 contoso-edu.o-v1.mx.microsoft
    ",
        &policy(),
        &expect![[r#"
            mixed
            ns1: contoso-edu.mail.protection.outlook.com
            ns2: contoso-edu.o-v1.mx.microsoft
            contoso-edu.mail.protection.outlook.com is Office 365
            contoso-edu.o-v1.mx.microsoft is Office 365
        "#]],
    );
}

#[test]
fn filters_count_when_accepted() {
    check(
        "auth ns1: 10 mxa.pphosted.com, 10 mxb.pphosted.com",
        &policy(),
        &expect![[r#"
            filtered
            all that answered, ns1: mxa.pphosted.com, mxb.pphosted.com
            mxa.pphosted.com is on the list of accepted hosts
            mxb.pphosted.com is on the list of accepted hosts
        "#]],
    );
    check(
        "auth ns1: 10 mxa.pphosted.com, 20 contoso-edu.mail.protection.outlook.com",
        &policy(),
        &expect![[r#"
            filtered
            all that answered, ns1: contoso-edu.mail.protection.outlook.com, mxa.pphosted.com
            contoso-edu.mail.protection.outlook.com is Office 365
            mxa.pphosted.com is on the list of accepted hosts
        "#]],
    );
    check(
        "auth ns1: 10 mxa.pphosted.com",
        &Policy::default(),
        &expect![[r#"
            source
            all that answered, ns1: mxa.pphosted.com
            mxa.pphosted.com is neither Office 365 nor accepted
        "#]],
    );
}

#[test]
fn nothing_and_null_are_told_apart() {
    check(
        "auth ns1: no MX",
        &policy(),
        &expect![[r#"
            none
            all that answered, ns1: no MX, mail goes to the domain's own address, if anywhere
        "#]],
    );
    check(
        "auth ns1: no name",
        &policy(),
        &expect![[r#"
            none
            all that answered, ns1: no such name
        "#]],
    );
    check(
        "auth ns1: null",
        &policy(),
        &expect![[r#"
            null
            all that answered, ns1: null MX, the domain takes no mail
        "#]],
    );
    check(
        "
        auth ns1: null
        auth ns2: 0 contoso-edu.mail.protection.outlook.com
    ",
        &policy(),
        &expect![[r#"
            mixed
            ns2: contoso-edu.mail.protection.outlook.com
            ns1: null MX, the domain takes no mail
            contoso-edu.mail.protection.outlook.com is Office 365
        "#]],
    );
}

#[test]
fn whoever_was_not_heard_prevents_confirmation() {
    for failure in ["timeout", "SERVFAIL", "lame", "alias", "no route"] {
        let table = format!(
            "auth ns1: 0 contoso-edu.mail.protection.outlook.com
             auth ns2: {failure}"
        );
        let answers: Vec<Answer> = table.lines().map(|line| answer(line.trim())).collect();
        assert_eq!(rule(&answers, &policy()).verdict, Verdict::Unknown, "{failure}");
    }
    check(
        "
        auth ns1: 0 contoso-edu.mail.protection.outlook.com
        auth ns2: timeout
    ",
        &policy(),
        &expect![[r#"
            unknown
            all that answered, ns1: contoso-edu.mail.protection.outlook.com
            contoso-edu.mail.protection.outlook.com is Office 365
            not heard, and needed: authoritative ns2: no answer in time
        "#]],
    );
    check(
        "
        auth ns1: 0 contoso-edu.mail.protection.outlook.com
        auth ns1/v6: no route
        resolver 192.0.2.53: SERVFAIL
        resolver 192.0.2.54: 0 contoso-edu.mail.protection.outlook.com
    ",
        &policy(),
        &expect![[r#"
            office365
            all that answered, 192.0.2.54, ns1: contoso-edu.mail.protection.outlook.com
            contoso-edu.mail.protection.outlook.com is Office 365
        "#]],
    );
    check(
        "
        auth ns1: 0 contoso-edu.mail.protection.outlook.com
        resolver 192.0.2.53: SERVFAIL
        resolver 192.0.2.54: timeout
    ",
        &policy(),
        &expect![[r#"
            unknown
            all that answered, ns1: contoso-edu.mail.protection.outlook.com
            contoso-edu.mail.protection.outlook.com is Office 365
            none of 2 resolvers gave an answer
        "#]],
    );
    check(
        "resolver 192.0.2.53: 0 contoso-edu.mail.protection.outlook.com",
        &policy(),
        &expect![[r#"
            unknown
            all that answered, 192.0.2.53: contoso-edu.mail.protection.outlook.com
            contoso-edu.mail.protection.outlook.com is Office 365
            no authoritative server was asked
        "#]],
    );
    check(
        "auth ns1: timeout",
        &policy(),
        &expect![[r#"
        unknown
        nobody answered
        not heard, and needed: authoritative ns1: no answer in time
    "#]],
    );
    check(
        "",
        &policy(),
        &expect![[r#"
        unknown
        nobody answered
        no authoritative server was asked
    "#]],
    );
}

#[test]
fn evidence_against_is_believed_even_when_others_are_silent() {
    check(
        "
        auth ns1: timeout
        auth ns2: 10 mail.contoso.edu
    ",
        &policy(),
        &expect![[r#"
            source
            all that answered, ns2: mail.contoso.edu
            mail.contoso.edu is the source's
            not heard, and needed: authoritative ns1: no answer in time
        "#]],
    );
}

#[test]
fn only_what_leads_elsewhere_has_to_be_waited_for() {
    let mut new = answer("auth ns1: 0 contoso-edu.mail.protection.outlook.com, 50 mail.contoso.edu");
    if let Outcome::Records(records) = &mut new.outcome {
        records[0].ttl = 86_400;
        records[1].ttl = 60;
    }
    assert_eq!(rule(&[new], &policy()).other_ttl, Some(60));
    let good = answer("auth ns1: 0 contoso-edu.mail.protection.outlook.com");
    let absent = answer("auth ns2: no MX");
    assert_eq!(rule(&[good.clone(), absent], &policy()).other_ttl, Some(3600));
    assert_eq!(rule(&[good, answer("auth ns2: timeout")], &policy()).other_ttl, None);
}
