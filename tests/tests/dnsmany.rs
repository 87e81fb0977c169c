//! `mailferry dns check` with many domains at once, some of them on servers that never answer.
//!
//! `MAILFERRY_TEST_DOMAINS=1000` makes it as many as that; time, memory and sockets are printed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mailferry_dnscheck::{Observation, Verdict};
use mailferry_tests::dns::{Dns, Recursive, Secondary, View};
use mailferry_tests::place::Place;
use mailferry_tests::stand::binary;

/// Takes questions over UDP and connections over TCP, and says nothing.
struct Silent {
    _udp: UdpSocket,
    _tcp: TcpListener,
    address: SocketAddr,
}

impl Silent {
    fn start() -> Self {
        loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = tcp.local_addr().unwrap();
            if let Ok(udp) = UdpSocket::bind(address) {
                return Self { _udp: udp, _tcp: tcp, address };
            }
        }
    }
}

/// What is wrong with a domain, by its number: one of ten has a silent server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    /// Its second server is one that many domains have, and says nothing.
    SecondSilent,
    /// Neither server says anything; others have the same.
    AllSilent,
    /// Its only servers are its own and say nothing.
    OwnSilent,
}

fn fate(number: usize) -> Fate {
    match number % 40 {
        3 | 17 => Fate::SecondSilent,
        9 => Fate::AllSilent,
        28 => Fate::OwnSilent,
        _ => Fate::Well,
    }
}

/// What a run took at most.
#[derive(Debug, Default)]
struct Most {
    sockets: usize,
    memory: u64,
}

impl Most {
    fn look(&mut self, pid: u32) {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let socket = |entry: &std::fs::DirEntry| {
            std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        };
        self.sockets = self.sockets.max(open.filter(socket).count());
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok());
        self.memory = self.memory.max(kib.unwrap_or(0) * 1024);
    }
}

#[test]
fn many_domains_some_silent_in_bounded_sockets() {
    const AT_ONCE: usize = 256;
    let count: usize = std::env::var("MAILFERRY_TEST_DOMAINS").ok().map_or(120, |text| text.parse().unwrap());
    let timeout = if count > 200 { "5s" } else { "500ms" };
    let names: Vec<String> = (0..count).map(|number| format!("d{number}.edu")).collect();
    let domains: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut dns = Dns::start(&domains, Secondary::Present).unwrap();
    // A domain that is switched among those that are not.
    dns.set_mx_at_primary("d0.edu", 300, &["0 d0-edu.mail.protection.outlook.com."]).unwrap();
    let secondary = dns.secondary.as_mut().unwrap();
    secondary.copy_zone("d0.edu", &dns.primary).unwrap();

    let (all, mut silent) = (Silent::start(), Vec::new());
    let mut book: BTreeMap<String, SocketAddr> = dns.name_servers();
    let mut views = Vec::new();
    for (number, domain) in domains.iter().enumerate() {
        let mut answering = vec![dns.primary.address()];
        let mut point = |server: &str, to| book.insert(format!("{server}.{domain}"), to);
        match fate(number) {
            Fate::Well => {}
            Fate::SecondSilent => {
                point("ns2", all.address);
            }
            Fate::AllSilent => {
                point("ns1", all.address);
                point("ns2", all.address);
                answering = vec![all.address];
            }
            Fate::OwnSilent => {
                silent.push(Silent::start());
                let own = silent.last().unwrap().address;
                point("ns1", own);
                point("ns2", own);
                answering = vec![own];
            }
        }
        views.push((*domain, View::Servers(answering)));
    }
    let resolver = Recursive::start(&views).unwrap();

    let place = Place::new().unwrap();
    let file = place.path().join("mailferry.toml");
    let mut text = format!(
        "[target]\ntenant = \"contoso.onmicrosoft.com\"\nclient_id = \"1\"\n[dns]\nroots = [\"{}\"]\n\
         resolvers = [\"{}\"]\ntimeout = \"{timeout}\"\nat_once = {AT_ONCE}\n[dns.name_servers]\n",
        dns.roots()[0],
        resolver.address()
    );
    for (host, at) in &book {
        writeln!(text, "\"{host}\" = \"{at}\"").unwrap();
    }
    std::fs::write(&file, text).unwrap();

    let output = place.path().join("output");
    let started = Instant::now();
    let mut child = Command::new(binary().unwrap())
        .arg("--config")
        .arg(&file)
        .args(["--json", "dns", "check"])
        .args(&domains)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&output).unwrap())
        .spawn()
        .unwrap();
    let mut most = Most::default();
    let status = loop {
        most.look(child.id());
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    eprintln!(
        "{count} domains, time-out {timeout}: {:?}, at most {} sockets and {} KiB",
        started.elapsed(),
        most.sockets,
        most.memory / 1024
    );
    assert_eq!(status.code(), Some(5), "partial, since some are unknown");
    let seen: Vec<Observation> = serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
    assert_eq!(seen.len(), count);
    for (number, seen) in seen.iter().enumerate() {
        assert_eq!(seen.domain.as_str(), names[number]);
        // Silence never hides that a server still names the old host, nor lets one count that does not.
        let expected = match fate(number) {
            _ if number == 0 => Verdict::Office365,
            Fate::Well | Fate::SecondSilent => Verdict::Source,
            Fate::AllSilent | Fate::OwnSilent => Verdict::Unknown,
        };
        assert_eq!(seen.verdict, expected, "{seen:#?}");
    }
    // A question takes one socket; the rest are the program's own.
    assert!(most.sockets <= AT_ONCE + 16, "{most:?}");
    assert!(most.memory < 256 << 20, "{most:?}");
}
