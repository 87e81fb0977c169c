use super::*;

const SLICE: Duration = Duration::from_secs(300);

fn mailbox(number: u32) -> MailboxId {
    MailboxId(number)
}

#[tokio::test]
async fn who_waits_gets_the_next_place_and_who_leaves_gets_none() {
    let places = Places::new(1, SLICE);
    let first = places.take(mailbox(1), Errand::Background).await;
    let waits = |owner| {
        let places = places.clone();
        tokio::spawn(async move { places.take(mailbox(owner), Errand::Background).await })
    };
    let (second, third) = (waits(2), waits(3));
    while places.tally().waiting < 2 {
        tokio::task::yield_now().await;
    }
    assert!(first.is_wanted() == first.is_wanted() && !second.is_finished());
    second.abort();
    assert!(second.await.is_err());
    assert_eq!(places.tally().waiting, 1);
    drop(first);
    let third = third.await.unwrap();
    assert_eq!(places.tally(), Tally { capacity: 1, in_use: 1, waiting: 0, users: 0 });
    drop(third);
    assert_eq!(places.tally().in_use, 0);
}

#[tokio::test]
async fn a_place_that_was_given_to_who_just_left_goes_to_the_next() {
    let places = Places::new(1, SLICE);
    let first = places.take(mailbox(1), Errand::Background).await;
    let mut second = Box::pin(places.take(mailbox(2), Errand::Background));
    assert!(futures_once(&mut second).is_none());
    drop(first); // Given to the second, who is dropped before he looks.
    drop(second);
    assert_eq!(places.tally(), Tally { capacity: 1, in_use: 0, waiting: 0, users: 0 });
    drop(places.take(mailbox(3), Errand::Background).await);
}

/// Polls once.
fn futures_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn who_rests_is_called_when_somebody_waits() {
    let places = Places::new(2, SLICE);
    let first = places.take(mailbox(1), Errand::Background).await;
    let spare = places.spare(mailbox(1)).unwrap();
    first.turn_to(Doing::Rest);
    let waits = tokio::spawn({
        let places = places.clone();
        async move { places.take(mailbox(2), Errand::Background).await }
    });
    first.wanted().await;
    assert!(first.is_wanted() && !spare.is_wanted());
    drop(first);
    let _second = waits.await.unwrap();
    assert!(!spare.is_wanted());
    assert!(places.spare(mailbox(1)).is_none());
    places.limit(mailbox(1), 0);
    spare.wanted().await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_had_its_time_is_told_when_it_asks() {
    let places = Places::new(1, SLICE);
    let first = places.take(mailbox(1), Errand::Background).await;
    let mut waits = Box::pin(places.take(mailbox(2), Errand::Background));
    assert!(futures_once(&mut waits).is_none());
    assert!(!first.is_wanted());
    tokio::time::advance(SLICE).await;
    assert!(first.is_wanted());
    drop(first);
    assert!(!waits.await.is_wanted());
}
