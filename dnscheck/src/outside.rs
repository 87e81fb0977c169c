//! One question to one of the operator's resolvers: what other mail systems see, caches included.
//!
//! It goes through hickory's resolver, as a program of theirs would ask: set up anew for each question with that one
//! server, no cache, no hosts file and no search domains, so that an answer is that server's own and new. Aliases
//! that the server leaves open are followed at the same server. Of a negative answer the library keeps the code and
//! the authority section, no flags. The module must not know authoritative servers: there the flag decides, and
//! `ask` keeps it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::domain::usage::{INVALID, LOCALHOST, ONION};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use tokio::time::timeout;
use tracing::trace;

use crate::answer;
use crate::ask::{Extension, Reply, UDP_PAYLOAD, code_name, io_failure, refuses_edns};
use crate::observation::{Failure, Transport};
use crate::places::{Heard, Places};

/// No question takes longer than this many timeouts, whatever aliases and refusals come between.
const PATIENCE: u32 = 3;

/// Asks resolvers, when there is a place.
#[derive(Debug, Clone)]
pub(crate) struct Outside {
    places: Arc<Places>,
    timeout: Duration,
}

impl Outside {
    pub(crate) fn new(timeout: Duration, places: Arc<Places>) -> Self {
        Self { places, timeout }
    }

    /// Asks `resolver`. Any answer with code NOERROR or NXDOMAIN is a reply. Takes at most three times the
    /// timeout, once there is a place, and one timeout more to see whether it was the resolver that kept silent.
    pub(crate) async fn ask(
        &self,
        resolver: SocketAddr,
        name: &Name,
        kind: RecordType,
    ) -> Result<Reply, Failure> {
        if is_reserved(name) {
            return Err(Failure::Walk("a reserved name, for which no resolver is asked".into()));
        }
        let ask = async || {
            let reply = timeout(self.timeout * PATIENCE, Box::pin(self.attempt(resolver, name, kind))).await;
            let reply = reply.unwrap_or(Err(Failure::Timeout));
            let heard = match Heard::of(&reply) {
                Heard::Nothing => self.presence(resolver).await,
                heard => heard,
            };
            (reply, heard)
        };
        let reply = self.places.ask(resolver, ask).await;
        trace!(%resolver, %name, %kind, ok = reply.is_ok(), "Asked.");
        reply
    }

    /// Whether a resolver that gave no answer says anything at all. It may have waited in vain for the servers of
    /// the name; who serves the root it knows by itself, or says at once that it does not.
    async fn presence(&self, resolver: SocketAddr) -> Heard {
        let root = Name::root();
        let asked = self.look_up(resolver, &root, RecordType::NS, Extension::Edns, Transport::Udp);
        match timeout(self.timeout, Box::pin(asked)).await {
            Ok(Ok(_) | Err(NetError::Dns(_))) => Heard::Answer,
            Ok(Err(_)) | Err(_) => Heard::Nothing,
        }
    }

    async fn attempt(&self, resolver: SocketAddr, name: &Name, kind: RecordType) -> Result<Reply, Failure> {
        let (mut transport, mut answer) = self.exchange(resolver, name, kind, Extension::Edns).await;
        if let Err(NetError::Dns(DnsError::ResponseCode(code))) = &answer
            && refuses_edns(*code)
        {
            (transport, answer) = self.exchange(resolver, name, kind, Extension::Plain).await;
        }
        Ok(Reply { message: message(answer, name, kind)?, transport })
    }

    /// Over UDP, which the library repeats within the timeout, then over TCP if no whole answer came. Which of the
    /// two brought the answer is evidence that the library would not show: so each has a resolver of its own.
    async fn exchange(
        &self,
        resolver: SocketAddr,
        name: &Name,
        kind: RecordType,
        extension: Extension,
    ) -> (Transport, Result<Lookup, NetError>) {
        match self.look_up(resolver, name, kind, extension, Transport::Udp).await {
            answer @ (Ok(_) | Err(NetError::Dns(_))) => (Transport::Udp, answer),
            Err(error) => {
                trace!(%resolver, %error, "Over TCP then.");
                (Transport::Tcp, self.look_up(resolver, name, kind, extension, Transport::Tcp).await)
            }
        }
    }

