//! A client that says all it has to say and closes its half, as scripts with a pipe do, hears what the source answers.
#![allow(clippy::unwrap_used)]

mod scripted;

use std::time::Duration;

use mailferry_proxy::ProxyLimits;
use scripted::{Stand, soon};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn before_a_login_the_answers_come_and_the_source_is_told() {
    let stand = Stand::start(ProxyLimits::default()).await;
    let mut session = stand.greeted().await;
    session.up("a NOOP\r\nb LOGOUT\r\n").await;
    session.client.0.shutdown().await.unwrap();
    assert_eq!(session.source.rest().await, "", "the half-close is passed on");
    session.down("a OK done\r\n").await;
    session.down("* BYE bye\r\nb OK done\r\n").await;
    session.source.0.shutdown().await.unwrap();
    assert_eq!(session.client.rest().await, "");
    soon(stand.empty()).await;
}

#[tokio::test]
async fn what_stands_behind_a_login_goes_first() {
    let stand = Stand::start(ProxyLimits::default()).await;
    let mut session = stand.greeted().await;
    session.client.say("a LOGIN ann secret\r\nb NOOP\r\n").await;
    session.client.0.shutdown().await.unwrap();
    session.source.hears("a LOGIN ann secret\r\n").await;
    session.down("a OK in\r\n").await;
    assert_eq!(session.source.rest().await, "b NOOP\r\n");
    session.down("b OK done\r\n").await;
    session.source.0.shutdown().await.unwrap();
    assert_eq!(session.client.rest().await, "");
    soon(stand.empty()).await;
}

#[tokio::test]
async fn a_source_that_does_not_care_is_not_waited_for_long() {
    let limits = ProxyLimits { linger: Duration::from_millis(200), ..ProxyLimits::default() };
    let stand = Stand::start(limits).await;
    let mut session = stand.greeted().await;
    session.up("a NOOP\r\n").await;
    session.client.say("half a li").await;
    session.client.0.shutdown().await.unwrap();
    assert_eq!(session.client.rest().await, "* BYE Too long without a login.\r\n");
    assert_eq!(session.source.rest().await, "", "half a line is no command");
    soon(stand.empty()).await;
}

#[tokio::test]
async fn a_session_that_stays_half_closed_without_a_byte_is_let_go() {
    let limits = ProxyLimits { linger: Duration::from_millis(200), ..ProxyLimits::default() };
    let stand = Stand::start(limits).await;
    let mut session = stand.logged_in().await;
    session.client.0.shutdown().await.unwrap();
    assert_eq!(session.source.rest().await, "");
    // Its last words still come.
    session.down("* 1 EXISTS\r\n").await;
    assert_eq!(session.client.rest().await, "");
    stand.empty().await;
    // The source's half.
    let mut session = stand.logged_in().await;
    session.source.0.shutdown().await.unwrap();
    assert_eq!(session.client.rest().await, "");
    session.up("a NOOP\r\n").await;
    assert_eq!(session.source.rest().await, "");
    stand.empty().await;
    stand.stop().await;
}
