use super::*;

const MAILBOX: MailboxId = MailboxId(7);

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_is_told_to_wait_gives_everything_back_and_gets_nothing_before_its_time() {
    let tenant = Tenant::new(10, 4);
    let first = tenant.place(MAILBOX, Errand::Background).await;
    tenant.on_connected(MAILBOX);
    let spare = tenant.spare(MAILBOX).unwrap();
    assert_eq!(tenant.sessions(MAILBOX), (2, 4));
    let (wait, strikes) =
        tenant.on_throttled(MAILBOX, Some(Duration::from_secs(300)), "Request is throttled.");
    tenant.on_complaint(MAILBOX, Complaint::Budget, "Request is throttled.");
    assert!(first.is_wanted() && spare.is_wanted() && strikes == 1);
    drop(first);
    drop(spare);
    assert!(tenant.spare(MAILBOX).is_none());
    tokio::time::advance(wait - Duration::from_millis(1)).await;
    assert_eq!(tenant.waits(MAILBOX).unwrap().words, "Request is throttled.");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(tenant.waits(MAILBOX), None);
    // It comes back with fewer than before.
    let first = tenant.place(MAILBOX, Errand::Background).await;
    tenant.on_connected(MAILBOX);
    assert!(!first.is_wanted());
    assert_eq!(tenant.sessions(MAILBOX), (1, 1));
    assert!(tenant.spare(MAILBOX).is_none());
    // And has all of them again after a while of success.
    for _ in 0..40 {
        tokio::time::advance(Duration::from_secs(10)).await;
        tenant.on_success(MAILBOX);
    }
    let spare = [(); 3].map(|()| tenant.spare(MAILBOX).unwrap());
    assert!(spare.iter().all(|spare| !spare.is_wanted()));
    assert_eq!(tenant.sessions(MAILBOX), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn what_is_allowed_and_why_is_told() {
    let tenant = Tenant::new(8, 1);
    let mut places = Vec::new();
    for number in 0..6 {
        places.push(tenant.place(MailboxId(number), Errand::Background).await);
        tenant.on_connected(MailboxId(number));
    }
    let words = "Too many simultaneous connections.";
    tenant.on_complaint(MailboxId(0), Complaint::Crowded, words);
    let status = tenant.status();
    assert_eq!((status.sessions, status.sessions_allowed, status.sessions_max), (6, 3, 8));
    assert_eq!(status.reduced.unwrap().words, words);
    assert_eq!(places.iter().filter(|place| place.is_wanted()).count(), 3);
    places.retain(|place| !place.is_wanted());
    assert_eq!(places.len(), 3);
    for _ in 0..60 {
        tokio::time::advance(Duration::from_secs(5)).await;
        tenant.on_success(MailboxId(0));
    }
    let status = tenant.status();
    assert_eq!((status.sessions_allowed, status.reduced), (8, None));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_run_is_remembered() {
    let tenant = Tenant::new(8, 1);
    let waits = Waits { left: Duration::from_secs(60), words: "wait".into() };
    tenant.resume(MAILBOX, &waits, 1);
    assert_eq!(tenant.waits(MAILBOX), Some(waits.clone()));
    tokio::time::advance(Duration::from_secs(59)).await;
    // Said twice it does not begin anew.
    tenant.resume(MAILBOX, &waits, 1);
    assert_eq!(tenant.waits(MAILBOX).unwrap().left, Duration::from_secs(1));
    let (wait, strikes) = tenant.on_throttled(MAILBOX, None, "again");
    assert!(wait >= Duration::from_secs(60) && strikes == 2, "the second in a row waits twice as long");
}
