use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::{A, NS, SOA};

use super::*;
use crate::Transport;
use crate::fake::{Fake, asked_for, bytes, name, record, reply_to};
use crate::places::Places;

fn walker(root: SocketAddr) -> Walker {
    let config = Config { roots: vec![root], port: root.port(), ..Config::default() };
    let (timeout, places) = (Duration::from_millis(200), Places::new(16, 16));
    let outside = Outside::new(timeout, Arc::clone(&places));
    Walker::new(Asker::new(timeout, places), outside, Arc::new(config), Arc::default())
}

fn referral(query: &Message, zone: &str, server: &str, glue: Option<Ipv4Addr>) -> Message {
    let mut reply = reply_to(query, ResponseCode::NoError);
    reply.authorities = vec![record(zone, RData::NS(NS(name(server))))];
    reply.additionals = glue.map(|ip| record(server, RData::A(A(ip)))).into_iter().collect();
    reply
}

fn asking(kind: RecordType) -> Message {
    let mut query = Message::query();
    query.add_query(Query::query(name("contoso.edu."), kind));
    query
}

fn soa(zone: &str) -> Record {
    record(zone, RData::SOA(SOA::new(name("ns."), name("root."), 1, 1, 1, 1, 1)))
}

async fn fails(answer: impl Fn(&Message) -> Message + Send + 'static) -> (String, u32) {
    let fake = Fake::start(move |query| vec![bytes(&answer(query))], |_| vec![]).await;
    let walker = walker(fake.address);
    let failure = walker.zone_of(&name("a.b.c.contoso.edu.")).await.unwrap_err();
    (failure.to_string(), fake.asked())
}

#[tokio::test]
async fn referrals_that_lead_nowhere_end_the_walk() {
    // Up, sideways, to itself: none lies between the zone and the name.
    for zone in [".", "com.", "x.contoso.edu."] {
        let (failure, asked) =
            fails(move |query| referral(query, zone, "ns.edu.", Some(Ipv4Addr::LOCALHOST))).await;
        assert_eq!(failure, "not found: no server of . helped: lame: does not hold the zone");
        assert_eq!(asked, 1);
    }
    // Nothing at all.
    let (failure, _) = fails(|query| reply_to(query, ResponseCode::NoError)).await;
    assert!(failure.ends_with("lame: does not hold the zone"), "{failure}");
}

#[tokio::test]
async fn name_servers_that_need_each_other_end_the_walk() {
    // edu's server is named in com, com's in edu, and nobody gives an address.
    let (failure, asked) = fails(|query| {
        let (asked_for, _) = asked_for(query);
        if name("edu.").zone_of(&asked_for) {
            referral(query, "edu.", "ns.com.", None)
        } else {
            referral(query, "com.", "ns.edu.", None)
        }
    })
    .await;
    assert_eq!(failure, "not found: no address of a server of edu was found");
    assert!(asked < 50, "{asked}");
}

#[tokio::test]
async fn zones_that_multiply_questions_run_out_of_budget() {
    // Each name server is named under a zone whose thirty name servers are named under further such zones.
    let fake = Fake::start(
        |query| {
            let (asked_for, _) = asked_for(query);
            let zone = asked_for.trim_to(1).to_ascii();
            let mut reply = reply_to(query, ResponseCode::NoError);
            reply.authorities = (0..20)
                .map(|n| {
                    record(&zone, RData::NS(NS(name(&format!("ns.{n}x{}", zone.trim_start_matches('.'))))))
                })
                .collect();
            vec![bytes(&reply)]
        },
        |_| vec![],
    )
    .await;
    let failure = walker(fake.address).zone_of(&name("contoso.edu.")).await.unwrap_err();
    assert!(matches!(failure, Failure::Walk(_)));
    assert!(fake.asked() <= MAX_QUESTIONS, "{}", fake.asked());
}

#[test]
fn glue_for_foreign_names_is_not_believed() {
    // edu's server may say where ns.edu is, not where ns.com is; and nobody asked for ns2.edu.
    let mut message = referral(&asking(RecordType::NS), "contoso.edu.", "ns.com.", Some(Ipv4Addr::LOCALHOST));
    message.authorities.push(record("contoso.edu.", RData::NS(NS(name("ns.edu.")))));
    message.additionals.push(record("ns.edu.", RData::A(A(Ipv4Addr::LOCALHOST))));
    message.additionals.push(record("ns2.edu.", RData::A(A(Ipv4Addr::LOCALHOST))));
    let reply = Reply { message, transport: Transport::Udp };
    let mut named = Named::default();
    named.add(&reply, &name("contoso.edu."), &name("edu."), 53);
    let expected = [
        (HostName::from("ns.com"), BTreeSet::new()),
        (HostName::from("ns.edu"), BTreeSet::from([SocketAddr::from((Ipv4Addr::LOCALHOST, 53))])),
    ];
    assert_eq!(named.hosts, BTreeMap::from(expected));
}

#[test]
fn apex_is_never_taken_from_above_the_zone() {
    // A server of edu that claims to be the root's apex for the name: only what lies within its zone counts.
    let mut message = reply_to(&asking(RecordType::SOA), ResponseCode::NXDomain);
    message.metadata.authoritative = true;
    message.authorities = vec![soa(".")];
    let reply = Reply { message, transport: Transport::Udp };
    assert!(step(&reply, &name("contoso.edu."), &name("edu."), 53).is_none());
    assert!(matches!(
        step(&reply, &name("contoso.edu."), &Name::root(), 53),
        Some(Step::Here { apex }) if apex.is_root()
    ));
}
