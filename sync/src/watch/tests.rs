use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn moment(second: i64) -> Moment {
    Moment { at: at(second), steady: SignedDuration::from_secs(second) }
}

fn cutover(verdict: Verdict) -> Cutover {
    Cutover {
        domain: "contoso.edu".into(),
        verdict,
        observed: moment(100_000),
        changed: at(0),
        since: None,
        confirmed: None,
        due: None,
        reason: String::new(),
    }
}

fn settings() -> DnsSettings {
    DnsSettings {
        checker: Checker::new(mailferry_dnscheck::Config::default()),
        rules: Rules::default(),
        interval: Duration::from_secs(900),
        old: Vec::new(),
    }
}

#[test]
fn the_eye_is_quick_while_things_move() {
    let minutes = |cutover: &Cutover| pause(&settings(), cutover).as_secs() / 60;
    assert_eq!(minutes(&cutover(Verdict::Source)), 15);
    assert_eq!(minutes(&cutover(Verdict::Mixed)), 5);
    assert_eq!(minutes(&cutover(Verdict::Unknown)), 5);
    assert_eq!(minutes(&Cutover { changed: at(99_000), ..cutover(Verdict::Office365) }), 5);
    assert_eq!(minutes(&cutover(Verdict::Office365)), 15);
    assert_eq!(minutes(&Cutover { confirmed: Some(moment(1)), ..cutover(Verdict::Office365) }), 60);
    let rare = DnsSettings { interval: Duration::from_secs(86_400), ..settings() };
    assert_eq!(pause(&rare, &cutover(Verdict::Source)), Duration::from_secs(7200));
}

#[test]
fn what_happens_is_noted_once() {
    let source = cutover(Verdict::Source);
    let moved = Cutover { since: Some(moment(5)), ..cutover(Verdict::Office365) };
    let confirmed = Cutover { confirmed: Some(moment(9)), ..moved.clone() };
    assert_eq!(happened(None, &source), ["mail for contoso.edu: source"]);
    assert!(happened(Some(&source), &source).is_empty());
    assert_eq!(
        happened(Some(&source), &moved),
        ["mail for contoso.edu: source became office365", "mail for contoso.edu goes to Office 365"]
    );
    assert_eq!(happened(Some(&moved), &confirmed), ["the cutover of contoso.edu is confirmed"]);
    assert_eq!(happened(Some(&confirmed), &source).len(), 2);
}

/// What two servers say where the pin names a host that neither has.
fn observation(hosts: &[&str]) -> Observation {
    let records: Vec<_> =
        hosts.iter().map(|host| serde_json::json!({"preference": 0, "host": host, "ttl": 60})).collect();
    let answer = serde_json::json!({
        "role": "authoritative", "server": "ns1.contoso.edu", "address": null, "name": "contoso.edu",
        "transport": "udp", "authoritative": true, "outcome": {"records": records}, "ttl": 60,
    });
    let observation = serde_json::json!({
        "domain": "contoso.edu", "at": at(0), "answers": [answer, answer], "verdict": "source",
        "reasons": [],
    });
    serde_json::from_value(observation).unwrap()
}

#[tokio::test]
async fn wrong_pin_does_not_make_office_365_old() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap().ledger;
    let watch = Watch::new(ledger.clone(), settings());
    let office_365 = "Contoso-Edu.mail.protection.outlook.com";
    watch.record("contoso.edu", &observation(&[office_365])).await.unwrap();
    assert_eq!(old_mx(&ledger, "contoso.edu").unwrap(), None, "nothing of the source's was seen yet");
    watch.record("contoso.edu", &observation(&["Mail.contoso.edu.", office_365])).await.unwrap();
    assert_eq!(watch.old_hosts("contoso.edu").unwrap(), ["mail.contoso.edu"]);
    // Once is enough: what comes later may be the target's.
    watch.record("contoso.edu", &observation(&["mx.fabrikam.com"])).await.unwrap();
    assert_eq!(watch.old_hosts("contoso.edu").unwrap(), ["mail.contoso.edu"]);
}

