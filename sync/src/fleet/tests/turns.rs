//! Whose turn it is when there are more mailboxes than an endpoint allows at once.

use super::*;

#[tokio::test]
async fn the_limits_of_an_endpoint_hold_for_all_its_batches_together() {
    let mut stage = Stage::with(6, 2).await;
    let mut change = stage.ledger.change();
    for mailbox in stage.mailboxes().iter().skip(3) {
        change.update_mailbox(mailbox.id, |mailbox| mailbox.batch = "B".into());
    }
    change.commit().await.unwrap();
    let others = stage.ledger.mailboxes("B").unwrap();
    assert_eq!((stage.mailboxes().len(), others.len()), (3, 3));
    stage.start();
    stage.fleet.start("E", &others);
    let mut at_work = vec![stage.asked().await, stage.asked().await];
    let mut done = 0;
    while let Some((.., answer)) = at_work.pop() {
        let endpoint = stage.ledger.endpoint("E").unwrap().unwrap();
        assert_eq!(stage.fleet.yard.turns(&endpoint).tally(Pass::Full).in_use, at_work.len() + 1);
        while let Ok(told) = stage.told.try_recv() {
            assert!(!matches!(told, Told::Asked(..)), "more than two at once");
        }
        answer.send(well());
        done += 1;
        if done + at_work.len() < 6 {
            at_work.push(stage.asked().await);
        }
    }
    stage.fleet.close().await;
}

#[tokio::test]
async fn what_a_user_did_goes_before_the_first_passes_of_others() {
    let mut stage = Stage::with(5, 1).await;
    stage.start();
    let (_, _, answer) = stage.asked().await;
    let endpoint = stage.ledger.endpoint("E").unwrap().unwrap();
    while stage.fleet.yard.turns(&endpoint).tally(Pass::Full).waiting < 4 {
        tokio::task::yield_now().await;
    }
    // The last in the queue, whose client does something.
    let last = stage.mailboxes().last().unwrap().id;
    stage.spool.offer(Seen::FolderChanged { mailbox: last, folder: FolderName::inbox() });
    while !matches!(stage.told().await, Told::Hired(mailbox) if mailbox == last) {}
    let wish = stage.crew.wishes.lock().unwrap()[&last].clone();
    wish.notify_one();
    while stage.fleet.yard.turns(&endpoint).tally(Pass::Full).users < 1 {
        tokio::task::yield_now().await;
    }
    // Wished twice it keeps its place in the queue.
    wish.notify_one();
    answer.send(well());
    let (next, pass, answer) = stage.asked().await;
    assert_eq!((next, pass), (last, Pass::Full));
    answer.send(well());
    for _ in 0..3 {
        stage.asked().await.2.send(well());
    }
    stage.fleet.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_huge_mailbox_lets_small_ones_pass_and_goes_on() {
    let mut stage = Stage::with(4, 1).await;
    stage.start();
    let (huge, _, Answerer { turn, answer }) = stage.asked().await;
    let endpoint = stage.ledger.endpoint("E").unwrap().unwrap();
    while stage.fleet.yard.turns(&endpoint).tally(Pass::Full).waiting < 3 {
        tokio::task::yield_now().await;
    }
    assert!(!turn.is_over(), "it has only begun");
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(turn.is_over());
    let again = tokio::spawn(turn.give_back());
    let mut small = Vec::new();
    for _ in 0..3 {
        let (mailbox, _, answer) = stage.asked().await;
        assert!(!again.is_finished());
        small.push(mailbox);
        answer.send(well());
    }
    small.push(huge);
    small.sort();
    assert_eq!(small, stage.mailboxes().iter().map(|mailbox| mailbox.id).collect::<Vec<_>>());
    let turn = again.await.unwrap();
    assert!(!turn.is_over());
    Answerer { turn, answer }.send(well());
    let index = stage.mailboxes().iter().position(|mailbox| mailbox.id == huge).unwrap();
    stage.until(index, |mailbox| mailbox.state == MailboxState::Synced).await;
    stage.fleet.close().await;
}

#[tokio::test]
async fn verifying_waits_for_its_turn_and_for_a_pass_to_end() {
    let mut stage = Stage::with(2, 1).await;
    stage.start();
    for _ in 0..2 {
        stage.asked().await.2.send(well());
    }
    for index in 0..2 {
        stage.until(index, |mailbox| mailbox.state == MailboxState::Synced).await;
    }
    let [first, second] = [0, 1].map(|index| stage.mailboxes()[index].id);
    stage.fleet.sync_now(first);
    let answer = stage.asked().await.2;
    let endpoint = stage.ledger.endpoint("E").unwrap().unwrap();
    let verify = |mailbox| {
        let (fleet, endpoint) = (stage.fleet.clone(), endpoint.clone());
        tokio::spawn(async move { fleet.verify(mailbox, &endpoint, Depth::Facts).await })
    };
    let both = [verify(first), verify(second)];
    while stage.fleet.yard.turns(&endpoint).tally(Pass::Incremental).waiting < 2 {
        tokio::task::yield_now().await;
    }
    assert!(both.iter().all(|verify| !verify.is_finished()));
    answer.send(well());
    for verify in both {
        verify.await.unwrap().unwrap();
    }
    stage.fleet.close().await;
}
