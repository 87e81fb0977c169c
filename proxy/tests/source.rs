//! What a source may say, and what a client may leave unread.
#![allow(clippy::unwrap_used)]

mod scripted;

use std::time::Duration;

use mailferry_proxy::ProxyLimits;
use scripted::{Stand, soon};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn before_a_login_what_stands_behind_a_literal_is_no_line_of_its_own() {
    let stand = Stand::start(ProxyLimits::default()).await;
    let mut session = stand.greeted().await;
    session.up("l LOGIN ann secret\r\n").await;
    // Within a response a list is text, and no answer.
    session.down("* ID (\"a\" {3}\r\nxyz\r\n").await;
    session.down("* ID (\"a\" {3}\r\nxyzl OK \"b\" {1}\r\nx* CAPABILITY STARTTLS)\r\n").await;
    // Still at the door: STARTTLS is answered there once the login is.
    session.client.say("s STARTTLS\r\n").await;
    session.down("l NO no\r\n").await;
    session.client.hears("s BAD STARTTLS is not available here.\r\n").await;
    session.source.say("* CAPABILITY IMAP4rev1 STARTTLS\r\n").await;
    session.client.hears("* CAPABILITY IMAP4rev1\r\n").await;
    drop(session);
    stand.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_after_its_login_is_let_go() {
    let limits = ProxyLimits { write: Duration::from_millis(300), ..ProxyLimits::default() };
    let stand = Stand::start(limits).await;
    let mut deaf = stand.logged_in().await;
    let mut quiet = stand.logged_in().await;
    let news = format!("* OK {}\r\n", "x".repeat(60_000));
    let pouring = async { while deaf.source.0.write_all(news.as_bytes()).await.is_ok() {} };
    soon(pouring).await;
    // One for whom nothing waits stays.
    quiet.up("a NOOP\r\n").await;
    quiet.down("a OK done\r\n").await;
    assert_eq!(stand.proxy.counters().open, 1);
    drop((deaf, quiet));
    stand.empty().await;
    stand.stop().await;
}

#[tokio::test]
async fn what_a_client_calls_itself_after_its_login_is_noted_and_passes() {
    let stand = Stand::start(ProxyLimits::default()).await;
    let mut session = stand.logged_in().await;
    session.up("a NOOP\r\n").await;
    session.up("b ID (\"vendor\" NIL \"name\" \"Some mail\" \"x-originating-ip\" \"192.0.2.1\")\r\n").await;
    assert_eq!(stand.proxy.sessions()[0].client_name.as_deref(), Some("Some mail"));
    session.up("c ID (\"name\" \"Another\")\r\n").await;
    assert_eq!(stand.proxy.sessions()[0].client_name.as_deref(), Some("Some mail"), "the first one counts");
    // Behind the login, in one breath with it.
    let mut hasty = stand.greeted().await;
    hasty.client.say("l LOGIN bob secret\r\ni ID (\"name\" \"Hasty\")\r\n").await;
    hasty.source.hears("l LOGIN bob secret\r\n").await;
    hasty.down("l OK in\r\n").await;
    hasty.source.hears("i ID (\"name\" \"Hasty\")\r\n").await;
    assert_eq!(stand.proxy.sessions()[1].client_name.as_deref(), Some("Hasty"));
    drop((session, hasty));
    stand.stop().await;
}

#[tokio::test]
async fn before_a_login_nothing_of_ours_comes_in_between_what_the_source_says() {
    let stand = Stand::start(ProxyLimits::default()).await;
    let mut session = stand.greeted().await;
    session.up("i ID NIL\r\n").await;
    session.down("* ID (\"name\" {7}\r\nDov").await;
    // Answered here, but not in the middle of a literal.
    session.client.say("s STARTTLS\r\nn NOOP\r\n").await;
    session.source.say("ecot)\r\n").await;
    session.client.hears("ecot)\r\ns BAD STARTTLS is not available here.\r\n").await;
    session.source.hears("n NOOP\r\n").await;
    drop(session);
    stand.stop().await;
}

#[tokio::test]
async fn behind_a_login_that_may_have_wrapped_the_stream_everything_passes_at_once() {
    let stand = Stand::start(ProxyLimits::default()).await;
    let mut session = stand.greeted().await;
    session.up("l AUTHENTICATE GSSAPI\r\n").await;
    session.down("+ \r\n").await;
    session.up("YII=\r\n").await;
    session.down("l OK in\r\n").await;
    // Neither a blank nor the end of a line: it could go on as a tag does.
    session.up("\0\0\0\u{4}abcd").await;
    session.down("\0\0\0\u{4}abcd").await;
    session.down("\0\0\0\u{4}\nab*").await;
    drop(session);
    stand.stop().await;
}
