//! Shutdown: no command is cut in the middle, nobody is waited for for ever, and what is over is told.
#![allow(clippy::unwrap_used)]

mod scripted;

use std::time::Duration;

use mailferry_proxy::ProxyLimits;
use scripted::{Session, Stand, soon};

const GOODBYE: &str = "* BYE Please connect again.\r\n";

/// As long as the tests take.
fn patient() -> ProxyLimits {
    ProxyLimits { drain: Duration::from_secs(600), ..ProxyLimits::default() }
}

/// Shuts down, and waits until sessions at rest have been sent home: whoever is still there then is not at rest.
async fn shut_down(stand: &Stand, mut at_rest: Session) {
    stand.shutdown.cancel();
    assert_eq!(at_rest.client.rest().await, GOODBYE);
    assert_eq!(at_rest.source.rest().await, "");
}

async fn ends(stand: Stand, mut session: Session) {
    assert_eq!(session.client.rest().await, GOODBYE);
    assert_eq!(session.source.rest().await, "");
    stand.stop().await;
}

#[tokio::test]
async fn an_append_that_is_half_there_goes_on_to_its_answer() {
    let stand = Stand::start(patient()).await;
    let mut session = stand.logged_in().await;
    session.up("a APPEND INBOX {10}\r\n").await;
    session.down("+ go\r\n").await;
    session.up("1234").await;
    shut_down(&stand, stand.logged_in().await).await;
    session.up("567890\r\n").await;
    session.down("* 3 EXISTS\r\n").await;
    session.down("a OK [APPENDUID 1 2] done\r\n").await;
    ends(stand, session).await;
}

#[tokio::test]
async fn an_append_that_was_announced_waits_for_its_word() {
    let stand = Stand::start(patient()).await;
    let mut session = stand.logged_in().await;
    session.up("a APPEND INBOX {4}\r\n").await;
    shut_down(&stand, stand.logged_in().await).await;
    session.down("+ go\r\n").await;
    session.up("1234\r\n").await;
    session.down("a OK done\r\n").await;
    ends(stand, session).await;
}

#[tokio::test]
async fn a_fetch_that_is_half_there_goes_on() {
    let stand = Stand::start(patient()).await;
    let mut session = stand.logged_in().await;
    session.up("a FETCH 1 BODY[]\r\n").await;
    session.down("* 1 FETCH (BODY[] {100000}\r\n").await;
    session.down(&"x".repeat(50_000)).await;
    shut_down(&stand, stand.logged_in().await).await;
    session.down(&"y".repeat(50_000)).await;
    session.down(")\r\n").await;
    session.down("a OK done\r\n").await;
    ends(stand, session).await;
}

#[tokio::test]
async fn pipelined_commands_are_answered_to_the_last() {
    let stand = Stand::start(patient()).await;
    let mut session = stand.logged_in().await;
    session.up("a NOOP\r\nb NOOP\r\nc STATUS x (MESSAGES)\r\n").await;
    session.down("a OK done\r\n").await;
    shut_down(&stand, stand.logged_in().await).await;
    session.down("b OK done\r\n").await;
    session.down("* STATUS x (MESSAGES 1)\r\n").await;
    session.down("c OK done\r\n").await;
    ends(stand, session).await;
}

#[tokio::test]
async fn a_login_under_way_is_answered() {
    let stand = Stand::start(patient()).await;
    let mut session = stand.greeted().await;
    session.up("l LOGIN ann secret\r\n").await;
    shut_down(&stand, stand.logged_in().await).await;
    session.down("l OK in\r\n").await;
    ends(stand, session).await;
}

#[tokio::test]
async fn idle_ends_with_a_word() {
    let stand = Stand::start(patient()).await;
    let mut session = stand.logged_in().await;
    session.up("a IDLE\r\n").await;
    session.down("+ idling\r\n").await;
    session.down("* 2 EXISTS\r\n").await;
    stand.shutdown.cancel();
    ends(stand, session).await;
}

#[tokio::test]
async fn what_hangs_is_cut_at_the_deadline() {
    let limits = ProxyLimits { drain: Duration::from_millis(500), ..ProxyLimits::default() };
    let stand = Stand::start(limits).await;
    let mut unanswered = stand.logged_in().await;
    unanswered.up("a NOOP\r\n").await;
    let mut half = stand.logged_in().await;
    half.up("a FETCH 1 BODY[]\r\n").await;
    half.down("* 1 FETCH (BODY[] {9}\r\n1234").await;
    let mut sending = stand.logged_in().await;
    sending.up("a APPEND INBOX {9+}\r\n1234").await;
    let mut at_the_door = stand.greeted().await;
    at_the_door.up("a LOGIN ann secret\r\n").await;
    stand.shutdown.cancel();
    assert_eq!(unanswered.client.rest().await, GOODBYE);
    assert_eq!(half.client.rest().await, "", "no word in the middle of a literal");
    assert_eq!(sending.client.rest().await, GOODBYE);
    assert_eq!(at_the_door.client.rest().await, "");
    soon(stand.stop()).await;
}

#[tokio::test]
async fn a_kick_waits_for_the_end_of_a_line() {
    let stand = Stand::start(patient()).await;
    let mut session = stand.logged_in().await;
    session.up("a FETCH 1 BODY[]\r\n").await;
    session.down("* 1 FETCH (BODY[] {9}\r\n1234").await;
    let conn = stand.proxy.sessions()[0].id;
    assert!(stand.proxy.kick(conn));
    session.source.say("56789)\r\n").await;
    session.client.hears("56789)\r\n").await;
    assert_eq!(session.client.rest().await, GOODBYE);
    assert_eq!(session.source.rest().await, "");
    stand.stop().await;
}
