//! The same scripted sessions to Dovecot, Cyrus and Courier, directly and through the proxy: what the server says is equal line
//! by line, but for capability lists and what a server itself varies (`script::comparable`). Scripts go out step by step,
//! byte by byte, and as one block up to where an answer must be awaited.
//!
//! Not compared, since the proxy answers it itself before a login, by design: lines with odd tags, tabs, a bare CR or a NUL;
//! lines, literals and commands beyond its bounds; non-synchronising literals that the source refuses. Nor the order of what
//! Dovecot answers to FETCHes sent at once, for it carries them out side by side. Courier knows neither LITERAL+ nor SASL-IR,
//! MULTIAPPEND and MOVE; what it and Cyrus drop of a packet themselves (behind a login, behind STARTTLS) is sent apart.
#![allow(clippy::unwrap_used, reason = "tests")]

mod scripts;

use std::net::SocketAddr;

use mailferry_tests::courier;
use mailferry_tests::script::{Pace, Step, Until, ask, bye, comparable, go, play};
use mailferry_tests::source::Kind;
use mailferry_tests::stand::{ENDPOINT, Front, Options, Person, Stand};
use mailferry_tests::teletype::{Teletype, Way};
use scripts::{appended, before_login, identified, logins, mail_session, nonsense, odd_mail, tokens};

const PACES: [Pace; 3] = [Pace::Stepwise, Pace::Bytewise, Pace::Block];

/// Directly, and both ways through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Direct,
    Proxy,
    ProxyStartTls,
}

/// Whether a server's answers to commands that were sent at once come in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Theirs,
    /// Dovecot carries out several FETCHes side by side.
    Any,
}

const ROUTES: [Route; 3] = [Route::Direct, Route::Proxy, Route::ProxyStartTls];

struct Scene {
    stand: Stand,
    kind: Kind,
    /// The server itself.
    server: SocketAddr,
    people: Vec<Person>,
}

/// All clients have one address, and many are refused.
fn options(source: Kind) -> Options {
    let proxy = "[proxy.limits]\nmax_refused_logins = 100000\nguesses_without_delay = 100000".to_owned();
    Options { source, front: Front::Bare, proxy, ..Options::default() }
}

impl Scene {
    /// A server with the proxy in front, and people whom the proxy's tap knows.
    async fn open(kind: Kind) -> Option<Self> {
        if kind == Kind::Courier
            && let Some(why) = courier::impossible()
        {
            println!("left out: {why}");
            return None;
        }
        let stand = Stand::start(options(kind)).await.unwrap();
        let mut people = Vec::new();
        for n in 10..40 {
            let mut person = Person::new(&format!("user{n}"));
            if n == 10 {
                person.password = r#"pa"ss\wo {3}rd"#.to_owned();
            } else {
                person.password = format!("secret{n}");
            }
            stand.source.add_user(&person.login, &person.password).unwrap();
            people.push(person);
        }
        let csv = stand.path().join("people.csv");
        let mut rows = "EmailAddress,UserName,Password\r\n".to_owned();
        for person in &people {
            let quoted = person.password.replace('"', "\"\"");
            rows.push_str(&format!("{},{},\"{quoted}\"\r\n", person.address, person.login));
        }
        std::fs::write(&csv, rows).unwrap();
        // Not started: the tap knows the mailboxes, and no pass looks at the folders meanwhile.
        let add = ["batch", "add", "B1", "--endpoint", ENDPOINT, "--csv", &csv.to_string_lossy()];
        stand.cli(&add).await.unwrap().done().unwrap();
        Some(Self { server: stand.source.imaps(), stand, kind, people })
    }

    /// The server that takes tokens, with the proxy in front.
    async fn with_tokens() -> Self {
        let mut stand = Stand::prepare(options(Kind::Dovecot)).await.unwrap();
        stand.cli(&["init"]).await.unwrap().done().unwrap();
        stand.serve().await.unwrap();
        let (server, ca) = (stand.target.direct(), stand.authority.ca_file.display().to_string());
        let port = server.port().to_string();
        let place = ["--server", "localhost", "--port", &port, "--security", "ssl", "--ca-file", &ca];
        let add = [["endpoint", "add", ENDPOINT].as_slice(), &place].concat();
        stand.cli(&add).await.unwrap().done().unwrap();
        stand.proxy_open().await.unwrap();
        let person = Person { login: "user10@contoso.edu".to_owned(), ..Person::new("user10") };
        stand.target.add_user(&person.address, &person.password).unwrap();
        let scene = Self { stand, kind: Kind::Dovecot, server, people: vec![person] };
        // Its mailbox is made once, and not by several at the same moment.
        let person = &scene.people[0];
        let login = format!("a1 LOGIN {} \"{}\"", person.login, person.password);
        let first = [go(&login, "a1 OK"), ask("a2 SELECT INBOX"), bye()];
        scene.played("first", &first, Pace::Stepwise, Route::Direct, &person.login).await;
        scene
    }

