//! The test of a server against servers that are as they should not be.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;

const CAPABILITIES: &str = "* CAPABILITY IMAP4rev1 CONDSTORE AUTH=PLAIN";

/// An authority, and a server certificate of it for `localhost`, good until `year`.
struct Pki {
    _dir: TempDir,
    ca_file: PathBuf,
    acceptor: TlsAcceptor,
}

impl Pki {
    fn new(name: &str, year: i32) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test authority");
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);

        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();

        let dir = TempDir::new().unwrap();
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, authority.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(leaf.der().to_vec())],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        Self { _dir: dir, ca_file, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    fn trust(&self) -> Trust {
        Trust::CaFile(self.ca_file.clone())
    }
}

/// How a test's server behaves.
#[derive(Clone)]
enum Manner {
    /// TLS first, then IMAP with this greeting.
    Implicit(TlsAcceptor, &'static str),
    /// Plain text with this greeting and these capabilities.
    Plain(&'static str, &'static str),
    /// Plain text, then STARTTLS.
    StartTls(TlsAcceptor),
    /// Not a word.
    Silent,
}

async fn serve(manner: Manner) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(talk(stream, manner.clone()));
        }
    });
    (port, task)
}

/// Whatever the client does, the server only ends.
async fn talk(stream: TcpStream, manner: Manner) -> Option<()> {
    match manner {
        Manner::Implicit(acceptor, greeting) => {
            let stream = acceptor.accept(stream).await.ok()?;
            dialog(Line::new(stream), Some(greeting), CAPABILITIES).await.map(drop)
        }
        Manner::Plain(greeting, capabilities) => {
            dialog(Line::new(stream), Some(greeting), capabilities).await.map(drop)
        }
        Manner::StartTls(acceptor) => {
            let line = Line::new(stream);
            let line =
                dialog(line, Some("* OK hello"), "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED").await?;
            let stream = acceptor.accept(line.into_stream()).await.ok()?;
            dialog(Line::new(stream), None, CAPABILITIES).await.map(drop)
        }
        Manner::Silent => {
            let mut line = Line::new(stream);
            while line.next().await.is_ok() {}
            Some(())
        }
    }
}

/// Answers until LOGOUT, or returns the connection at STARTTLS.
async fn dialog<S: AsyncRead + AsyncWrite + Unpin>(
    mut line: Line<S>,
    greeting: Option<&str>,
    capabilities: &str,
) -> Option<Line<S>> {
    if let Some(greeting) = greeting {
        line.stream.write_all(format!("{greeting}\r\n").as_bytes()).await.ok()?;
    }
    line.stream.flush().await.ok()?;
    loop {
        let command = line.next().await.ok()?;
        let (tag, verb) = command.split_once(' ')?;
        let answer = match verb {
            "CAPABILITY" => format!("{capabilities}\r\n{tag} OK done\r\n"),
            "STARTTLS" if capabilities.contains("X-PUSHY") => format!("{tag} OK go\r\nc OK in the clear\r\n"),
            "STARTTLS" => format!("{tag} OK go\r\n"),
            "LOGOUT" => format!("* BYE\r\n{tag} OK done\r\n"),
            _ => format!("{tag} BAD what\r\n"),
        };
        line.stream.write_all(answer.as_bytes()).await.ok()?;
        line.stream.flush().await.ok()?;
        match verb {
            "STARTTLS" => return Some(line),
            "LOGOUT" => return None,
            _ => {}
        }
    }
}

async fn tested(manner: Manner, security: Security, trust: Trust) -> Result<EndpointReport, EndpointError> {
    let (port, task) = serve(manner).await;
    let server = Server { host: "localhost".into(), port, security, trust };
    let outcome = test(&server, Duration::from_secs(10)).await;
    task.abort();
    outcome
}

/// The error's words with the port taken out.
async fn error(manner: Manner, security: Security, trust: Trust) -> String {
    let error = tested(manner, security, trust).await.unwrap_err();
    let words = error.to_string();
    let port = words.split("localhost:").nth(1).and_then(|rest| rest.split([' ', ':']).next());
    port.map_or(words.clone(), |port| words.replace(&format!(":{port}"), ""))
}

#[tokio::test]
async fn a_good_server_is_described() {
    let pki = Pki::new("localhost", 2090);
    let report = tested(Manner::Implicit(pki.acceptor.clone(), "* OK ready."), Security::Ssl, pki.trust())
        .await
        .unwrap();
    assert_eq!(report.greeting, "* OK ready.");
    assert_eq!(report.capabilities, ["IMAP4REV1", "CONDSTORE", "AUTH=PLAIN"]);
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    let tls = report.tls.unwrap();
    assert_eq!((tls.version.as_str(), tls.verified), ("TLSv1_3", true));
    assert_eq!(
        tls.certificate.unwrap().to_string(),
        "for localhost, signed by Test authority, good until 2090-01-01"
    );

    let report = tested(Manner::StartTls(pki.acceptor.clone()), Security::Tls, pki.trust()).await.unwrap();
    assert_eq!(report.greeting, "* OK hello");
    assert_eq!(report.capabilities, ["IMAP4REV1", "CONDSTORE", "AUTH=PLAIN"]);
    assert!(report.tls.is_some());
}

