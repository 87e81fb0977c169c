//! Attacks on the real binary. Under each: its memory stays bounded, the log says what happens, and others are served
//! meanwhile. Scaled to what a test may take; in full with `MAILFERRY_TEST_FULL`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mailferry_tests::mail::exact;
use mailferry_tests::place::raise_descriptor_limit;
use mailferry_tests::stand::{ENDPOINT, Front, Options, Person, Stand};
use mailferry_tests::teletype::{Teletype, Way};
use tokio::task::JoinSet;

/// Whatever is waited for is there long before.
const PATIENCE: Duration = Duration::from_secs(240);

const MIB: u64 = 1 << 20;

/// By how much the daemon may grow, whatever is sent: tap and spool have their own bounds in it.
const ROOM: u64 = 48 * MIB;

/// Where the peaceful come from.
const PEACEFUL: [u8; 4] = [127, 0, 0, 9];

fn full() -> bool {
    std::env::var_os("MAILFERRY_TEST_FULL").is_some()
}

struct Siege {
    stand: Stand,
    terry: Person,
    /// Logged in before it began.
    bystander: Teletype,
    pid: u32,
    before: u64,
}

impl Siege {
    async fn begin(options: Options) -> Self {
        let mut stand = Stand::start(Options { front: Front::Bare, ..options }).await.unwrap();
        let terry = stand.add_person("terry.adams").unwrap();
        let csv = stand.csv("B1", std::slice::from_ref(&terry)).unwrap().to_string_lossy().into_owned();
        let add = ["batch", "add", "B1", "--endpoint", ENDPOINT, "--csv", &csv];
        stand.cli(&add).await.unwrap().done().unwrap();
        let pid = stand.serve_pid().unwrap();
        let bystander = peaceful(&stand, &terry).await;
        // Forgets the peak so far.
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        let before = peak(pid);
        Self { stand, terry, bystander, pid, before }
    }

    async fn attacker(&self, from: [u8; 4], way: Way) -> Teletype {
        let tls = self.stand.authority.client().unwrap();
        let address = if way == Way::Tls { self.stand.proxy() } else { self.stand.proxy_starttls() };
        let mut talk = Teletype::connect_from(from, address, way, &tls).await.unwrap();
        if way != Way::StartTls {
            talk.line().await.unwrap();
        }
        talk
    }

    /// Who was in goes on, and who comes is let in.
    async fn others_are_served(&mut self) {
        assert!(self.bystander.ask("n NOOP").await.unwrap().starts_with("n OK"));
        let mut newcomer = peaceful(&self.stand, &self.terry).await;
        assert!(newcomer.ask("s SELECT INBOX").await.unwrap().starts_with("s OK"));
        newcomer.ask("o LOGOUT").await.unwrap();
    }