    async fn look_up(
        &self,
        resolver: SocketAddr,
        name: &Name,
        kind: RecordType,
        extension: Extension,
        transport: Transport,
    ) -> Result<Lookup, NetError> {
        let mut connection = match transport {
            Transport::Udp => ConnectionConfig::udp(),
            Transport::Tcp => ConnectionConfig::tcp(),
        };
        connection.port = resolver.port();
        let server = NameServerConfig::new(resolver.ip(), true, vec![connection]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options(self.timeout, extension);
        let mut name = name.clone();
        name.set_fqdn(true);
        builder.build()?.lookup(name, kind).await
    }
}

fn options(timeout: Duration, extension: Extension) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    options.attempts = 0;
    options.num_concurrent_reqs = 1;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.edns0 = matches!(extension, Extension::Edns);
    options.edns_payload_len = UDP_PAYLOAD;
    options.preserve_intermediates = true;
    // TTLs are evidence; the library would cut them to a day.
    options.positive_max_ttl = Some(Duration::from_secs(u32::MAX.into()));
    options
}

/// The answer as a message, with as much of it as the library shows.
fn message(answer: Result<Lookup, NetError>, name: &Name, kind: RecordType) -> Result<Message, Failure> {
    let error = match answer {
        Ok(lookup) if answers(lookup.message(), name, kind) => return Ok(lookup.message().clone()),
        Ok(_) => return Err(Failure::Malformed("not an answer to the question".into())),
        Err(error) => error,
    };
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => negative(none),
        NetError::Dns(DnsError::ResponseCode(code)) => Err(Failure::Code(code_name(code))),
        NetError::Io(error) => Err(io_failure(&error)),
        NetError::Timeout => Err(Failure::Timeout),
        // All that the library tells of a connection that did not come about.
        NetError::NoConnections => Err(Failure::Io("refused, or no route".into())),
        NetError::Truncated => Err(Failure::Malformed("truncated over TCP".into())),
        other => Err(Failure::Malformed(other.to_string())),
    }
}

/// Whether this is an answer to the question, or to the one that its aliases lead to: the library goes by the number
/// alone over TCP.
fn answers(message: &Message, name: &Name, kind: RecordType) -> bool {
    let repeats = |query: &Query| {
        let end = || answer::follow(&message.answers, name).map(|(end, _)| end);
        (query.name() == name || end().is_some_and(|end| end == *query.name()))
            && query.query_type() == kind
            && query.query_class() == DNSClass::IN
    };
    message.metadata.op_code == OpCode::Query
        && message.metadata.message_type == MessageType::Response
        && matches!(&message.queries[..], [query] if repeats(query))
}

fn negative(none: NoRecords) -> Result<Message, Failure> {
    let mut message = Message::response(0, OpCode::Query);
    message.metadata.response_code = match none.response_code {
        code @ (ResponseCode::NoError | ResponseCode::NXDomain) => code,
        code => return Err(Failure::Code(code_name(code))),
    };
    message.authorities = match (none.authorities, none.soa) {
        (Some(authorities), _) => authorities.to_vec(),
        (None, Some(soa)) => vec![soa.into_record_of_rdata()],
        (None, None) => Vec::new(),
    };
    message.queries = vec![*none.query];
    Ok(message)
}

/// Names that the library answers itself, as RFC 6761 and 7686 tell it to. Nobody said it, so it is no evidence.
fn is_reserved(name: &Name) -> bool {
    INVALID.zone_of(name) || LOCALHOST.zone_of(name) || ONION.zone_of(name)
}

#[cfg(test)]
mod tests;
