//! What a reply to an MX question says. Pure.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, RData, Record};

use crate::HostName;
use crate::ask::Reply;
use crate::observation::{Failure, MxRecord, Outcome, Role};

/// Links of an alias chain that are followed.
const MAX_ALIASES: usize = 8;

/// The outcome of a question for the MX of `name`, and how long it may be cached in seconds.
///
/// An authoritative server, which holds `zone`, speaks only for names in it: of an alias that leads out of the
/// zone it can say no more than where it leads.
pub(crate) fn read(reply: &Reply, name: &Name, role: Role, zone: Option<&Name>) -> (Outcome, Option<u32>) {
    let message = &reply.message;
    match role {
        Role::Authoritative if !message.metadata.authoritative => {
            return (Outcome::Failed(Failure::Lame), None);
        }
        Role::Resolver if message.answers.is_empty() && is_referral(reply) => {
            return (Outcome::Failed(Failure::Lame), None);
        }
        Role::Authoritative | Role::Resolver => {}
    }
    let Some((end, alias_ttl)) = follow(&message.answers, name) else {
        return (Outcome::Failed(Failure::Malformed("a chain of aliases without end".into())), None);
    };
    if end != *name && zone.is_some_and(|zone| !zone.zone_of(&end)) {
        return (Outcome::Alias(HostName::from(&end)), alias_ttl);
    }
    let mut records: Vec<MxRecord> = message
        .answers
        .iter()
        .filter(|record| record.name == end && record.dns_class == DNSClass::IN)
        .filter_map(|record| match &record.data {
            RData::MX(mx) => Some(MxRecord {
                preference: mx.preference,
                host: HostName::from(&mx.exchange),
                ttl: record.ttl,
            }),
            _ => None,
        })
        .collect();
    records.sort();
    let ttl = records.iter().map(|record| record.ttl).chain(alias_ttl).max();
    let missing = message.metadata.response_code == ResponseCode::NXDomain;
    match &records[..] {
        [_, ..] if missing => {
            (Outcome::Failed(Failure::Malformed("records of a name that does not exist".into())), None)
        }
        [] => {
            let outcome = if missing { Outcome::NoSuchName } else { Outcome::NoMx };
            (outcome, negative_ttl(&message.authorities).or(alias_ttl))
        }
        [only] if only.host.is_root() => (Outcome::NullMx, ttl),
        _ => (Outcome::Records(records), ttl),
    }
}

/// The zone's serial in a reply to a SOA question, from a server that holds the zone.
pub(crate) fn serial(reply: &Reply) -> Option<u32> {
    let message = &reply.message;
    message.answers.iter().filter(|_| message.metadata.authoritative).find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    })
}

/// Where the chain of aliases from `name` ends within these records, and its longest TTL; nothing if it has no end.
pub(crate) fn follow(records: &[Record], name: &Name) -> Option<(Name, Option<u32>)> {
    let mut end = name.clone();
    let mut ttl = None;
    for _ in 0..=MAX_ALIASES {
        let next = records.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == end => Some((target.0.clone(), record.ttl)),
            _ => None,
        });
        let Some((target, link_ttl)) = next else { return Some((end, ttl)) };
        end = target;
        ttl = ttl.max(Some(link_ttl));
    }
    None
}

/// A server that only points elsewhere does not resolve for us.
fn is_referral(reply: &Reply) -> bool {
    let authorities = &reply.message.authorities;
    authorities.iter().any(|record| matches!(record.data, RData::NS(_)))
        && !authorities.iter().any(|record| matches!(record.data, RData::SOA(_)))
}

/// Whether a resolver's empty answer comes from the zone, as its SOA shows (RFC 2308, section 5).
pub(crate) fn is_sound_negative(reply: &Reply) -> bool {
    reply.message.answers.is_empty() && negative_ttl(&reply.message.authorities).is_some()
}

