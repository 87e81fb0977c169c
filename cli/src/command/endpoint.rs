//! `endpoint …`.

use super::done;
use crate::{
    args::{Endpoint, Global, Security, Server},
    client::{Daemon, segment},
    failure::Failure,
    output::{self, Format, Table, printable},
};
use hyper::Method;
use mailferry_admin::{
    problem::{Fault, Problem},
    shape::Done,
};
use mailferry_imap::net::{self, Trust};
use mailferry_sync::batch::{EndpointSpec, Verification};
use serde::Serialize;
use std::time::Duration;

/// How long a source may take to greet us.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn run(global: &Global, endpoint: Endpoint, format: Format) -> Result<(), Failure> {
    match endpoint {
        Endpoint::Test(server) => test(&server, format).await,
        Endpoint::Add { name, server, max_concurrent_migrations, max_concurrent_incremental_syncs } => {
            if max_concurrent_incremental_syncs > max_concurrent_migrations {
                return Err(Problem::usage(format!(
                    "--max-concurrent-incremental-syncs {max_concurrent_incremental_syncs} is above --max-concurrent-migrations {max_concurrent_migrations}"
                ))
                .into());
            }
            let spec = EndpointSpec {
                name: name.clone(),
                server: server.server.clone(),
                port: server.port,
                security: word(server.security).into(),
                ca_file: server.ca_file.as_deref().map(absolute).transpose()?,
                verification: if server.accept_untrusted_certificates {
                    Verification::Off
                } else {
                    Verification::On
                },
                max_concurrent_migrations,
                max_concurrent_incremental_syncs,
                learn_credentials: false,
            };
            let path = format!("/v1/endpoints/{}", segment(&name));
            let outcome: Done = Daemon::find(global)?.write(Method::PUT, &path, &spec).await?;
            done(
                outcome,
                format,
                &format!("endpoint {name} is set"),
                &format!("endpoint {name} was so already"),
            );
            Ok(())
        }
        Endpoint::List => {
            let endpoints: Vec<EndpointSpec> = Daemon::find(global)?.read("/v1/endpoints").await?;
            show(&endpoints, format);
            Ok(())
        }
        Endpoint::Show { name } => {
            let endpoint: EndpointSpec =
                Daemon::find(global)?.read(&format!("/v1/endpoints/{}", segment(&name))).await?;
            match format {
                Format::Json => output::json(&endpoint),
                Format::Human => show(&[endpoint], format),
            }
            Ok(())
        }
        Endpoint::Remove { name } => {
            let path = format!("/v1/endpoints/{}", segment(&name));
            let outcome: Done =
                Daemon::find(global)?.write(Method::DELETE, &path, &serde_json::json!({})).await?;
            done(
                outcome,
                format,
                &format!("endpoint {name} is removed"),
                &format!("there was no endpoint {name}"),
            );
            Ok(())
        }
    }
}

fn show(endpoints: &[EndpointSpec], format: Format) {
    if format == Format::Json {
        return output::json(&endpoints);
    }
    let mut table = Table::new(&[
        "NAME",
        "TYPE",
        "SERVER",
        ">PORT",
        "SECURITY",
        "CERTIFICATES",
        ">MAX MIGRATIONS",
        ">MAX INCREMENTAL",
    ]);
    for one in endpoints {
        table.row([
            one.name.clone(),
            "IMAP".into(),
            one.server.clone(),
            one.port.to_string(),
            one.security.clone(),
            match (&one.ca_file, one.verification) {
                (_, Verification::Off) => "not verified".into(),
                (Some(file), Verification::On) => file.display().to_string(),
                (None, Verification::On) => "system".into(),
            },
            one.max_concurrent_migrations.to_string(),
            one.max_concurrent_incremental_syncs.to_string(),
        ]);
    }
    output::say(&table.text());
}

fn word(security: Security) -> &'static str {
    match security {
        Security::None => "none",
        Security::Ssl => "ssl",
        Security::Tls => "tls",
    }
}

