use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use expect_test::{Expect, expect};
use hickory_proto::rr::rdata::{CNAME, MX, NS, SOA};
use hickory_proto::rr::{RData, Record};

use super::*;
use crate::answer;
use crate::fake::{Fake, asked_for, bytes, framed, name, record, reply_to};
use crate::observation::Role;

const TIMEOUT: Duration = Duration::from_millis(500);

fn outside() -> Outside {
    Outside::new(TIMEOUT, Places::new(4, 4))
}

fn mx(owner: &str, host: &str) -> Record {
    record(owner, RData::MX(MX::new(10, name(host))))
}

fn mx_of(query: &Message, host: &str) -> Message {
    let mut reply = reply_to(query, ResponseCode::NoError);
    reply.answers = vec![mx("contoso.edu.", host)];
    reply
}

fn soa() -> Record {
    let soa = SOA::new(name("ns."), name("root."), 1, 1, 1, 1, 30);
    record("contoso.edu.", RData::SOA(soa))
}

/// What the check makes of the answer to a question for contoso.edu's MX.
async fn read(fake: &Fake) -> String {
    let asked = name("contoso.edu.");
    match outside().ask(fake.address, &asked, RecordType::MX).await {
        Ok(reply) => {
            let (outcome, ttl) = answer::read(&reply, &asked, Role::Resolver, None);
            format!("{:?}: {outcome}, TTL {ttl:?}", reply.transport)
        }
        Err(failure) => failure.to_string(),
    }
}

async fn check(answer: impl Fn(&Message) -> Message + Send + 'static, expected: Expect) {
    let fake = Fake::start(move |query| vec![bytes(&answer(query))], |_| vec![]).await;
    expected.assert_eq(&read(&fake).await);
}

#[tokio::test]
async fn resolver_is_asked_to_look_further_and_with_edns() {
    let answer = |query: &Message| {
        assert!(query.metadata.recursion_desired);
        assert_eq!(query.edns.as_ref().unwrap().max_payload(), UDP_PAYLOAD);
        let mut reply = mx_of(query, "Mail.Contoso.EDU.");
        reply.metadata.authoritative = true;
        reply
    };
    let fake = Fake::start(move |query| vec![bytes(&answer(query))], |_| vec![]).await;
    assert_eq!(read(&fake).await, "Udp: 10 mail.contoso.edu, TTL Some(60)");
    let reply = outside().ask(fake.address, &name("contoso.edu."), RecordType::MX).await.unwrap();
    assert!(reply.message.metadata.authoritative, "flags of an answer with records are shown");
}

#[tokio::test]
async fn nothing_is_remembered_and_no_ttl_changed() {
    let count = AtomicU32::new(0);
    let answer = move |query: &Message| {
        let mut reply = mx_of(query, "mail.contoso.edu.");
        reply.answers[0].ttl = 604_800 + count.fetch_add(1, Ordering::Relaxed);
        vec![bytes(&reply)]
    };
    let fake = Fake::start(answer, |_| vec![]).await;
    assert_eq!(read(&fake).await, "Udp: 10 mail.contoso.edu, TTL Some(604800)");
    assert_eq!(read(&fake).await, "Udp: 10 mail.contoso.edu, TTL Some(604801)");
    assert_eq!(fake.asked(), 2);
}

#[tokio::test]
async fn absence_is_definite_and_refusal_is_none() {
    let negative = |code| {
        move |query: &Message| {
            let mut reply = reply_to(query, code);
            reply.authorities = vec![soa()];
            reply
        }
    };
    check(negative(ResponseCode::NoError), expect!["Udp: no MX, TTL Some(30)"]).await;
    check(negative(ResponseCode::NXDomain), expect!["Udp: no such name, TTL Some(30)"]).await;
    let bare = |query: &Message| reply_to(query, ResponseCode::NXDomain);
    check(bare, expect!["Udp: no such name, TTL None"]).await;
    let referral = |query: &Message| {
        let mut reply = reply_to(query, ResponseCode::NoError);
        reply.authorities = vec![record("edu.", RData::NS(NS(name("ns.edu."))))];
        reply
    };
    check(referral, expect!["Udp: lame: does not hold the zone, TTL None"]).await;
    check(|query| reply_to(query, ResponseCode::ServFail), expect!["answered SERVFAIL"]).await;
    check(|query| reply_to(query, ResponseCode::Refused), expect!["answered REFUSED"]).await;
    check(|query| reply_to(query, ResponseCode::YXDomain), expect!["answered code 6"]).await;
}