    async fn talk(&self, route: Route) -> Teletype {
        let tls = self.stand.authority.client().unwrap();
        let (address, way) = match route {
            Route::Direct => (self.server, Way::Tls),
            Route::Proxy => (self.stand.proxy(), Way::Tls),
            Route::ProxyStartTls => (self.stand.proxy_starttls(), Way::StartTls),
        };
        let mut talk = Teletype::connect(address, way, &tls).await.unwrap();
        if route != Route::ProxyStartTls {
            talk.line().await.unwrap();
        }
        talk
    }

    /// Plays a script on one route; what is comparable of it.
    async fn played(&self, name: &str, steps: &[Step], pace: Pace, route: Route, user: &str) -> Vec<String> {
        let mut talk = self.talk(route).await;
        if let Err(error) = play(&mut talk, steps, pace).await {
            panic!("{:?}, {name}, {pace:?}, {route:?}: {error:#}", self.kind);
        }
        comparable(&talk.heard, user)
    }

    fn equal(&self, what: &str, route: Route, direct: &[String], through: &[String]) {
        let what = format!("{what}, {route:?}");
        // With STARTTLS the greeting came before TLS.
        let direct = &direct[usize::from(route == Route::ProxyStartTls)..];
        for (at, line) in direct.iter().enumerate() {
            let other = through.get(at).map_or("(nothing)", String::as_str);
            assert_eq!(
                other, line,
                "{:?}, {what}, line {at}; right: directly, left: through the proxy",
                self.kind
            );
        }
        assert_eq!(through.len(), direct.len(), "{:?}, {what}: {:?}", self.kind, through.last());
    }

    /// Plays a script that leaves nothing behind, on every route at every pace, all at once: refusals take servers seconds.
    async fn same(&self, name: &str, steps: &[Step], person: usize) {
        let at = |pace| Box::pin(self.same_at(pace, name, steps, person));
        tokio::join!(at(Pace::Stepwise), at(Pace::Bytewise), at(Pace::Block));
    }

    async fn same_at(&self, pace: Pace, name: &str, steps: &[Step], person: usize) {
        let played = |route| Box::pin(self.played(name, steps, pace, route, &self.people[person].login));
        let (direct, proxy, starttls) =
            tokio::join!(played(Route::Direct), played(Route::Proxy), played(Route::ProxyStartTls));
        self.equal(&format!("{name}, {pace:?}"), Route::Proxy, &direct, &proxy);
        self.equal(&format!("{name}, {pace:?}"), Route::ProxyStartTls, &direct, &starttls);
    }

    /// Plays a script that changes a mailbox: every route has an empty one of its own.
    async fn same_on_fresh_mailboxes(
        &self,
        name: &str,
        script: impl Fn(&Person) -> Vec<Step>,
        pace: Pace,
        order: Order,
        first: usize,
    ) {
        let [direct, proxy, starttls] = [0, 1, 2].map(|n| {
            let person = &self.people[first + n];
            let (steps, route) = (script(person), ROUTES[n]);
            Box::pin(async move { self.played(name, &steps, pace, route, &person.login).await })
        });
        let (mut direct, mut proxy, mut starttls) = tokio::join!(direct, proxy, starttls);
        if order == Order::Any {
            // Without the greeting, which is not there behind STARTTLS.
            direct[1..].sort();
            proxy[1..].sort();
            starttls.sort();
        }
        self.equal(&format!("{name}, {pace:?}"), Route::Proxy, &direct, &proxy);
        self.equal(&format!("{name}, {pace:?}"), Route::ProxyStartTls, &direct, &starttls);
    }
}

async fn all(kind: Kind) {
    let Some(scene) = Scene::open(kind).await else { return };
    scene.same("before login", &before_login(), 0).await;
    for pace in [Pace::Stepwise, Pace::Block] {
        scene.same_at(pace, "ID before login", &identified(), 0).await;
    }
    scene.same("nonsense before login", &nonsense(kind), 0).await;
    for (name, steps, person) in logins(kind, &scene.people[0], &scene.people[1]) {
        scene.same(&name, &steps, person).await;
    }
    let login = |person: &Person| go(&format!("a1 LOGIN {} {}", person.login, person.password), "a1 OK");
    let plain = &scene.people[1];
    scene.same("half-close before login", &[ask("a1 NOOP"), Step::HalfClose], 1).await;
    // As scripts with a pipe do. Courier's own TLS drops the answers then.
    let piped = |lines: &str| [Step::Say(lines.as_bytes().to_vec(), Until::Nothing), Step::HalfClose];
    if kind != Kind::Courier {
        scene.same("piped before login", &piped("a1 CAPABILITY\r\na2 NOOP\r\na3 LOGIN one\r\n"), 1).await;
    }
    scene
        .same("half-close", &[login(plain), ask("a2 SELECT INBOX"), ask("a3 NOOP"), Step::HalfClose], 1)
        .await;
    // The server's own word about a line that is too long for it, and whatever it does then. Courier closes with the rest
    // unread, and its BYE may be lost on the way.
    let long = Step::Say(format!("a2 NOOP {}\r\n", "x".repeat(100_000)).into_bytes(), Until::LineOrEnd);
    if kind != Kind::Courier {
        scene.same_at(Pace::Stepwise, "long line", &[login(plain), long], 1).await;
    }
    for (n, pace) in PACES.into_iter().enumerate() {
        scene
            .same_on_fresh_mailboxes(
                "mail",
                |person| mail_session(kind, person),
                pace,
                Order::Theirs,
                2 + 3 * n,
            )
            .await;
    }
    scene.same_on_fresh_mailboxes("real mail", odd_mail, Pace::Stepwise, Order::Theirs, 11).await;
    scene.same_on_fresh_mailboxes("real mail", odd_mail, Pace::Block, Order::Any, 14).await;
    starttls(&scene).await;
    idle(&scene).await;
}

