//! Real clients through the proxy to a real Dovecot.
#![allow(clippy::unwrap_used)]

mod stand;

use mailferry_imap::net::Security;
use stand::{Port, Stand, pause};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imaplib_works_and_what_it_does_is_seen() {
    let stand = Stand::start("imaplib").await;
    let told = stand
        .python(
            r#"
m = login()
assert not [c for c in m.capabilities if c.startswith(('COMPRESS', 'STARTTLS', 'LOGIN-REFERRALS'))], m.capabilities
expect(m.capability())
assert b'UIDPLUS' in m.capability()[1][0] and b'COMPRESS' not in m.capability()[1][0]
small = b'Subject: one\r\n\r\nhello {5}\r\n* CAPABILITY COMPRESS=DEFLATE\r\n'
large = b'Subject: two\r\n\r\n' + b'0123456789\r\n' * 100000
expect(m.append('INBOX', None, None, small))
expect(m.append('INBOX', '\\Seen', None, large))
expect(m.create('Work'))
expect(m.select('INBOX'))
assert expect(m.uid('fetch', '1', '(BODY.PEEK[])'))[0][1] == small
assert expect(m.fetch('2', '(UID RFC822)'))[0][1] == large
expect(m.uid('copy', '1', 'Work'))
expect(m.store('1', '+FLAGS', '\\Flagged'))
m.logout()
for body in (small, large):
    print(f'{len(body)} bytes, sum {sum(body)}')
"#,
        )
        .await;
    let (small, large) = told.trim_end().split_once('\n').unwrap();
    let seen = stand.seen().await;
    assert_eq!(
        seen,
        [
            format!("Appended INBOX;1 {small}"),
            format!("Appended INBOX;2 {large}"),
            "Copy 1 from INBOX to Work".to_owned(),
            "changed INBOX".to_owned(),
            "changed Work".to_owned(),
            "folders changed".to_owned(),
        ]
    );
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fetched_is_seen_whole_and_in_ranges() {
    let stand = Stand::start("ranges").await;
    let append = "m = login('ann@example.com')\nbody = b'Subject: x\\r\\n\\r\\n' + bytes(range(32, 127)) * 9000\n\
                  expect(m.append('INBOX', None, None, body))\nm.logout()\n";
    stand.python(append).await;
    let appended = stand.seen().await;
    let key = appended[0].strip_prefix("Appended ").unwrap().to_owned();
    forget(&stand);
    stand
        .python(
            r#"
m = login()
expect(m.select('INBOX', readonly=True))
expect(m.uid('fetch', '1', '(RFC822.SIZE)'))
at = 0
while True:
    part = expect(m.uid('fetch', '1', f'(BODY.PEEK[]<{at}.65536>)'))
    data = part[0][1]
    at += len(data)
    if len(data) < 65536: break
m.logout()
"#,
        )
        .await;
    assert_eq!(stand.seen().await, [format!("Fetched {key}")]);
    forget(&stand);
    stand
        .run(
            "curl",
            &[
                "-sSk",
                "--user",
                "ann@example.com:secret",
                &format!("imaps://127.0.0.1:{}/INBOX;UID=1", stand.port(Port::Ssl)),
                "-o",
                "got.eml",
            ],
        )
        .await;
    assert_eq!(
        stand.seen().await,
        ["changed INBOX".to_owned(), format!("Fetched {key}")]
            .map(|told| told)
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
    );
    stand.stop().await;
}

/// Takes all bodies, so that they are news again.
fn forget(stand: &Stand) {
    stand.spool.forget(stand.ann);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_log_in() {
    for upstream in [Security::Ssl, Security::Tls, Security::None] {
        let stand = Stand::with(&format!("login-{upstream:?}"), upstream, Default::default()).await;
        stand
            .python(
                r#"
import base64
plain = base64.b64encode(b'\0ann@example.com\0secret').decode()
wrong = base64.b64encode(b'\0ann@example.com\0wrong').decode()
def greeted():
    r = Raw()
    greeting = r.line()
    assert greeting.startswith('* OK') and 'COMPRESS' not in greeting and 'STARTTLS' not in greeting, greeting
    return r
def done(r):
    r.send('z9 CAPABILITY\r\nz LOGOUT\r\n')
    lines = r.until('z OK')
    assert lines[0].startswith('* CAPABILITY IMAP4rev1') and 'COMPRESS' not in lines[0], lines
    assert r.line() == ''
r = greeted()
# Wrong ones first, an AUTHENTICATE that is cancelled, then the right one with commands behind it.
r.send('a1 LOGIN ann@example.com wrong\r\n')
assert r.until('a1')[-1].startswith('a1 NO')
r.send('a2 AUTHENTICATE PLAIN\r\n')
assert r.line().startswith('+')
r.send('*\r\n')
assert r.until('a2')[-1].startswith('a2 BAD')
r.send(f'a3 AUTHENTICATE PLAIN {wrong}\r\n')
assert r.until('a3')[-1].startswith('a3 NO')
r.send('a4 login "ann@example.com" "secret"\r\na5 SELECT INBOX\r\na6 NOOP\r\n')
ok = r.until('a4')[-1]
assert ok.startswith('a4 OK') and 'COMPRESS' not in ok, ok
assert r.until('a5')[-1].startswith('a5 OK')
assert r.until('a6')[-1].startswith('a6 OK')
done(r)
r = greeted()
r.send('a1 LOGIN {15}\r\n')
assert r.line().startswith('+')
r.send('ann@example.com {6}\r\n')
assert r.line().startswith('+')
r.send('secret\r\n')
assert r.until('a1')[-1].startswith('a1 OK')
done(r)
r = greeted()
r.send('a1 LOGIN {15+}\r\nann@example.com {6+}\r\nsecret\r\n')
assert r.until('a1')[-1].startswith('a1 OK')
done(r)
r = greeted()
r.send(f'a0 ID NIL\r\na1 AUTHENTICATE PLAIN\r\n')
assert r.until('a0')[-1].startswith('a0 OK')
assert r.line().startswith('+')
r.send(plain + '\r\n')
assert r.until('a1')[-1].startswith('a1 OK')
done(r)
r = greeted()
r.send(f'a1 AUTHENTICATE PLAIN {plain}\r\na2 NOOP\r\n')
assert r.until('a1')[-1].startswith('a1 OK')
assert r.until('a2')[-1].startswith('a2 OK')
done(r)
r = greeted()
r.send('a1 AUTHENTICATE LOGIN\r\n')
r.line()
r.send(base64.b64encode(b'ann@example.com') + b'\r\n')
r.line()
r.send(base64.b64encode(b'secret') + b'\r\n')
assert r.until('a1')[-1].startswith('a1 OK')
done(r)
"#,
            )
            .await;
        let counters = stand.proxy.counters();
        assert_eq!((counters.logins, counters.refused_logins), (6, 3), "{upstream:?}");
        stand.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starttls_is_ours_and_cannot_be_injected_into() {
    let stand = Stand::start("starttls").await;
    stand
        .python(
            r#"
r = Raw('TLS')
greeting = r.line()
assert 'STARTTLS' in greeting and 'LOGINDISABLED' in greeting and 'AUTH=' not in greeting, greeting
r.send('a1 CAPABILITY\r\n')
listed = r.until('a1')[0]
assert 'STARTTLS' in listed and 'LOGINDISABLED' in listed and 'AUTH=' not in listed, listed
r.send('a2 LOGIN ann@example.com secret\r\n')
assert r.line().startswith('a2 NO [PRIVACYREQUIRED]')
r.send('a3 STARTTLS\r\n')
assert r.line().startswith('a3 OK')
s = trust.wrap_socket(r.s)
f = s.makefile('rb')
s.sendall(b'a4 CAPABILITY\r\n')
listed = f.readline().decode()
assert 'STARTTLS' not in listed and 'LOGINDISABLED' not in listed and 'AUTH=PLAIN' in listed, listed
assert f.readline().startswith(b'a4 OK')
s.sendall(b'a5 STARTTLS\r\n')
assert f.readline().startswith(b'a5 BAD')
s.sendall(b'a6 LOGIN ann@example.com secret\r\n')
while not f.readline().startswith(b'a6 OK'): pass
r = Raw('TLS')
r.line()
r.send('a1 STARTTLS\r\na2 LOGIN ann@example.com secret\r\n')
assert r.line().startswith('* BYE')
assert r.line() == ''
m = imaplib.IMAP4('127.0.0.1', int(os.environ['TLS']))
m.starttls(trust)
m.login('ann@example.com', 'secret')
m.logout()
"#,
        )
        .await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_login_everything_is_bounded() {
    let stand = Stand::start("bounds").await;
    stand
        .python(
            r#"
def refused(sent):
    r = Raw()
    r.line()
    try:
        r.send(sent)
        last = ''
        while True:
            line = r.line()
            if not line: break
            last = line
        assert last.startswith('* BYE'), (sent[:40], last)
    except (ConnectionResetError, BrokenPipeError):
        pass
refused(b'a1 NOOP ' + b'x' * 20000)
refused('a1 LOGIN {1000000000}\r\n')
refused('a1 LOGIN {1000000000+}\r\n')
refused('a1 LOGIN {99999999999999999999}\r\n')
refused(b'a1 AUTHENTICATE PLAIN ' + b'x' * 100000)
refused('a1 ID (' + ' {8000+}\r\n'.join(['"x" ' + 'y' * 10] + ['z' * 8000] * 12))
r = Raw()
r.line()
r.send('\r\n')
r.send('garbage\r\na1 NOOP\r\n')
assert r.until('a1')[-1].startswith('a1 OK')
"#,
        )
        .await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_compress_the_tap_is_blind_and_the_session_goes_on() {
    let stand = Stand::start("compress").await;
    stand
        .python(
            r#"
import zlib
r = Raw()
r.line()
r.send('a1 LOGIN ann@example.com secret\r\n')
r.until('a1')
r.send('a2 COMPRESS DEFLATE\r\n')
assert r.until('a2')[-1].startswith('a2 OK'), 'no compress'
pack = zlib.compressobj(9, zlib.DEFLATED, -15)
unpack = zlib.decompressobj(-15)
got = b''
for n in range(20):
    r.send(pack.compress(b'b%d CAPABILITY\r\n' % n) + pack.flush(zlib.Z_SYNC_FLUSH))
    while b'b%d OK' % n not in got:
        got += unpack.decompress(r.s.recv(4096))
r.s.close()
"#,
        )
        .await;
    assert_eq!(stand.seen().await, ["everything"]);
    assert_eq!(stand.proxy.counters().blind, 1);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_blind_tap_missed_is_looked_for_when_the_session_is_over() {
    let stand = Stand::start("missed").await;
    let client = stand.python(
        "r = Raw()\nr.line()\nr.send('a1 LOGIN ann@example.com secret\\r\\n')\nr.until('a1')\n\
         r.send('a2\\tNOOP\\r\\n')\nr.line()\nwhile not os.path.exists('told'): pass\n\
         r.send('a3 CREATE New\\r\\n')\nr.until('a3 OK')\nr.s.close()\n",
    );
    let told = async {
        stand.spool.changed(stand.ann).await;
        let told = stand.spool.drain(stand.ann);
        std::fs::write(stand.dovecot.folder.join("told"), "").unwrap();
        told.len()
    };
    let (_, told) = tokio::join!(client, told);
    assert_eq!(told, 1);
    assert_eq!(stand.seen().await, ["everything"]);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mbsync_mirrors_a_mailbox_through_the_proxy() {
    let stand = Stand::start("mbsync").await;
    stand
        .python(
            r#"
m = login()
expect(m.create('Work'))
for n in range(40):
    body = b'Message-ID: <%d@x>\r\nSubject: %d\r\n\r\n' % (n, n) + b'line\r\n' * n * 200
    expect(m.append('INBOX' if n % 2 else 'Work', None, None, body))
m.logout()
"#,
        )
        .await;
    stand.seen().await;
    forget(&stand);
    let folder = stand.dovecot.folder.display();
    let config = format!(
        "IMAPAccount p\nHost localhost\nPort {}\nUser ann@example.com\nPass secret\nSSLType IMAPS\n\
         CertificateFile {folder}/cert.pem\n\nIMAPStore far\nAccount p\n\nMaildirStore near\nPath {folder}/near/\n\
         Inbox {folder}/near/INBOX\n\nChannel c\nFar :far:\nNear :near:\nPatterns *\nCreate Near\nSyncState *\n",
        stand.port(Port::Ssl)
    );
    std::fs::write(stand.dovecot.folder.join("mbsyncrc"), config).unwrap();
    std::fs::create_dir_all(stand.dovecot.folder.join("near")).unwrap();
    stand.run("mbsync", &["-c", "mbsyncrc", "-a"]).await;
    let seen = stand.seen().await;
    let bodies = seen.iter().filter(|told| told.starts_with("Fetched")).count();
    assert_eq!(bodies, 40, "{seen:?}");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_relayed_and_not_mirrored() {
    let stand = Stand::start("stranger").await;
    stand
        .python("m = login('bob@example.com')\nexpect(m.append('INBOX', None, None, b'Subject: x\\r\\n\\r\\n'))\nm.logout()\n")
        .await;
    assert!(stand.seen().await.is_empty());
    assert_eq!(stand.spool.usage().offered, 0);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_not_there_is_said_so() {
    let stand = Stand::start("gone").await;
    // It listens before it has written its pid.
    let mut pid = String::new();
    while pid.is_empty() {
        pause().await;
        pid = std::fs::read_to_string(stand.dovecot.folder.join("run/master.pid")).unwrap_or_default();
    }
    stand.run("kill", &[pid.trim()]).await;
    while std::net::TcpStream::connect(("127.0.0.1", stand.dovecot.tls)).is_ok() {
        pause().await;
    }
    stand
        .python("r = Raw('SSL', tls=True)\nassert r.line().startswith('* BYE [UNAVAILABLE]')\nassert r.line() == ''\n")
        .await;
    assert_eq!(stand.proxy.counters().source_unreachable, 1);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_says_goodbye_to_those_at_rest() {
    let stand = Stand::start("drain").await;
    let client = stand.python(
        "m = login()\nexpect(m.select('INBOX'))\nm.send(b'i1 IDLE\\r\\n')\nassert m.readline().startswith(b'+')\n\
         assert m.readline().startswith(b'* BYE')\nassert m.readline() == b''\n",
    );
    let stop = async {
        while stand.proxy.counters().logins == 0 {
            pause().await;
        }
        stand.shutdown.cancel();
    };
    tokio::join!(client, stop);
    stand.stop().await;
}
