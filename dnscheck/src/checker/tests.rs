//! Whatever a server sends that is not a sound answer to the question never makes `office365`.

use std::net::SocketAddr;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, MX, NS, SOA};
use hickory_proto::rr::{DNSClass, RData, Record};
use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;
use crate::Verdict;
use crate::fake::{Fake, asked_for, bytes, name, record, reply_to};

const DOMAIN: &str = "contoso.edu.";
const OFFICE_365: &str = "contoso-edu.mail.protection.outlook.com.";
const TIMEOUT: Duration = Duration::from_millis(60);

/// What becomes of the answer about MX; each would be `office365` if it were believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Garbage {
    Noise,
    OtherNumber,
    OtherName,
    OtherType,
    OtherClass,
    NoQuestion,
    NotAResponse,
    OtherOperation,
    Cut,
    Code,
    OwnerElsewhere,
    RecordOfOtherClass,
    InWrongSection,
    AliasLoop,
    AliasChain,
    AliasToNowhere,
    LookAlike,
    /// Only for an authoritative server.
    NotAuthoritative,
    /// Only for an authoritative server: records of a zone that is not its own.
    OtherZone,
}

impl Garbage {
    const BY_ANYBODY: [Self; 17] = [
        Self::Noise,
        Self::OtherNumber,
        Self::OtherName,
        Self::OtherType,
        Self::OtherClass,
        Self::NoQuestion,
        Self::NotAResponse,
        Self::OtherOperation,
        Self::Cut,
        Self::Code,
        Self::OwnerElsewhere,
        Self::RecordOfOtherClass,
        Self::InWrongSection,
        Self::AliasLoop,
        Self::AliasChain,
        Self::AliasToNowhere,
        Self::LookAlike,
    ];
    const BY_A_SERVER: [Self; 2] = [Self::NotAuthoritative, Self::OtherZone];

    fn apply(self, query: &Message, noise: &[u8], number: usize) -> Vec<u8> {
        let mut reply = good(query, DOMAIN, OFFICE_365);
        let some = |names: &[&str]| name(names[number % names.len()]);
        let alias = |from: &str, to: &str| record(from, RData::CNAME(CNAME(name(to))));
        match self {
            Self::Noise => return noise.to_vec(),
            Self::OtherNumber => reply.metadata.id ^= 1 << (number % 16),
            Self::OtherName => {
                reply.queries[0].set_name(some(&["edu.", "a.contoso.edu.", "contoso.com.", "."]));
            }
            Self::OtherType => {
                reply.queries[0].set_query_type(RecordType::ANY);
            }
            Self::OtherClass => {
                reply.queries[0].set_query_class(DNSClass::CH);
            }
            Self::NoQuestion => reply.queries.clear(),
            Self::NotAResponse => reply.metadata.message_type = MessageType::Query,
            Self::OtherOperation => reply.metadata.op_code = OpCode::Notify,
            Self::Cut => {
                let mut whole = bytes(&reply);
                // Somewhere within the answer; a shorter one is a cut question.
                whole.truncate(1 + number % (whole.len() - 1));
                return whole;
            }
            Self::Code => {
                let codes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
                reply.metadata.response_code = ResponseCode::from(0, codes[number % codes.len()]);
            }
            Self::OwnerElsewhere => {
                reply.answers[0].name =
                    some(&["edu.", "www.contoso.edu.", "contoso.edu.evil.example.", "xcontoso.edu.", "."]);
            }
            Self::RecordOfOtherClass => reply.answers[0].dns_class = DNSClass::CH,
            Self::InWrongSection => match number % 2 {
                0 => reply.authorities = std::mem::take(&mut reply.answers),
                _ => reply.additionals = std::mem::take(&mut reply.answers),
            },
            Self::AliasLoop => {
                reply.answers.insert(0, alias(DOMAIN, "a.contoso.edu."));
                reply.answers.push(alias("a.contoso.edu.", DOMAIN));
            }
            Self::AliasChain => {
                let link = |n: usize| if n == 0 { DOMAIN.to_owned() } else { format!("l{n}.contoso.edu.") };
                let end = 9 + number % 20;
                reply.answers = (0..end).map(|n| alias(&link(n), &link(n + 1))).collect();
                reply.answers.push(mx(&link(end), OFFICE_365));
            }
            // The record stands beside the alias, and not where the alias leads.
            Self::AliasToNowhere => reply.answers.insert(0, alias(DOMAIN, "nowhere.contoso.edu.")),
            Self::LookAlike => {
                let hosts = [
                    "contoso-edu.mail.protection.outlook.com.evil.example.",
                    "xmail.protection.outlook.com.",
                    "contoso-edu\\.mail.protection.outlook.com.",
                    "contoso-edu.mail\\.protection.outlook.com.",
                    "mail.protection.outlook.com.",
                    "contoso-edu.mail.protection.outlook.com\\.",
                    "contoso-edu.mail.protection.outlook.co.",
                ];
                reply.answers = vec![mx(DOMAIN, hosts[number % hosts.len()])];
            }
            Self::NotAuthoritative => reply.metadata.authoritative = false,
            Self::OtherZone => {
                reply.answers =
                    vec![alias(DOMAIN, "mail.evil.example."), mx("mail.evil.example.", OFFICE_365)];
            }
        }
        bytes(&reply)
    }
}