/// What a server says in the clear and what behind it, on one connection. Lists of capabilities are left out: the proxy
/// announces those that hold under TLS, and takes no login in the clear. The answer to STARTTLS is its own.
async fn starttls(scene: &Scene) {
    let tls = scene.stand.authority.client().unwrap();
    let person = &scene.people[1];
    let mut records = Vec::new();
    for address in [scene.stand.source.imap(), scene.stand.proxy_starttls()] {
        let mut talk = Teletype::connect(address, Way::Plain, &tls).await.unwrap();
        talk.line().await.unwrap();
        let clear = [ask("a1 CAPABILITY"), ask("a2 NOOP"), ask("a3 ID NIL"), ask("a4 SELECT INBOX")];
        play(&mut talk, &clear, Pace::Stepwise).await.unwrap();
        let mut talk = talk.starttls(&tls).await.unwrap();
        let login = format!("b3 LOGIN {} {}", person.login, person.password);
        let secured =
            [ask("b1 CAPABILITY"), ask("b2 NOOP"), go(&login, "b3 "), ask("b4 SELECT INBOX"), bye()];
        play(&mut talk, &secured, Pace::Stepwise).await.unwrap();
        let mut lines = comparable(&talk.heard, &person.login);
        lines.retain(|line| !line.starts_with("s0 "));
        for line in &mut lines {
            if let Some(at) = line.find("CAPABILITY ") {
                let end = line[at..].find([']', '\r']).map_or(line.len(), |end| at + end);
                line.replace_range(at..end, "");
            }
        }
        records.push(lines);
    }
    scene.equal("in the clear and behind STARTTLS", Route::Proxy, &records[0], &records[1]);
}

/// Somebody idles while another session changes the folder.
async fn idle(scene: &Scene) {
    let mut direct = Vec::new();
    for (n, route) in ROUTES.into_iter().enumerate() {
        let person = &scene.people[20 + n];
        let login = format!("a1 LOGIN {} {}", person.login, person.password);
        let mut watcher = scene.talk(route).await;
        let mut other = scene.talk(Route::Direct).await;
        watcher.ask(&login).await.unwrap();
        other.ask(&login).await.unwrap();
        watcher.ask("a2 SELECT INBOX").await.unwrap();
        watcher.send(b"a3 IDLE\r\n").await.unwrap();
        watcher.until("+").await.unwrap();
        let message = b"Subject: new\r\n\r\nnew\r\n";
        play(&mut other, &appended("b1", "INBOX", "", message), Pace::Stepwise).await.unwrap();
        watcher.until("* 1 EXISTS").await.unwrap();
        other.ask("b2 SELECT INBOX").await.unwrap();
        other.ask("b3 STORE 1 +FLAGS (\\Flagged)").await.unwrap();
        watcher.until("* 1 FETCH").await.unwrap();
        watcher.send(b"DONE\r\n").await.unwrap();
        watcher.tagged("a3").await.unwrap();
        watcher.ask("a4 NOOP").await.unwrap();
        play(&mut watcher, &[bye()], Pace::Stepwise).await.unwrap();
        let mut lines = comparable(&watcher.heard, &person.login);
        // "Still here" and RECENT come when the server likes.
        lines.retain(|line| !line.starts_with("* OK Still here") && !line.contains("RECENT"));
        if route == Route::Direct {
            direct = lines;
        } else {
            scene.equal("idle", route, &direct, &lines);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dovecot_says_the_same_through_the_proxy() {
    all(Kind::Dovecot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cyrus_says_the_same_through_the_proxy() {
    all(Kind::Cyrus).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn courier_says_the_same_through_the_proxy() {
    all(Kind::Courier).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_taken_and_refused_as_by_the_server_itself() {
    let scene = Scene::with_tokens().await;
    let token = scene.stand.tokens.token().unwrap();
    for (name, steps) in tokens(&scene.people[0].login, &token) {
        scene.same(name, &steps, 0).await;
    }
}