    /// Waits for so many lines of the log with this text.
    async fn logged(&self, text: &str, times: usize) {
        let looking = async {
            loop {
                let log = std::fs::read_to_string(self.stand.log()).unwrap();
                if log.lines().filter(|line| line.contains(text)).count() >= times {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await;
        found.unwrap_or_else(|_| panic!("{text:?} is not {times} times in the log"));
    }

    /// By how much the daemon's memory grew at its peak.
    fn grown(&mut self, what: &str) -> u64 {
        self.stand.alive().unwrap();
        let peak = peak(self.pid);
        let grown = peak.saturating_sub(self.before);
        println!("{what}: {} KiB before, {} KiB at the peak", self.before / 1024, peak / 1024);
        grown
    }
}

fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

async fn peaceful(stand: &Stand, person: &Person) -> Teletype {
    let tls = stand.authority.client().unwrap();
    let mut talk = Teletype::connect_from(PEACEFUL, stand.proxy(), Way::Tls, &tls).await.unwrap();
    talk.line().await.unwrap();
    let login = format!("l LOGIN {} \"{}\"", person.login, person.password);
    assert!(talk.ask(&login).await.unwrap().starts_with("l OK"));
    talk
}

/// Sends so much of one letter, or as much as is taken.
async fn flood(talk: &mut Teletype, bytes: u64) {
    let chunk = vec![b'x'; 64 * 1024];
    for _ in 0..bytes.div_ceil(chunk.len() as u64) {
        if talk.send(&chunk).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_in_the_clear_behind_starttls_is_never_a_command() {
    let mut siege = Siege::begin(Options::default()).await;
    let injected = siege.stand.add_person("injected").unwrap();
    let login = format!("b LOGIN {} \"{}\"\r\nc SELECT INBOX\r\n", injected.login, injected.password);
    for before in ["", "x NOOP\r\n", "x CAPABILITY\r\ny NOOP\r\n"] {
        let mut talk = siege.attacker([127, 0, 3, 1], Way::Plain).await;
        talk.send(format!("{before}a STARTTLS\r\n{login}").as_bytes()).await.unwrap();
        talk.rest().await.unwrap();
        let heard = String::from_utf8_lossy(&talk.heard).into_owned();
        assert!(heard.ends_with("* BYE Commands behind STARTTLS are not taken.\r\n"), "{heard}");
        assert!(!heard.contains("\r\nb ") && !heard.contains("a OK"), "{heard}");
    }
    siege.logged("turned away: commands in the clear behind STARTTLS", 3).await;
    // In a packet of its own, where the handshake should be.
    let mut talk = siege.attacker([127, 0, 3, 1], Way::Plain).await;
    assert!(talk.ask("a STARTTLS").await.unwrap().starts_with("a OK"));
    talk.send(login.as_bytes()).await.unwrap();
    talk.rest().await.unwrap();
    assert!(!String::from_utf8_lossy(&talk.heard).contains("\nb "));
    siege.logged("received corrupt message", 1).await;
    siege.others_are_served().await;
    let source = std::fs::read_to_string(siege.stand.path().join("source/dovecot.log")).unwrap();
    assert!(source.contains("Login: user=<terry.adams>"), "it is told there who logs in");
    assert!(!source.contains("injected"), "the source heard of it: {source}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_literal_of_any_announced_size_before_a_login_costs_nothing() {
    let mut siege = Siege::begin(Options::default()).await;
    let each = if full() { 256 * MIB } else { 4 * MIB };
    let openings = [
        "a LOGIN {9999999999}",
        "a LOGIN {1000000000+}",
        "a LOGIN terry {1000000000+}",
        "a LOGIN {9999999999999999999999999+}",
        "a LOGIN {18446744073709551616}",
        "a AUTHENTICATE PLAIN {9999999999}",
        "a AUTHENTICATE {1000000000+}",
        "a ID {1000000000+}",
        "a ID (\"name\" {9999999999}",
        "a SELECT {1000000000+}",
        "a APPEND INBOX {9999999999}",
    ];
    let mut attacks = Vec::new();
    for opening in openings.into_iter().cycle().take(openings.len() * 3) {
        let mut talk = siege.attacker([127, 0, 3, 2], Way::Tls).await;
        attacks.push(async move {
            // It may be gone already.
            let _ = talk.send(format!("{opening}\r\n").as_bytes()).await;
            flood(&mut talk, each).await;
            talk.rest().await.unwrap();
            let heard = String::from_utf8_lossy(&talk.heard).into_owned();
            assert!(!heard.contains("\na OK"), "{opening}: {heard}");
        });
    }
    let all = async {
        let mut running: JoinSet<()> = attacks.into_iter().collect();
        while let Some(ended) = running.join_next().await {
            ended.unwrap();
        }
    };
    tokio::join!(all, siege.others_are_served());
    siege.logged("turned away: a literal too large before a login", 3).await;
    let grown = siege.grown("literals before a login");
    assert!(grown < ROOM, "{grown}");
    siege.others_are_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_ten_megabytes_pass_through_or_end_the_connection() {
    let mut siege = Siege::begin(Options::default()).await;
    let clients = if full() { 100 } else { 12 };
    let mut running = JoinSet::new();
    for n in 0..clients {
        let mut talk = siege.attacker([127, 0, 3, 3], Way::Tls).await;
        let login = format!("l LOGIN {} \"{}\"", siege.terry.login, siege.terry.password);
        running.spawn(async move {
            match n % 4 {
                0 => {}
                1 => drop(talk.send(b"a NOOP ").await),
                2 => {
                    talk.send(b"a AUTHENTICATE PLAIN\r\n").await.unwrap();
                    talk.until("+").await.unwrap();
                }
                // Logged in it is the source's to say.
                _ => {
                    assert!(talk.ask(&login).await.unwrap().starts_with("l OK"));
                    talk.send(b"a NOOP ").await.unwrap();
                }
            }
            flood(&mut talk, 10 * MIB).await;
            let _ = talk.send(b"\r\nz LOGOUT\r\n").await;
            talk.rest().await.unwrap();
        });
    }
    let all = async {
        while let Some(ended) = running.join_next().await {
            ended.unwrap();
        }
    };
    tokio::join!(all, siege.others_are_served());
    siege.logged("turned away: a line too long before a login", 3 * clients / 4).await;
    let grown = siege.grown("lines of 10 MB");
    assert!(grown < ROOM, "{grown}");
    siege.others_are_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_cost_their_sockets_and_are_let_go() {
    let options = Options {
        proxy: "[proxy.limits]\nwrite_timeout = \"3s\"".to_owned(),
        spool: "memory = \"4MiB\"".to_owned(),
        ..Options::default()
    };
    let mut siege = Siege::begin(options).await;
    let messages = (0..8).map(|n| exact(&["INBOX"], 4_000_000, &format!("large {n}"), 1_500_000_000));
    siege.stand.source.load(&siege.terry.login, messages).unwrap();
    let clients = if full() { 300 } else { 24 };
    let login = format!("l LOGIN {} \"{}\"", siege.terry.login, siege.terry.password);
    let mut deaf = Vec::new();
    for _ in 0..clients {
        let mut talk = siege.attacker([127, 0, 3, 4], Way::Tls).await;
        assert!(talk.ask(&login).await.unwrap().starts_with("l OK"));
        talk.ask("s SELECT INBOX").await.unwrap();
        talk.send("f FETCH 1:* BODY.PEEK[]\r\n".repeat(50).as_bytes()).await.unwrap();
        deaf.push(talk);
    }
    siege.others_are_served().await;
    siege.logged("client reads nothing", clients).await;
    siege.others_are_served().await;
    let grown = siege.grown(&format!("{clients} that never read"));
    assert!(grown < ROOM, "{grown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_that_say_nothing_leave_room_for_others_and_are_let_go() {
    let wanted: usize = if full() { 5_000 } else { 600 };
    // One descriptor here for each, two there; and what everybody has besides.
    let limit = raise_descriptor_limit().unwrap();
    let silent = wanted.min(usize::try_from(limit.saturating_sub(500) / 2).unwrap());
    let each = silent / 5;
    println!("{silent} silent connections; {limit} descriptors may be open");
    let timeout = if full() { 60 } else { 15 };
    let options = Options {
        proxy: format!(
            "[proxy.limits]\nlogin_timeout = \"{timeout}s\"\nhandshake_timeout = \"{timeout}s\"\n\
             max_connections_per_address = {each}"
        ),
        source_lines: "service imap-login {\n  client_limit = 6000\n}\n".to_owned(),
        ..Options::default()
    };
    let mut siege = Siege::begin(options).await;
    // Without a word of TLS, and in the clear up to the greeting, which is the source's.
    let mut silents = Vec::new();
    for n in 0..silent {
        let from = [127, 0, 4, 1 + u8::try_from(n / each).unwrap()];
        let address = if n % 2 == 0 { siege.stand.proxy() } else { siege.stand.proxy_starttls() };
        silents.push(connect(from, address).await);
    }
    siege.others_are_served().await;
    // Of those who wait for their greeting all get it, or a word.
    let mut greeted = 0;
    for tcp in silents.iter_mut().skip(1).step_by(2) {
        greeted += usize::from(is_greeted(tcp).await);
    }
    println!("{greeted} greeted");
    assert_eq!(greeted, silent / 2);
    siege.others_are_served().await;
    // One more from an address that has its share.
    let mut turned_away = connect([127, 0, 4, 1], siege.stand.proxy_starttls()).await;
    assert!(!is_greeted(&mut turned_away).await);
    siege.logged("Turned away: too many connections from there.", 1).await;
    let grown = siege.grown(&format!("{silent} silent connections"));
    // A socket's state twice, a buffer, TLS towards the source.
    assert!(grown < ROOM + silent as u64 * 64 * 1024, "{grown}");
    siege.logged("too long without TLS", silent / 2).await;
    siege.logged("too long without a login", silent / 2).await;
    siege.others_are_served().await;
}

async fn connect(from: [u8; 4], to: std::net::SocketAddr) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(std::net::SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

async fn is_greeted(tcp: &mut tokio::net::TcpStream) -> bool {
    use tokio::io::AsyncReadExt;
    let mut start = [0; 4];
    tokio::time::timeout(PATIENCE, tcp.read_exact(&mut start)).await.unwrap().unwrap();
    start == *b"* OK"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_list_against_one_login_gets_slow_answers_and_locks_nobody_out() {
    let guesses = if full() { 2_000 } else { 300 };
    let options =
        Options { proxy: "[proxy.limits]\nmax_login_delay = \"2s\"".to_owned(), ..Options::default() };
    let mut siege = Siege::begin(options).await;
    // Twenty at a time from one address, ten from one each.
    let mut running = JoinSet::new();
    for n in 0..30_u8 {
        let from = if n < 20 { [127, 0, 3, 5] } else { [127, 0, 5, n] };
        let mut talk = siege.attacker(from, Way::Tls).await;
        let (login, tls) = (siege.terry.login.clone(), siege.stand.authority.client().unwrap());
        let address = siege.stand.proxy();
        running.spawn(async move {
            let (mut tried, mut barred) = (0, 0);
            for guess in 0..guesses / 30 {
                let answer = talk.ask(&format!("g LOGIN {login} guess{n}x{guess}")).await;
                match answer {
                    Ok(answer) if answer.contains("[LIMIT]") => barred += 1,
                    Ok(answer) => {
                        assert!(answer.starts_with("g NO"), "{answer}");
                        tried += 1;
                    }
                    // Servers have enough after some.
                    Err(_) => {
                        talk = Teletype::connect_from(from, address, Way::Tls, &tls).await.unwrap();
                        talk.line().await.unwrap();
                    }
                }
            }
            (tried, barred)
        });
    }
    let (mut tried, mut barred) = (0, 0);
    let all = async {
        while let Some(ended) = running.join_next().await {
            let (more_tried, more_barred) = ended.unwrap();
            tried += more_tried;
            barred += more_barred;
        }
    };
    tokio::join!(all, async {
        for _ in 0..5 {
            siege.others_are_served().await; // By the very name that is guessed.
        }
    });
    println!("of {guesses} guesses {tried} reached the source, {barred} did not");
    siege.logged("Answers to logins are delayed: many were refused for one name.", 1).await;
    siege.logged("Logins from there are not tried for a while: too many were refused.", 1).await;
    assert!(barred > 0, "{tried}");
    let grown = siege.grown("a password list");
    assert!(grown < ROOM, "{grown}");
    siege.others_are_served().await;
}
