//! The PROXY header: cut anywhere the same is made of it, nothing is taken that belongs to who speaks next, and what is
//! told is what a reader of its own, word by word from the specification, makes of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Cuts, Script, Side, same_for_all_cuts};
use crate::proxy_protocol::{Ends, Whole, header, is_header, parse, take};

/// What is seen at once at most.
const WINDOW: usize = 256;

/// See the module.
pub fn run(input: &[u8]) {
    let script = Script::new(input);
    let said = script.said(Side::Client);
    let (told, taken) = same_for_all_cuts(|cuts| play(&script, cuts));
    assert!(taken <= said.len());
    if let Some(Ok(told)) = told {
        assert_eq!(told, reference(&said[..taken]), "{}", said[..taken].escape_ascii());
        if let Some(ends) = told {
            let again = header(ends).expect("both ends fit");
            assert!(is_header(&again));
            assert_eq!(parse(&again), Ok(Some(ends)), "what we send says the same");
        }
    }
}

/// What was made of it, if it was whole or refused, and how much was taken.
fn play(script: &Script<'_>, cuts: Cuts) -> (Option<Result<Option<Ends>, ()>>, usize) {
    let (mut taken, mut so_far, mut waiting) = (0, Vec::new(), Vec::new());
    for (side, chunk) in script.chunks(cuts) {
        if side == Side::Server {
            continue;
        }
        waiting.extend_from_slice(&chunk);
        while !waiting.is_empty() {
            let window = waiting.len().min(WINDOW);
            match take(&mut so_far, &waiting[..window]) {
                // How far it was read before it was refused does not matter: nobody reads on.
                Err(_) => return (Some(Err(())), 0),
                Ok((amount, whole)) => {
                    waiting.drain(..amount);
                    taken += amount;
                    assert_eq!(taken, so_far.len());
                    assert!(taken <= 4096, "bounded");
                    if whole == Whole::Yes {
                        return (Some(parse(&so_far).map_err(|_| ())), taken);
                    }
                    assert!(amount == window, "what is not whole takes all there is");
                }
            }
        }
    }
    (None, taken)
}

/// For headers that make sense.
fn reference(header: &[u8]) -> Option<Ends> {
    if let Some(rest) = header.strip_prefix(b"PROXY ") {
        let rest = rest.strip_suffix(b"\r\n").expect("a line");
        if rest.starts_with(b"UNKNOWN") {
            return None;
        }
        let words: Vec<&str> =
            rest.split(|byte| *byte == b' ').map(|word| str::from_utf8(word).expect("ASCII")).collect();
        let [family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] = words[..] else {
            panic!("not five words");
        };
        let end = |ip: &str, port: &str| {
            let ip: IpAddr = ip.parse().expect("an address");
            assert_eq!(ip.is_ipv4(), family == "TCP4");
            SocketAddr::new(ip.to_canonical(), port.parse().expect("a port"))
        };
        return Some(Ends { client: end(from, from_port), server: end(to, to_port) });
    }
    let [command, family, high, low, body @ ..] = &header[12..] else { panic!("too short") };
    assert_eq!(body.len(), usize::from(*high) << 8 | usize::from(*low));
    assert_eq!(command >> 4, 2);
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    match (command & 15, family) {
        (1, 0x11) => {
            let ip = |at: usize| Ipv4Addr::new(body[at], body[at + 1], body[at + 2], body[at + 3]).into();
            Some(Ends { client: SocketAddr::new(ip(0), port(8)), server: SocketAddr::new(ip(4), port(10)) })
        }
        (1, 0x21) => {
            let ip = |at: usize| {
                let octets: [u8; 16] = body[at..at + 16].try_into().expect("sixteen");
                IpAddr::from(Ipv6Addr::from(octets)).to_canonical()
            };
            Some(Ends { client: SocketAddr::new(ip(0), port(32)), server: SocketAddr::new(ip(16), port(34)) })
        }
        (0 | 1, _) => None,
        _ => panic!("no such command"),
    }
}
