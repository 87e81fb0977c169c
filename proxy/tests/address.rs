//! Whose address the source sees: a real Dovecot that trusts the proxy.
#![allow(clippy::unwrap_used)]

mod stand;

use std::time::Duration;

use mailferry_imap::net::Security;
use mailferry_proxy::TellSource;
use stand::{Stand, pause};

/// Dovecot takes addresses from loopback, and logs the client's and its own for each login.
const TRUSTING: &str = "login_trusted_networks = 127.0.0.0/8\nimap_id_log = *\n\
    login_log_format_elements = client=%r port=%b server=%l user=<%u>\n";

/// A proxy that tells in this way, behind a balancer on loopback.
async fn stand(name: &str, tell: TellSource, dovecot: &str) -> Stand {
    Stand::configured(name, Security::Ssl, dovecot, |config, _| {
        config.tell_source = tell;
        for listen in &mut config.listen {
            listen.proxy_protocol_from = vec!["127.0.0.1".parse().unwrap()];
        }
    })
    .await
}

/// Log in, having said this, as the client of a balancer.
fn script(says: &str) -> String {
    format!(
        r#"
r = Raw()
r.send('PROXY TCP4 203.0.113.7 192.0.2.1 4660 993\r\n')
assert r.line().startswith('* OK [CAPABILITY '), 'greeting'
{says}
r.send('l LOGIN ann@example.com secret\r\n')
lines = r.until('l ')
assert lines[-1].startswith('l OK') and not [line for line in lines if 'ID' in line.split()[:2]], lines
r.send('z LOGOUT\r\n')
r.until('z OK')
"#
    )
}

/// The log, once it says this so many times.
async fn log(stand: &Stand, what: &str, many: usize) -> String {
    let waiting = async {
        loop {
            let log = stand.dovecot.log();
            if log.matches(what).count() >= many {
                return log;
            }
            pause().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap()
}

const FORGED: &str = r#"
r.send('a ID ("name" "Mutt" "x-originating-ip" "6.6.6.6" "X-Connected-IP" "6.6.6.7" "x-session-id" "forged")\r\n')
assert r.line().startswith('* ID ')
assert r.line().startswith('a OK')
r.send('b ID ({16}\r\n')
assert r.line().startswith('+')
r.send('X-Originating-IP {7}\r\n')
assert r.line().startswith('+')
r.send('6.6.6.6)\r\n')
assert r.line().startswith('* ID ')
assert r.line().startswith('b OK')
r.send('c NOOP\r\nd CAPABILITY\r\n')
assert r.until('d')[0].startswith('c OK')
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_trusts_us_learns_the_clients_address_by_id() {
    let stand = stand("id", TellSource::Id, TRUSTING).await;
    stand.python(&script("")).await;
    stand.python(&script(FORGED)).await;
    let log = log(&stand, "Login: ", 2).await;
    assert_eq!(log.matches("Login: client=203.0.113.7, port=4660, server=192.0.2.1").count(), 2, "{log}");
    assert!(!log.contains("6.6.6."), "{log}");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_address_does_not_reach_a_source_that_is_told_nothing() {
    let stand = stand("forged", TellSource::Nothing, TRUSTING).await;
    stand.python(&script(FORGED)).await;
    let log = log(&stand, "Login: ", 1).await;
    assert!(log.contains("client=127.0.0.1") && !log.contains("6.6.6.") && !log.contains("forged"), "{log}");
    assert!(log.contains("ID sent: name=Mutt"), "the rest of it does: {log}");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_expects_a_proxy_header_gets_one() {
    let dovecot = format!(
        "{TRUSTING}haproxy_trusted_networks = 127.0.0.0/8\nservice imap-login {{\n inet_listener imaps {{\n haproxy = yes\n }}\n}}\n"
    );
    let stand = stand("header", TellSource::ProxyProtocol, &dovecot).await;
    stand.python(&script("")).await;
    let log = log(&stand, "Login: ", 1).await;
    assert!(log.contains("client=203.0.113.7") && log.contains("server=192.0.2.1"), "{log}");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_has_so_many_sessions_and_nothing_stays_logged_in_behind_them() {
    let stand = Stand::configured("per-login", Security::Ssl, "", |config, _| {
        config.limits.max_connections_per_login = 1;
    })
    .await;
    stand
        .python(
            r#"
m = login()
r = Raw()
r.line()
r.send('a LOGIN ANN@example.com secret\r\nb SELECT INBOX\r\n')
assert r.until('a')[-1].startswith('a NO [LIMIT] '), 'refused'
assert r.line().startswith('* BYE')
assert r.line() == ''
login('bob@example.com').logout()
m.logout()
login().logout()
"#,
        )
        .await;
    assert_eq!(stand.proxy.counters().turned_away, 1);
    let log = log(&stand, "Logged out", 4).await;
    assert_eq!(log.matches("Login: ").count(), 4, "{log}");
    stand.stop().await;
}