fn mx(owner: &str, host: &str) -> Record {
    record(owner, RData::MX(MX::new(0, name(host))))
}

fn good(query: &Message, owner: &str, host: &str) -> Message {
    let mut reply = reply_to(query, ResponseCode::NoError);
    reply.metadata.authoritative = true;
    reply.answers = vec![mx(owner, host)];
    reply
}

/// A sound answer to everything but MX, from the one server of contoso.edu, where a walk begins too.
fn beside(query: &Message) -> Message {
    let (asked, kind) = asked_for(query);
    let zone = name(DOMAIN);
    if !zone.zone_of(&asked) {
        return reply_to(query, ResponseCode::Refused);
    }
    let mut reply = reply_to(query, ResponseCode::NoError);
    reply.metadata.authoritative = true;
    let soa = record(DOMAIN, RData::SOA(SOA::new(name("ns1.contoso.edu."), name("root."), 1, 1, 1, 1, 60)));
    match kind {
        RecordType::SOA if asked == zone => reply.answers = vec![soa],
        RecordType::NS if asked == zone => {
            reply.answers = vec![record(DOMAIN, RData::NS(NS(name("ns1.contoso.edu."))))];
        }
        _ => reply.authorities = vec![soa],
    }
    reply
}

/// A server that answers about MX as told.
async fn server(about_mx: impl Fn(&Message) -> Vec<u8> + Clone + Send + 'static) -> Fake {
    let answer = move |query: &Message| match asked_for(query) {
        (_, RecordType::MX) => about_mx(query),
        _ => bytes(&beside(query)),
    };
    let over_tcp = answer.clone();
    let framed = move |query: &Message| {
        let body = over_tcp(query);
        vec![[&u16::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()]
    };
    Fake::start(move |query| vec![answer(query)], framed).await
}

async fn check(authority: SocketAddr, resolvers: Vec<SocketAddr>) -> Observation {
    let config = Config {
        roots: vec![authority],
        name_servers: [("ns1.contoso.edu".to_owned(), authority)].into(),
        resolvers,
        timeout: TIMEOUT,
        ..Config::default()
    };
    Checker::new(config).check(DOMAIN, &[]).await
}

fn sound(query: &Message) -> Vec<u8> {
    bytes(&good(query, DOMAIN, OFFICE_365))
}

/// Shows that the servers below are believed when they are sound: else nothing would be proven.
#[tokio::test]
async fn sound_answers_are_office_365() {
    let authority = server(sound).await;
    let seen = check(authority.address, vec![authority.address]).await;
    assert_eq!(seen.verdict, Verdict::Office365, "{seen:#?}");
    assert_eq!(check(authority.address, vec![]).await.verdict, Verdict::Office365);
}

#[derive(Debug, Clone)]
struct Trial {
    garbage: Garbage,
    from: Role,
    noise: Vec<u8>,
    number: usize,
}

fn trial() -> impl Strategy<Value = Trial> {
    let by_a_server = prop::sample::select([&Garbage::BY_ANYBODY[..], &Garbage::BY_A_SERVER].concat())
        .prop_map(|garbage| (garbage, Role::Authoritative));
    let by_a_resolver =
        prop::sample::select(Garbage::BY_ANYBODY.to_vec()).prop_map(|garbage| (garbage, Role::Resolver));
    let which = prop_oneof![by_a_server, by_a_resolver];
    (which, prop::collection::vec(any::<u8>(), 0..80), any::<usize>())
        .prop_map(|((garbage, from), noise, number)| Trial { garbage, from, noise, number })
}

async fn tried(trial: Trial) -> (Trial, Observation) {
    let Trial { garbage, noise, number, .. } = trial.clone();
    let bad = server(move |query| garbage.apply(query, &noise, number)).await;
    let well = server(sound).await;
    let seen = match trial.from {
        // The resolver is well: it alone may not decide.
        Role::Authoritative => check(bad.address, vec![well.address]).await,
        Role::Resolver => check(well.address, vec![bad.address]).await,
    };
    (trial, seen)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn garbage_is_never_office_365(trials in prop::collection::vec(trial(), 40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let seen = runtime.block_on(async {
            let mut trying = JoinSet::new();
            for trial in trials {
                trying.spawn(tried(trial));
            }
            trying.join_all().await
        });
        for (trial, observation) in seen {
            prop_assert!(!observation.verdict.is_cut_over(), "{trial:?} {observation:#?}");
        }
    }

    #[test]
    fn bytes_are_never_an_answer_by_chance(noise in prop::collection::vec(any::<u8>(), 0..600)) {
        // Reading them must end, and what comes of it must be read too without harm.
        if let Ok(message) = Message::from_vec(&noise) {
            let reply = Reply { message, transport: crate::Transport::Udp };
            for role in [Role::Authoritative, Role::Resolver] {
                let (outcome, _) = answer::read(&reply, &name(DOMAIN), role, Some(&name(DOMAIN)));
                prop_assert!(!matches!(outcome, Outcome::Records(_)), "{outcome:?}");
            }
        }
    }

    #[test]
    fn names_off_the_wire_count_only_below_microsofts_zones(
        labels in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec!["mail", "protection", "outlook", "com", "mx", "microsoft", "us", "office365", "x"])
                    .prop_map(|label| label.as_bytes().to_vec()),
                prop::sample::select(vec!["a.mail", "outlook.com", "mail.protection", "\\", "x\\", " com", "com ", "."])
                    .prop_map(|label| label.as_bytes().to_vec()),
                prop::collection::vec(any::<u8>(), 1..6),
            ],
            0..7,
        ),
        suffix in prop::sample::select(vec![
            "", "mail.protection.outlook.com", "mx.microsoft", "mail.protection.office365.us",
        ]),
    ) {
        let ends: Vec<&[u8]> = suffix.split('.').filter(|label| !label.is_empty()).map(str::as_bytes).collect();
        let all = labels.iter().map(Vec::as_slice).chain(ends);
        let Ok(mut host) = Name::from_labels(all) else { return Ok(()) };
        host.set_fqdn(true);
        let class = Policy::default().classify(&HostName::from(&host));
        let zones = [
            "mail.protection.outlook.com.",
            "mx.microsoft.",
            "mail.eo.outlook.com.",
            "mail.protection.office365.us.",
            "mail.protection.partner.outlook.cn.",
        ];
        let truly = zones.iter().any(|zone| name(zone).zone_of(&host) && name(zone) != host);
        prop_assert!(truly || !class.counts(), "{host} {class:?}");
    }
}