/// The daemon has another working folder than we.
fn absolute(path: &std::path::Path) -> Result<std::path::PathBuf, Failure> {
    let absolute =
        std::path::absolute(path).map_err(|e| Problem::usage(format!("{}: {e}", path.display())))?;
    if !absolute.is_file() {
        return Err(Problem::usage(format!("--ca-file {}: there is no such file", path.display())).into());
    }
    Ok(absolute)
}

/// `endpoint test --json`.
#[derive(Debug, Serialize)]
struct Tested {
    server: String,
    port: u16,
    security: &'static str,
    greeting: String,
    capabilities: Vec<String>,
    /// What the operator should know, one sentence each.
    notes: Vec<String>,
}

async fn test(server: &Server, format: Format) -> Result<(), Failure> {
    let trust = match (&server.ca_file, server.accept_untrusted_certificates) {
        (_, true) => Trust::Off,
        (Some(file), false) => Trust::CaFile(file.clone()),
        (None, false) => Trust::System,
    };
    let tls = net::TlsClient::new(&trust)
        .map_err(|error| Problem::usage(format!("trusted certificates: {error}")))?;
    let to = net::Server {
        host: server.server.clone(),
        port: server.port,
        security: match server.security {
            Security::None => net::Security::None,
            Security::Ssl => net::Security::Ssl,
            Security::Tls => net::Security::Tls,
        },
        trust,
    };
    let session = net::connect(&to, &tls, PATIENCE).await.map_err(|error| refused(server, &error))?;
    let capabilities = session.capabilities();
    let tested = Tested {
        server: server.server.clone(),
        port: server.port,
        security: word(server.security),
        greeting: session.greeting().to_owned(),
        capabilities: capabilities.iter().map(|one| one.to_string()).collect(),
        notes: notes(server, capabilities),
    };
    // The server's farewell changes nothing.
    let _ = session.logout().await;
    match format {
        Format::Json => output::json(&tested),
        Format::Human => {
            output::say(&format!(
                "{}:{} ({}) answers\ngreeting      {}\ncapabilities  {}\n",
                tested.server,
                tested.port,
                tested.security,
                printable(&tested.greeting),
                printable(&tested.capabilities.join(" ")),
            ));
            for note in &tested.notes {
                output::say(&format!("note          {note}\n"));
            }
        }
    }
    Ok(())
}

fn notes(server: &Server, capabilities: &mailferry_imap::Capabilities) -> Vec<String> {
    let mut notes = Vec::new();
    if server.security == Security::None {
        notes.push("passwords and mail travel unencrypted".to_owned());
        if capabilities.has("STARTTLS") {
            notes.push("the server offers STARTTLS: use --security tls".to_owned());
        }
    }
    if server.accept_untrusted_certificates && server.security != Security::None {
        notes.push("the certificate was not verified".to_owned());
    }
    if capabilities.has("LOGINDISABLED") && !capabilities.has("AUTH=PLAIN") {
        notes.push("the server takes no password on this connection".to_owned());
    }
    if !capabilities.has("QRESYNC") && !capabilities.has("CONDSTORE") {
        notes.push("no CONDSTORE: incremental passes compare flags message by message".to_owned());
    }
    notes
}

fn refused(server: &Server, error: &net::Error) -> Failure {
    let next = match error {
        net::Error::Connect { .. } | net::Error::Timeout { .. } => format!(
            "is the name right, does the server listen on {}, does a firewall let this machine through?",
            server.port
        ),
        net::Error::Tls { .. } => match server.security {
            Security::Ssl if server.port == 143 => "port 143 usually wants --security tls (STARTTLS)".into(),
            _ => "name its authority with --ca-file, or say --accept-untrusted-certificates knowing what that means".into(),
        },
        net::Error::Protocol { .. } | net::Error::Unsupported { .. } => match (server.security, server.port) {
            (Security::None | Security::Tls, 993) => "port 993 usually wants --security ssl".into(),
            _ => "is this an IMAP server, and is --security right?".into(),
        },
        net::Error::Lost { .. } | net::Error::Bye { .. } | net::Error::Refused { .. } | net::Error::Misuse { .. } => {
            "look at the source server's log".into()
        }
    };
    Problem::new(Fault::Source, error.to_string()).next(next).into()
}
