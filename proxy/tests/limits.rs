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