#[tokio::test]
async fn plain_text_works_and_is_warned_of() {
    let report =
        tested(Manner::Plain("* OK hi", "* CAPABILITY IMAP4rev1 STARTTLS"), Security::None, Trust::System)
            .await
            .unwrap();
    assert!(report.tls.is_none());
    assert_eq!(
        report.notes,
        ["passwords and mail travel unencrypted", "the server offers STARTTLS: use --security tls",]
    );
}

#[tokio::test]
async fn certificates_that_do_not_verify_are_described() {
    let (good, other) = (Pki::new("localhost", 2090), Pki::new("localhost", 2090));
    let server = |pki: &Pki| Manner::Implicit(pki.acceptor.clone(), "* OK ready.");
    let unknown = error(server(&good), Security::Ssl, other.trust()).await;
    assert!(unknown.starts_with("the certificate of localhost does not verify: "), "{unknown}");
    assert!(
        unknown.ends_with("(for localhost, signed by Test authority, good until 2090-01-01)"),
        "{unknown}"
    );

    let expired = Pki::new("localhost", 2021);
    let words = error(server(&expired), Security::Ssl, expired.trust()).await;
    assert!(words.contains("expired"), "{words}");

    let elsewhere = Pki::new("imap.contoso.edu", 2090);
    let words = error(server(&elsewhere), Security::Ssl, elsewhere.trust()).await;
    assert!(words.contains("for imap.contoso.edu, signed by"), "{words}");

    let report = tested(server(&elsewhere), Security::Ssl, Trust::Off).await.unwrap();
    assert_eq!(report.notes, ["the certificate was not verified"]);
    assert!(!report.tls.unwrap().verified);
    assert!(tested(server(&elsewhere), Security::Tls, elsewhere.trust()).await.is_err());
}

#[tokio::test]
async fn the_wrong_security_is_recognised() {
    let pki = Pki::new("localhost", 2090);
    let implicit = || Manner::Implicit(pki.acceptor.clone(), "* OK ready.");
    let plain = || Manner::Plain("* OK hi", "* CAPABILITY IMAP4rev1");
    for (manner, security, found, next) in [
        (
            plain(),
            Security::Ssl,
            Found::PlainText,
            "use --security tls, or none if the server has no STARTTLS",
        ),
        (implicit(), Security::None, Found::ImplicitTls, "use --security ssl"),
        (implicit(), Security::Tls, Found::ImplicitTls, "use --security ssl"),
        (plain(), Security::Tls, Found::NoStartTls, "use --security ssl on port 993, or none"),
    ] {
        let error = tested(manner, security, pki.trust()).await.unwrap_err();
        assert!(matches!(&error, EndpointError::Security { found: seen, .. } if *seen == found), "{error}");
        assert_eq!(error.next(), next);
        assert_eq!(error.fault(), Fault::Source);
    }
}

#[tokio::test]
async fn what_is_not_imap_is_shown() {
    let plain = |greeting| Manner::Plain(greeting, "* CAPABILITY IMAP4rev1");
    assert_eq!(
        error(plain("220 mail.contoso.edu ESMTP"), Security::None, Trust::System).await,
        "localhost does not speak IMAP: it greets with \"220 mail.contoso.edu ESMTP\""
    );
    assert_eq!(
        error(plain("* BYE too many connections"), Security::None, Trust::System).await,
        "localhost turns us away: too many connections"
    );
}

#[tokio::test]
async fn what_comes_in_the_clear_behind_starttls_is_not_taken() {
    let pushy = Manner::Plain("* OK hi", "* CAPABILITY IMAP4rev1 STARTTLS X-PUSHY");
    assert_eq!(
        error(pushy, Security::Tls, Trust::Off).await,
        "localhost does not speak IMAP: it goes on in the clear behind STARTTLS"
    );
}

#[tokio::test]
async fn silence_is_told_from_a_closed_port() {
    let (port, task) = serve(Manner::Silent).await;
    let server = Server { host: "127.0.0.1".into(), port, security: Security::None, trust: Trust::System };
    let words = test(&server, Duration::from_millis(300)).await.unwrap_err().to_string();
    assert_eq!(words, format!("127.0.0.1:{port} does not speak IMAP: no greeting"));
    task.abort();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let server = Server { port, ..server };
    let error = test(&server, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error, EndpointError::Closed { host: "127.0.0.1".into(), port });
    assert_eq!(error.fault(), Fault::Source);

    let nowhere = Server { host: "nowhere.invalid".into(), ..server.clone() };
    assert!(matches!(test(&nowhere, Duration::from_secs(5)).await, Err(EndpointError::Name { .. })));
    let untrusted = Server { trust: Trust::CaFile("/nowhere.pem".into()), ..server };
    let error = test(&untrusted, Duration::from_secs(5)).await.unwrap_err();
    assert!(error.to_string().starts_with("/nowhere.pem: "), "{error}");
}
