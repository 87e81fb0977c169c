//! `init`: configuration, key file and state folder, where they are not there yet. Run again, it changes nothing.

use crate::{
    args::{Global, Init},
    config::DEFAULT_SOCKET,
    failure::Failure,
    output::{self, Format},
};
use mailferry_admin::problem::Problem;
use mailferry_ledger::Vault;
use serde::Serialize;
use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

const TEMPLATE: &str = include_str!("mailferry.toml");

/// What became of one path. JSON: an array of these.
#[derive(Debug, Serialize)]
struct Made {
    what: &'static str,
    path: PathBuf,
    /// `false`: it was there already and is as it was.
    created: bool,
}

pub fn run(global: &Global, init: &Init, format: Format) -> Result<(), Failure> {
    let file = absolute(&crate::config_file(global))?;
    let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
    let existing = match file.try_exists() {
        Ok(true) => Some(crate::config::Config::load(&file)?),
        Ok(false) => None,
        Err(error) => return Err(local(&file, &error)),
    };
    // A configuration that is there already decides: what it names is what `serve` will use.
    let (state_dir, key_file) = match &existing {
        Some(config) => (config.state_dir.clone(), config.key_file.clone()),
        None => (
            absolute(init.state_dir.as_deref().unwrap_or(Path::new("/var/lib/mailferry")))?,
            absolute(&init.key_file.clone().unwrap_or_else(|| folder.join("key")))?,
        ),
    };
    for (what, asked, has) in
        [("--state-dir", &init.state_dir, &state_dir), ("--key-file", &init.key_file, &key_file)]
    {
        if let Some(asked) = asked
            && absolute(asked)? != *has
        {
            return Err(Problem::usage(format!(
                "{} is there already and names {}, not {what} {}",
                file.display(),
                has.display(),
                asked.display()
            ))
            .next("change the configuration by hand, or leave the option out")
            .into());
        }
    }
    if key_file.starts_with(&state_dir) {
        return Err(Problem::usage(format!(
            "the key file {} lies inside the state folder",
            key_file.display()
        ))
        .next("put it elsewhere with --key-file: a copy of the state folder must not hold the key")
        .into());
    }

    let mut made = Vec::new();
    made.push(Made { what: "state folder", created: make_folder(&state_dir)?, path: state_dir.clone() });
    make_folder(&folder)?;
    if let Some(parent) = key_file.parent() {
        make_folder(parent)?;
    }
    let key_there = key_file.try_exists().map_err(|error| local(&key_file, &error))?;
    if !key_there {
        Vault::create(&key_file).map_err(|error| {
            Problem::local(format!("cannot make the key file {}: {error}", key_file.display()))
        })?;
    }
    made.push(Made { what: "key file", created: !key_there, path: key_file.clone() });
    if existing.is_none() {
        let socket = match (&global.socket, &init.state_dir) {
            (Some(socket), _) => absolute(socket)?,
            (None, Some(_)) => state_dir.join("admin.sock"),
            (None, None) => DEFAULT_SOCKET.into(),
        };
        let text = fill(init, &folder, &state_dir, &key_file, &socket);
        write_new(&file, &text).map_err(|error| local(&file, &error))?;
    }
    made.push(Made { what: "configuration", created: existing.is_none(), path: file.clone() });

    match format {
        Format::Json => output::json(&made),
        Format::Human => {
            for Made { what, path, created } in &made {
                output::say(&format!(
                    "{what:<14} {} {}\n",
                    path.display(),
                    if *created { "made" } else { "was there" }
                ));
            }
            if existing.is_none() {
                output::say(&format!(
                    "\nNext: edit {} (tenant, client_id, client secret), then run `mailferry serve --check`.\n\
                     Keep a copy of {} somewhere safe: without it the stored passwords cannot be read.\n",
                    file.display(),
                    key_file.display()
                ));
            }
        }
    }
    Ok(())
}

fn fill(init: &Init, folder: &Path, state_dir: &Path, key_file: &Path, socket: &Path) -> String {
    let quoted = |path: &Path| toml::Value::from(path.to_string_lossy().into_owned()).to_string();
    let text = |value: &Option<String>, default: &str| {
        toml::Value::from(value.clone().unwrap_or_else(|| default.into())).to_string()
    };
    TEMPLATE
        .replace("@STATE_DIR@", &quoted(state_dir))
        .replace("@KEY_FILE@", &quoted(key_file))
        .replace("@SOCKET@", &quoted(socket))
        .replace("@SECRET_FILE@", &quoted(&folder.join("client-secret")))
        .replace("@TENANT@", &text(&init.tenant, "contoso.onmicrosoft.com"))
        .replace("@CLIENT_ID@", &text(&init.client_id, "00000000-0000-0000-0000-000000000000"))
}

fn make_folder(path: &Path) -> Result<bool, Failure> {
    if path.is_dir() {
        return Ok(false);
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| local(path, &error))?;
    Ok(true)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| local(path, &error))
}

fn local(path: &Path, error: &io::Error) -> Failure {
    let problem = Problem::local(format!("{}: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            problem.next("run it as root, or name other places with --config and --state-dir")
        }
        _ => problem,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_template_is_a_configuration_without_unknown_keys() {
        let init = Init { tenant: Some("a \"b\"".into()), client_id: None, state_dir: None, key_file: None };
        let text = fill(&init, Path::new("/e"), Path::new("/s"), Path::new("/e/key"), Path::new("/r/a.sock"));
        assert!(!text.contains('@'), "{text}");
        let config = Config::parse(Path::new("m.toml"), &text).unwrap();
        assert_eq!(config.target.tenant, "a \"b\"");
        assert_eq!(config.admin.socket, Path::new("/r/a.sock"));
        // Also with every commented key taken in.
        let all: String = text
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .filter(|line| !line.starts_with("client_secret_file"))
            .collect::<Vec<_>>()
            .join("\n");
        let config = Config::parse(Path::new("m.toml"), &all).unwrap();
        assert!(config.proxy.is_some());
        assert_eq!(config.sync.max_items, 500_000);
    }
}
