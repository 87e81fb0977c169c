//! `endpoint …`.

use super::done;
use crate::{
    args::{self, Endpoint, Global, Security, Server},
    client::{Daemon, segment},
    failure::Failure,
    output::{self, Format, Table, printable},
};
use hyper::Method;
use mailferry_admin::{problem::Problem, shape::Done};
use mailferry_imap::net::{self, Trust};
use mailferry_ledger::AdminLogin;
use mailferry_sync::batch::{EndpointSpec, Verification};
use mailferry_sync::endpoint;
use std::time::Duration;

/// How long a source may take to greet us.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn run(global: &Global, endpoint: Endpoint, format: Format) -> Result<(), Failure> {
    match endpoint {
        Endpoint::Test(server) => test(&server, format).await,
        Endpoint::Add {
            name,
            server,
            max_concurrent_migrations,
            max_concurrent_incremental_syncs,
            learn_credentials,
            admin_separator,
            admin_login,
        } => {
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
                learn_credentials,
                admin_separator,
                admin_login: match admin_login {
                    args::AdminLogin::Name => AdminLogin::Name,
                    args::AdminLogin::Authzid => AdminLogin::Authzid,
                },
            };
            let path = format!("/v1/endpoints/{}", segment(&name));
            let daemon = Daemon::find(global)?;
            let known: Vec<EndpointSpec> = daemon.read("/v1/endpoints").await?;
            let learned = known.iter().any(|one| one.name == name && one.learn_credentials);
            let outcome: Done = daemon.write(Method::PUT, &path, &spec).await?;
            done(
                outcome,
                format,
                &format!(
                    "endpoint {name} is set{}",
                    match (learned, learn_credentials) {
                        (_, true) => "; passwords are learnt from the logins of clients",
                        (true, false) => "; no more passwords are learnt, and those that were are forgotten",
                        (false, false) => "",
                    }
                ),
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
        "LEARNS",
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
            if one.learn_credentials { "passwords".into() } else { "-".into() },
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

async fn test(server: &Server, format: Format) -> Result<(), Failure> {
    let trust = match (&server.ca_file, server.accept_untrusted_certificates) {
        (_, true) => Trust::Off,
        (Some(file), false) => Trust::CaFile(file.clone()),
        (None, false) => Trust::System,
    };
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
    let found = endpoint::test(&to, PATIENCE)
        .await
        .map_err(|error| Problem::new(error.fault(), error.to_string()).next(error.next()))?;
    if format == Format::Json {
        output::json(&found);
        return Ok(());
    }
    output::say(&format!("{}:{} ({}) answers\n", found.server, found.port, word(server.security)));
    output::say(&format!("address       {} ({} ms)\n", found.connected, found.connect_ms));
    if let Some(tls) = &found.tls {
        output::say(&format!("tls           {} {}\n", tls.version, tls.cipher));
        if let Some(certificate) = &tls.certificate {
            output::say(&format!("certificate   {}\n", printable(&certificate.to_string())));
        }
    }
    output::say(&format!("greeting      {}\n", printable(&found.greeting)));
    output::say(&format!("capabilities  {}\n", printable(&found.capabilities.join(" "))));
    for note in &found.notes {
        output::say(&format!("note          {note}\n"));
    }
    Ok(())
}
