use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::MX;

use super::*;
use crate::fake::{Fake, bytes, framed, name, record, reply_to};

const TIMEOUT: Duration = Duration::from_millis(200);

fn mx_of(query: &Message, host: &str) -> Message {
    let mut reply = reply_to(query, ResponseCode::NoError);
    reply.answers = vec![record("contoso.edu.", RData::MX(MX::new(10, name(host))))];
    reply
}

async fn ask(fake: &Fake) -> Result<String, Failure> {
    let question = Question { name: name("contoso.edu."), kind: RecordType::MX };
    let reply = Asker::new(TIMEOUT, Places::new(4, 4)).ask(fake.address, &question).await?;
    let hosts = reply.message.answers.iter().map(|record| record.data.to_string()).collect::<Vec<_>>();
    Ok(format!("{:?} {}", reply.transport, hosts.join(", ")))
}

#[tokio::test]
async fn what_does_not_answer_the_question_is_passed_over() {
    let fake = Fake::start(
        |query| {
            let forged = mx_of(query, "forged.example.");
            let mut number = forged.clone();
            number.metadata.id = !number.metadata.id;
            let mut other = forged.clone();
            other.queries[0].set_name(name("fabrikam.com."));
            let mut kind = forged.clone();
            kind.queries[0].set_query_type(RecordType::A);
            let mut none = forged.clone();
            none.queries.clear();
            let question = query.clone();
            let noise = b"\xff\xff noise".to_vec();
            let true_one = mx_of(query, "mail.contoso.edu.");
            [
                noise,
                bytes(&number),
                bytes(&other),
                bytes(&kind),
                bytes(&none),
                bytes(&question),
                bytes(&true_one),
            ]
            .into()
        },
        |_| vec![],
    )
    .await;
    assert_eq!(ask(&fake).await.unwrap(), "Udp 10 mail.contoso.edu.");
}

#[tokio::test]
async fn server_that_loses_the_letter_case_is_understood() {
    let lower = |query: &Message| {
        let mut reply = mx_of(query, "MAIL.contoso.edu.");
        reply.queries[0].set_name(name("CONTOSO.edu."));
        vec![bytes(&reply)]
    };
    let fake = Fake::start(lower, |_| vec![]).await;
    assert_eq!(ask(&fake).await.unwrap(), "Udp 10 MAIL.contoso.edu.");
}

#[tokio::test]
async fn refused_extension_is_left_out() {
    for code in [ResponseCode::FormErr, ResponseCode::NotImp] {
        let old = move |query: &Message| match query.edns {
            // The oldest send a bare header back.
            Some(_) => {
                let mut refusal = reply_to(query, code);
                refusal.queries.clear();
                vec![bytes(&refusal)]
            }
            None => vec![bytes(&mx_of(query, "mail.contoso.edu."))],
        };
        let fake = Fake::start(old, |_| vec![]).await;
        assert_eq!(ask(&fake).await.unwrap(), "Udp 10 mail.contoso.edu.");
    }
}

#[tokio::test]
async fn truncated_answer_is_fetched_over_tcp() {
    let cut_in_a_record = |query: &Message| {
        let mut reply = mx_of(query, "only.part.example.");
        reply.metadata.truncation = true;
        let mut reply = bytes(&reply);
        reply.truncate(reply.len() - 5);
        vec![reply]
    };
    let whole = |query: &Message| vec![framed(&mx_of(query, "mail.contoso.edu."))];
    let fake = Fake::start(cut_in_a_record, whole).await;
    assert_eq!(ask(&fake).await.unwrap(), "Tcp 10 mail.contoso.edu.");
    assert_eq!(fake.asked(), 1);
}

#[tokio::test]
async fn firewall_that_drops_datagrams_is_passed_by_tcp() {
    let fake = Fake::start(|_| vec![], |query| vec![framed(&mx_of(query, "mail.contoso.edu."))]).await;
    assert_eq!(ask(&fake).await.unwrap(), "Tcp 10 mail.contoso.edu.");
    assert_eq!(fake.asked(), DATAGRAMS);
}

#[tokio::test]
async fn what_tcp_can_do_wrong() {
    let part = |query: &Message| {
        let mut reply = framed(&mx_of(query, "mail.contoso.edu."));
        reply.pop();
        vec![reply]
    };
    assert_eq!(
        ask(&Fake::start(|_| vec![], part).await).await,
        Err(Failure::Malformed("answer cut short".into()))
    );
    let other = |query: &Message| {
        let mut reply = mx_of(query, "mail.contoso.edu.");
        reply.metadata.id = !reply.metadata.id;
        vec![framed(&reply)]
    };
    let failure = ask(&Fake::start(|_| vec![], other).await).await;
    assert_eq!(failure, Err(Failure::Malformed("not an answer to the question".into())));
    let closed = ask(&Fake::start(|_| vec![], |_| vec![]).await).await;
    assert!(matches!(closed, Err(Failure::Io(_))), "{closed:?}");
}

#[tokio::test]
async fn codes_keep_their_names() {
    for (code, shown) in [
        (ResponseCode::ServFail, "SERVFAIL"),
        (ResponseCode::Refused, "REFUSED"),
        (ResponseCode::NotAuth, "NOTAUTH"),
        (ResponseCode::YXDomain, "code 6"),
    ] {
        let fake = Fake::start(move |query| vec![bytes(&reply_to(query, code))], |_| vec![]).await;
        assert_eq!(ask(&fake).await, Err(Failure::Code(shown.into())));
    }
}

#[tokio::test]
async fn silence_ends_after_three_timeouts() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    // A listener whose queue nobody serves: TCP connects and hears nothing.
    let address = socket.local_addr().unwrap();
    let _listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let question = Question { name: name("contoso.edu."), kind: RecordType::MX };
    let started = Instant::now();
    let failure = Asker::new(TIMEOUT, Places::new(4, 4)).ask(address, &question).await.map(|_| ());
    assert_eq!(failure, Err(Failure::Timeout));
    assert!(started.elapsed() < TIMEOUT * 5);
}
