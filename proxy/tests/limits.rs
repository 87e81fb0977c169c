//! Who is counted how, and what those hear who are too many.
#![allow(clippy::unwrap_used)]

mod scripted;

use std::time::Duration;

use mailferry_proxy::ProxyLimits;
use scripted::Stand;

const FULL: &str = "l NO [LIMIT] Too many sessions by this name, close some and try again.\r\n";

#[tokio::test]
async fn a_login_has_its_places_however_it_is_written_and_gives_them_back() {
    let limits = ProxyLimits { max_connections_per_login: 1, ..ProxyLimits::default() };
    let stand = Stand::start(limits).await;
    for _ in 0..3 {
        let first = stand.logged_in().await;
        // As ann; as ann in other letters; with ann's password as bob, which some sources do not care for.
        for login in ["LOGIN ann secret", "LOGIN \" ANN\" secret", "AUTHENTICATE PLAIN Ym9iAGFubgBzZWNyZXQ="]
        {
            let mut late = stand.greeted().await;
            late.up(&format!("l {login}\r\n")).await;
            late.source.say("l OK in\r\n").await;
            late.client.hears(FULL).await;
            assert_eq!(late.client.rest().await, "* BYE Too many sessions by this name.\r\n");
            assert_eq!(late.source.rest().await, "mf9 LOGOUT\r\n", "nothing stays logged in");
        }
        drop(first);
        stand.empty().await;
    }
    assert_eq!(stand.proxy.counters().turned_away, 9);
    stand.stop().await;
}

#[tokio::test]
async fn refused_logins_close_the_door_to_their_address_and_the_source_hears_of_no_more() {
    let limits = ProxyLimits {
        max_refused_logins: 3,
        login_window: Duration::from_secs(3600),
        guesses_without_delay: 100,
        ..ProxyLimits::default()
    };
    let stand = Stand::start(limits).await;
    let mut session = stand.greeted().await;
    for login in ["LOGIN ann x", "LOGIN bob x y", "AUTHENTICATE PLAIN AGFubgB4"] {
        session.up(&format!("l {login}\r\n")).await;
        session.down("l NO no\r\n").await;
    }
    let mut another = stand.greeted().await;
    for session in [&mut session, &mut another] {
        session.client.say("l LOGIN ann secret\r\n").await;
        session.client.hears("l NO [LIMIT] Too many refused logins, try again later.\r\n").await;
        session.up("n NOOP\r\n").await;
    }
    assert_eq!(stand.proxy.counters().refused_logins, 3);
    drop((session, another));
    stand.stop().await;
}

/// What the source has not heard of when another session's command passed.
async fn nothing_comes(stand: &Stand, session: &mut scripted::Session) {
    let mut another = stand.greeted().await;
    another.up("n NOOP\r\n").await;
    another.down("n OK\r\n").await;
    let waits = session.source.0.try_read(&mut [0]);
    assert_eq!(waits.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn many_logins_at_once_from_one_address_wait_for_one_another() {
    let limits = ProxyLimits { max_refused_logins: 2, ..ProxyLimits::default() };
    let stand = Stand::start(limits).await;
    let login = "l LOGIN ann x\r\n";
    let (mut first, mut second, mut third) =
        (stand.greeted().await, stand.greeted().await, stand.greeted().await);
    // Begun before, without a password: it waits, too.
    let mut prepared = stand.greeted().await;
    prepared.up("p AUTHENTICATE PLAIN\r\n").await;
    prepared.down("+ \r\n").await;
    first.up(login).await;
    second.up(login).await;
    third.client.say(login).await;
    prepared.client.say("AGFubgB4\r\n").await;
    nothing_comes(&stand, &mut third).await;
    nothing_comes(&stand, &mut prepared).await;
    // One that is let in makes room, for one.
    first.down("l OK in\r\n").await;
    drop(second);
    third.source.hears(login).await;
    prepared.source.hears("AGFubgB4\r\n").await;
    third.down("l NO no\r\n").await;
    prepared.down("p NO no\r\n").await;
    third.client.say(login).await;
    third.client.hears("l NO [LIMIT] Too many refused logins, try again later.\r\n").await;
    drop((first, third, prepared));
    stand.stop().await;
}

#[tokio::test]
async fn a_login_that_was_begun_before_the_door_closed_gets_no_further() {
    let limits = ProxyLimits {
        max_refused_logins: 1,
        login_window: Duration::from_secs(3600),
        ..ProxyLimits::default()
    };
    let stand = Stand::start(limits).await;
    let (mut exchange, mut literal) = (stand.greeted().await, stand.greeted().await);
    exchange.up("p AUTHENTICATE PLAIN\r\n").await;
    exchange.down("+ \r\n").await;
    literal.up("l LOGIN ann {1}\r\n").await;
    literal.down("+ go\r\n").await;
    let mut wrong = stand.greeted().await;
    wrong.up("l LOGIN ann x\r\n").await;
    wrong.down("l NO no\r\n").await;
    for (session, rest) in [(&mut exchange, "AGFubgB4\r\n"), (&mut literal, "x\r\n")] {
        session.client.say(rest).await;
        assert_eq!(session.client.rest().await, "* BYE Too many refused logins, try again later.\r\n");
        assert_eq!(session.source.rest().await, "");
    }
    drop(wrong);
    stand.stop().await;
}