#[test]
fn a_confirmation_that_nobody_looks_after_is_none() {
    let confirmed = Cutover { confirmed: Some(moment(9)), ..cutover(Verdict::Office365) };
    let rules = Rules::default();
    assert_eq!(confirmed.confirmed_at(moment(100_000 + 6 * 3600), &rules), Some(moment(9)));
    assert_eq!(confirmed.confirmed_at(moment(100_001 + 6 * 3600), &rules), None);
}

/// As versions kept it that had neither a steady clock nor a memory of the clock's own.
#[tokio::test]
async fn a_ledger_of_an_earlier_version_starts_the_clock_anew_and_remembers_ttls() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap().ledger;
    let now = Timestamp::now();
    let hours_ago = |hours: i64| now - SignedDuration::from_hours(hours);
    let mut change = ledger.change();
    for hours in 0..=200 {
        let good = hours < 100;
        let old = observation(&["mail.contoso.edu"]);
        let verdict = if good { Verdict::Office365 } else { Verdict::Source };
        let other_ttl = (!good).then_some(5 * 86_400);
        let seen = Observation { at: hours_ago(hours), verdict, other_ttl, ..old };
        let mut evidence = serde_json::to_value(&seen).unwrap();
        if good {
            evidence.as_object_mut().unwrap().remove("other_ttl");
        }
        change.put_observation(mailferry_ledger::Observation {
            domain: "contoso.edu".into(),
            at: seen.at,
            verdict: verdict.to_string(),
            evidence: evidence.to_string(),
        });
    }
    let confirmed = serde_json::json!({
        "domain": "contoso.edu", "verdict": "office365", "observed": now, "changed": hours_ago(99),
        "since": hours_ago(99), "confirmed": hours_ago(27), "due": hours_ago(27), "reason": "held",
    });
    change.put_fact("cutover/contoso.edu", confirmed.to_string());
    change.commit().await.unwrap();
    drop(ledger);

    let ledger = Ledger::open(folder.path()).unwrap().ledger;
    assert_eq!(super::cutover(&ledger, "contoso.edu").unwrap(), None, "nothing is taken over unproven");
    let watch = Watch::new(ledger.clone(), settings());
    let look = |hours: i64| {
        let at = now + SignedDuration::from_hours(hours);
        Observation { at, verdict: Verdict::Office365, other_ttl: None, ..observation(&["x"]) }
    };
    let first = watch.record("contoso.edu", &look(0)).await.unwrap();
    assert_eq!((first.since.map(|since| since.at), first.confirmed), (Some(now), None));
    // The old record lived for five days: that is longer than the wait.
    let due = first.due.unwrap().duration_since(now);
    assert_eq!(due, SignedDuration::from_hours(5 * 24));
    let course = course(&ledger, "contoso.edu").unwrap();
    assert_eq!(course.read(first.observed, &Rules::default()).required, SignedDuration::from_hours(5 * 24));
}

#[tokio::test]
async fn a_domain_whose_servers_are_silent_delays_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap().ledger;
    let mut change = ledger.change();
    for domain in ["contoso.edu", "fabrikam.org"] {
        let id = change.new_mailbox_id();
        change.put_mailbox(mailferry_ledger::Mailbox::new(id, "A", &format!("ann@{domain}"), "ann"));
    }
    change.commit().await.unwrap();
    // It hears, and says nothing for longer than anybody waits here.
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let config = mailferry_dnscheck::Config {
        roots: vec![silent.local_addr().unwrap()],
        timeout: Duration::from_secs(600),
        ..Default::default()
    };
    let watch = Watch::new(ledger, DnsSettings { checker: Checker::new(config), ..settings() });
    let mut heard: BTreeSet<&str> = BTreeSet::new();
    let both = async {
        let mut question = [0; 512];
        while heard.len() < 2 {
            let length = silent.recv(&mut question).await.unwrap();
            let asked = |label: &&str| question[..length].windows(3).any(|part| part == label.as_bytes());
            heard.extend(["edu", "org"].iter().find(|label| asked(label)));
        }
    };
    tokio::select! {
        () = watch.run(CancellationToken::new()) => {}
        both = tokio::time::timeout(Duration::from_secs(120), both) => both.unwrap(),
    }
}
