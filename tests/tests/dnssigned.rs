//! The DNS check of zones that are really signed: Knot signs them, a validating Unbound asks from outside.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mailferry_dnscheck::{AdviceKind, Checker, Config, Failure, Observation, Outcome, Role, Verdict};
use mailferry_tests::dns::{Dns, Recursive, Secondary, View};

const DOMAIN: &str = "contoso.edu";
const OFFICE_365: &str = "0 contoso-edu.mail.protection.outlook.com.";

/// What a check sees, with a resolver that has nothing in its cache.
async fn check(dns: &Dns, anchors: &[String]) -> Observation {
    let view = View::Validated(vec![dns.primary.address()], anchors.to_vec());
    let resolver = Recursive::start(&[(DOMAIN, view)]).unwrap();
    let config = Config {
        roots: dns.roots(),
        name_servers: dns.name_servers(),
        resolvers: vec![resolver.address()],
        timeout: Duration::from_secs(2),
        ..Config::default()
    };
    Checker::new(config).check(DOMAIN, &["mail.contoso.edu".to_owned()]).await
}

fn told(observation: &Observation, kind: AdviceKind) -> String {
    let advice = observation.advice.iter().filter(|advice| advice.kind == kind);
    advice.map(|advice| format!("{} -> {}", advice.text, advice.next)).collect::<Vec<_>>().join("; ")
}

fn outside(observation: &Observation) -> &Outcome {
    &observation.answers.iter().find(|answer| answer.role == Role::Resolver).unwrap().outcome
}

#[tokio::test]
async fn from_the_first_signature_to_the_one_that_was_forgotten() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Absent).unwrap();
    let anchors = dns.primary.sign(DOMAIN).unwrap();

    // Nobody above vouches for it.
    let island = check(&dns, &anchors).await;
    assert_eq!(island.verdict, Verdict::Source, "{island:#?}");
    assert!(told(&island, AdviceKind::Dnssec).contains("the parent has no DS record"), "{island:#?}");

    let records: Vec<&str> = anchors.iter().map(String::as_str).collect();
    dns.parent.change("edu").set("contoso", "DS", 3600, &records).apply().unwrap();
    let before = check(&dns, &anchors).await;
    assert_eq!(before.verdict, Verdict::Source, "{before:#?}");
    assert!(matches!(outside(&before), Outcome::Records(_)), "it validates: {before:#?}");
    let advice = told(&before, AdviceKind::Dnssec);
    assert!(advice.contains("signed (DS at the parent)"), "{advice}");
    assert!(advice.contains("change it where the signing is done"), "{advice}");

    // Changed where the signing is done: all agree, those who validate too.
    dns.set_mx(DOMAIN, 300, &[OFFICE_365]).unwrap();
    let after = check(&dns, &anchors).await;
    assert_eq!(after.verdict, Verdict::Office365, "{after:#?}");
    assert_eq!(told(&after, AdviceKind::Dnssec), "");

    // The same record from a server that does not sign: right for whoever asks it, and nothing for those who validate.
    dns.primary.leave_unsigned(DOMAIN).unwrap();
    let broken = check(&dns, &anchors).await;
    assert_eq!(broken.verdict, Verdict::Unknown, "{broken:#?}");
    assert_eq!(*outside(&broken), Outcome::Failed(Failure::Code("SERVFAIL".into())), "{broken:#?}");
    assert!(told(&broken, AdviceKind::Dnssec).contains("and the zone no DNSKEY"), "{broken:#?}");
    assert!(told(&broken, AdviceKind::Server).contains("expired or missing signatures"), "{broken:#?}");
}