/// RFC 2308, section 5.
fn negative_ttl(authorities: &[Record]) -> Option<u32> {
    authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, OpCode};
    use hickory_proto::rr::rdata::{CNAME, MX, NS, SOA};

    use super::*;
    use crate::observation::Transport;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn mx(owner: &str, preference: u16, host: &str) -> Record {
        Record::from_rdata(name(owner), 600, RData::MX(MX::new(preference, name(host))))
    }

    fn reply(
        authoritative: bool,
        code: ResponseCode,
        answers: Vec<Record>,
        authorities: Vec<Record>,
    ) -> Reply {
        let mut message = Message::response(7, OpCode::Query);
        message.metadata.authoritative = authoritative;
        message.metadata.response_code = code;
        message.answers = answers;
        message.authorities = authorities;
        Reply { message, transport: Transport::Udp }
    }

    fn soa() -> Record {
        let soa = SOA::new(name("ns1.contoso.edu."), name("root.contoso.edu."), 5, 1, 1, 1, 300);
        Record::from_rdata(name("contoso.edu."), 900, RData::SOA(soa))
    }

    fn read_auth(reply: &Reply) -> String {
        let (outcome, ttl) =
            read(reply, &name("contoso.edu."), Role::Authoritative, Some(&name("contoso.edu.")));
        format!("{outcome} {ttl:?}")
    }

    #[test]
    fn records_come_sorted_and_in_lower_case() {
        let records =
            vec![mx("Contoso.EDU.", 20, "Mail.Contoso.edu."), mx("contoso.edu.", 10, "mx1.contoso.edu.")];
        let reply = reply(true, ResponseCode::NoError, records, vec![]);
        assert_eq!(read_auth(&reply), "10 mx1.contoso.edu, 20 mail.contoso.edu Some(600)");
    }

    #[test]
    fn null_mx_only_counts_alone() {
        let alone = reply(true, ResponseCode::NoError, vec![mx("contoso.edu.", 0, ".")], vec![]);
        assert_eq!(read_auth(&alone), "null MX (takes no mail) Some(600)");
        let beside = vec![mx("contoso.edu.", 0, "."), mx("contoso.edu.", 10, "mx1.contoso.edu.")];
        let beside = reply(true, ResponseCode::NoError, beside, vec![]);
        assert_eq!(read_auth(&beside), "0 ., 10 mx1.contoso.edu Some(600)");
    }

    #[test]
    fn absence_is_cached_as_the_zone_says() {
        assert_eq!(read_auth(&reply(true, ResponseCode::NoError, vec![], vec![soa()])), "no MX Some(300)");
        assert_eq!(
            read_auth(&reply(true, ResponseCode::NXDomain, vec![], vec![soa()])),
            "no such name Some(300)"
        );
    }

    #[test]
    fn server_that_does_not_hold_the_zone_is_lame() {
        let cached = reply(false, ResponseCode::NoError, vec![mx("contoso.edu.", 10, "mx1.")], vec![]);
        assert_eq!(read_auth(&cached), "lame: does not hold the zone None");
        let up = Record::from_rdata(name("edu."), 60, RData::NS(NS(name("ns.edu."))));
        let referral = reply(false, ResponseCode::NoError, vec![], vec![up]);
        let (outcome, _) = read(&referral, &name("contoso.edu."), Role::Resolver, None);
        assert_eq!(outcome, Outcome::Failed(Failure::Lame));
    }

    #[test]
    fn alias_is_followed_within_the_zone_and_shown_when_it_leaves() {
        let alias =
            |target: &str| Record::from_rdata(name("contoso.edu."), 1200, RData::CNAME(CNAME(name(target))));
        let inside = vec![alias("x.contoso.edu."), mx("x.contoso.edu.", 10, "mx1.contoso.edu.")];
        let inside = reply(true, ResponseCode::NoError, inside, vec![]);
        assert_eq!(read_auth(&inside), "10 mx1.contoso.edu Some(1200)");
        let outside = vec![alias("x.fabrikam.com."), mx("x.fabrikam.com.", 10, "forged.example.")];
        let outside = reply(true, ResponseCode::NoError, outside, vec![]);
        assert_eq!(read_auth(&outside), "alias of x.fabrikam.com Some(1200)");
        let endless = vec![alias("contoso.edu.")];
        let endless = reply(true, ResponseCode::NoError, endless, vec![soa()]);
        assert_eq!(read_auth(&endless), "malformed answer: a chain of aliases without end None");
        let contradiction = reply(
            true,
            ResponseCode::NXDomain,
            vec![mx("contoso.edu.", 10, "mx1.contoso.edu.")],
            vec![soa()],
        );
        assert_eq!(read_auth(&contradiction), "malformed answer: records of a name that does not exist None");
        let mut chaos = mx("contoso.edu.", 10, "mx1.contoso.edu.");
        chaos.dns_class = DNSClass::CH;
        assert_eq!(
            read_auth(&reply(true, ResponseCode::NoError, vec![chaos], vec![soa()])),
            "no MX Some(300)"
        );
    }
}