#[tokio::test]
async fn aliases_are_followed_at_the_same_server() {
    let alias = |owner: &str, to: &str| record(owner, RData::CNAME(CNAME(name(to))));
    let whole = move |query: &Message| {
        let mut reply = mx_of(query, "unasked.example.");
        reply.answers =
            vec![alias("contoso.edu.", "Fabrikam.com."), mx("fabrikam.com.", "mail.fabrikam.com.")];
        reply
    };
    check(whole, expect!["Udp: 10 mail.fabrikam.com, TTL Some(60)"]).await;
    let in_two = move |query: &Message| {
        let (asked, _) = asked_for(query);
        let mut reply = reply_to(query, ResponseCode::NoError);
        reply.answers = match asked == name("contoso.edu.") {
            true => vec![alias("contoso.edu.", "fabrikam.com.")],
            false => vec![mx("fabrikam.com.", "mail.fabrikam.com.")],
        };
        reply
    };
    check(in_two, expect!["Udp: 10 mail.fabrikam.com, TTL Some(60)"]).await;
    let refused_further = move |query: &Message| {
        let (asked, _) = asked_for(query);
        if asked != name("contoso.edu.") {
            return reply_to(query, ResponseCode::Refused);
        }
        let mut reply = reply_to(query, ResponseCode::NoError);
        reply.answers = vec![alias("contoso.edu.", "fabrikam.com.")];
        reply
    };
    check(refused_further, expect!["answered REFUSED"]).await;
    let dangling = move |query: &Message| {
        let mut reply = reply_to(query, ResponseCode::NXDomain);
        if asked_for(query).0 == name("contoso.edu.") {
            reply.answers = vec![alias("contoso.edu.", "fabrikam.com.")];
        }
        reply.authorities = vec![soa()];
        reply
    };
    check(dangling, expect!["Udp: no such name, TTL Some(30)"]).await;
    let endless = move |query: &Message| {
        let mut reply = reply_to(query, ResponseCode::NoError);
        reply.answers = vec![alias("contoso.edu.", "contoso.edu.")];
        reply
    };
    check(endless, expect!["Udp: no MX, TTL None"]).await;
    let other = |query: &Message| {
        let mut forged = mx_of(query, "forged.example.");
        forged.queries[0].set_name(name("fabrikam.com."));
        vec![framed(&forged)]
    };
    let fake = Fake::start(|_| vec![], other).await;
    assert_eq!(read(&fake).await, "malformed answer: not an answer to the question");
}

#[tokio::test]
async fn what_does_not_answer_the_question_is_passed_over() {
    let answers = |query: &Message| {
        let forged = mx_of(query, "forged.example.");
        let mut number = forged.clone();
        number.metadata.id = !number.metadata.id;
        let mut other = forged.clone();
        other.queries[0].set_name(name("fabrikam.com."));
        let mut lower = mx_of(query, "MAIL.contoso.edu.");
        lower.queries[0].set_name(name("CONTOSO.edu."));
        lower.answers[0].name = name("CONTOSO.edu.");
        [bytes(&number), bytes(&other), bytes(&lower)].into()
    };
    let fake = Fake::start(answers, |_| vec![]).await;
    assert_eq!(read(&fake).await, "Udp: 10 mail.contoso.edu, TTL Some(60)");
}

#[tokio::test]
async fn tcp_brings_what_datagrams_do_not() {
    let whole = |query: &Message| vec![framed(&mx_of(query, "mail.contoso.edu."))];
    let expected = "Tcp: 10 mail.contoso.edu, TTL Some(60)";
    let truncated = |query: &Message| {
        let mut reply = mx_of(query, "only.part.example.");
        reply.metadata.truncation = true;
        reply
    };
    let cut = move |query: &Message| {
        let mut reply = bytes(&truncated(query));
        reply.truncate(reply.len() - 5);
        vec![reply]
    };
    let fake = Fake::start(cut, whole).await;
    assert_eq!(read(&fake).await, expected, "cut within a record");
    assert_eq!(fake.asked(), 1);
    let fake = Fake::start(move |query| vec![bytes(&truncated(query))], whole).await;
    assert_eq!(read(&fake).await, expected, "marked as truncated");
    let fake = Fake::start(|_| vec![], whole).await;
    assert_eq!(read(&fake).await, expected, "no datagram passes");
}

#[tokio::test]
async fn refused_extension_is_left_out() {
    for code in [ResponseCode::FormErr, ResponseCode::NotImp] {
        let old = move |query: &Message| match query.edns {
            Some(_) => reply_to(query, code),
            None => mx_of(query, "mail.contoso.edu."),
        };
        check(old, expect!["Udp: 10 mail.contoso.edu, TTL Some(60)"]).await;
    }
}

#[tokio::test]
async fn silence_ends_after_three_timeouts() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let started = tokio::time::Instant::now();
    let ask = || async { outside().ask(address, &name("contoso.edu."), RecordType::MX).await.map(|_| ()) };
    assert_eq!(ask().await, Err(Failure::Io("refused, or no route".into())));
    // A listener whose queue nobody serves: TCP connects and hears nothing.
    let _listener = tokio::net::TcpListener::bind(address).await.unwrap();
    assert_eq!(ask().await, Err(Failure::Timeout));
    // Bounded, with room for a busy machine.
    assert!(started.elapsed() < TIMEOUT * (PATIENCE + 1) * 8);
}

#[tokio::test]
async fn reserved_names_are_no_evidence() {
    let fake = Fake::start(|query| vec![bytes(&mx_of(query, "mail.contoso.edu."))], |_| vec![]).await;
    for reserved in ["contoso.invalid.", "localhost.", "Contoso.Onion."] {
        let failure = outside().ask(fake.address, &name(reserved), RecordType::MX).await.unwrap_err();
        assert!(matches!(failure, Failure::Walk(_)), "{reserved}: {failure}");
    }
    assert_eq!(fake.asked(), 0);
}
