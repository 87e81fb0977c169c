//! `[[hooks]]`: who is told when something happens, and what makes such an entry one that works.

use super::{Config, check, units::Span};
use mailferry_sync::hooks::{Delivery, Event, Hook as Told, InTheClear, Program, WebError, Webhook};
use secrecy::ExposeSecret;
use serde::Deserialize;
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// How many there may be: each has a task of its own.
const MOST: usize = 16;
/// The longest time for one delivery.
const LONGEST: Duration = Duration::from_secs(600);

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    pub name: String,
    pub on: Vec<Event>,
    #[serde(default)]
    pub command: Vec<String>,
    pub url: Option<String>,
    /// The same, where the address itself is the secret.
    pub url_file: Option<PathBuf>,
    #[serde(default)]
    pub allow_http: bool,
    pub token_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    #[serde(default = "half_a_minute")]
    pub timeout: Span,
}

fn half_a_minute() -> Span {
    Span(Duration::from_secs(30))
}

/// What an entry is found to be.
pub enum Found {
    Problem(String, String),
    Warning(String, String),
}

/// The configured hooks in the sync's terms. The error has the key to blame.
pub fn told(config: &Config) -> Result<Vec<Told>, (String, String)> {
    config.hooks.iter().enumerate().map(|(index, hook)| hook.told(index)).collect()
}

/// Looks at all of them.
pub fn look(config: &Config) -> Vec<Found> {
    let mut found = Vec::new();
    if config.hooks.len() > MOST {
        found.push(Found::Problem("hooks".into(), format!("are more than {MOST}")));
    }
    for (index, hook) in config.hooks.iter().enumerate() {
        let key = |key: &str| format!("hooks[{index}].{key}");
        let mut problem = |name: &str, why: &str| found.push(Found::Problem(key(name), why.to_owned()));
        if hook.name.is_empty() || hook.name.contains('/') || hook.name.chars().any(char::is_control) {
            problem("name", "is empty, or has a slash or a control character");
        }
        if config.hooks[..index].iter().any(|other| other.name == hook.name) {
            problem("name", "is another hook's too");
        }
        if hook.on.is_empty() {
            let all = Event::ALL.map(|event| event.to_string()).join(", ");
            problem("on", &format!("is empty; there are {all}"));
        }
        if hook.timeout.0.is_zero() || hook.timeout.0 > LONGEST {
            problem("timeout", "must be longer than nothing and 10m at most");
        }
        if let Err((key, why)) = hook.told(index) {
            found.push(Found::Problem(key, why));
        }
        for (name, file) in [("token_file", &hook.token_file), ("url_file", &hook.url_file)] {
            if let Some(file) = file
                && let Ok(meta) = std::fs::metadata(file)
                && meta.permissions().mode() & 0o077 != 0
            {
                let why = format!("{} can be read by others than its owner", file.display());
                found.push(Found::Warning(key(name), why));
            }
        }
    }
    found
}

impl Hook {
    fn told(&self, index: usize) -> Result<Told, (String, String)> {
        let blame = |key: &str, why: String| (format!("hooks[{index}].{key}"), why);
        let url = match (&self.url, &self.url_file) {
            (Some(_), Some(_)) => return Err(blame("url_file", "either url or url_file, not both".into())),
            (Some(url), None) => Some(("url", url.clone())),
            (None, Some(file)) => {
                let url = check::secret_in(file).map_err(|why| blame("url_file", why))?;
                Some(("url_file", url.expose_secret().to_owned()))
            }
            (None, None) => None,
        };
        let delivery = match (self.command.split_first(), url) {
            (Some((file, arguments)), None) => {
                for (key, given) in [
                    ("token_file", self.token_file.is_some()),
                    ("ca_file", self.ca_file.is_some()),
                    ("allow_http", self.allow_http),
                ] {
                    if given {
                        return Err(blame(key, "goes with url, not with command".into()));
                    }
                }
                program(Path::new(file)).map_err(|why| blame("command", why))?;
                Delivery::Program(Program { file: file.into(), arguments: arguments.to_vec() })
            }
            (None, Some((named, url))) => {
                let token = match &self.token_file {
                    Some(file) => Some(check::secret_in(file).map_err(|why| blame("token_file", why))?),
                    None => None,
                };
                let open = if self.allow_http { InTheClear::Allowed } else { InTheClear::Refused };
                let webhook = Webhook::new(&url, token, self.ca_file.as_deref(), open).map_err(|error| {
                    let key = match &error {
                        WebError::Url | WebError::Open | WebError::Clear => named,
                        WebError::CaFile(_) => "ca_file",
                        WebError::Token => "token_file",
                    };
                    blame(key, error.to_string())
                })?;
                Delivery::Webhook(Box::new(webhook))
            }
            (Some(_), Some((named, _))) => {
                return Err(blame(named, "either a command or an address, not both".into()));
            }
            (None, None) => return Err(blame("command", "a hook needs command, url or url_file".into())),
        };
        Ok(Told {
            name: self.name.clone(),
            on: self.on.iter().copied().collect(),
            delivery,
            timeout: self.timeout.0,
        })
    }
}

fn program(file: &Path) -> Result<(), String> {
    if !file.is_absolute() {
        return Err(format!("{} must be a whole path: no search path is used", file.display()));
    }
    let meta = std::fs::metadata(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
        return Err(format!("{} is not a program", file.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &str) -> Result<Config, String> {
        let text = format!("[target]\ntenant = \"t\"\nclient_id = \"1\"\n{lines}");
        Config::parse(Path::new("m.toml"), &text).map_err(|error| error.to_string())
    }

    fn found(lines: &str) -> Vec<String> {
        let all = look(&parse(lines).unwrap()).into_iter();
        all.map(|one| match one {
            Found::Problem(key, why) => format!("{key}: {why}"),
            Found::Warning(key, why) => format!("warning {key}: {why}"),
        })
        .collect()
    }

    #[test]
    fn a_hook_is_told_by_a_program_or_by_the_web() {
        let good = "[[hooks]]\nname = \"a\"\non = [\"mx-changed\", \"gate-open\"]\ncommand = [\"/bin/true\", \"x\"]\n\
            [[hooks]]\nname = \"b\"\non = [\"needs-human\"]\nurl = \"https://hooks.example/x\"\ntimeout = \"5s\"\n";
        assert_eq!(found(good), Vec::<String>::new());
        let [a, b] = &told(&parse(good).unwrap()).unwrap()[..] else { panic!() };
        assert!(matches!(&a.delivery, Delivery::Program(program) if program.arguments == ["x"]));
        assert_eq!((a.timeout, b.timeout), (Duration::from_secs(30), Duration::from_secs(5)));
    }

    #[test]
    fn what_would_not_work_is_said_beforehand() {
        let hook = |lines: &str| found(&format!("[[hooks]]\nname = \"a\"\non = [\"straggler\"]\n{lines}\n"));
        for (lines, expected) in [
            ("", "hooks[0].command: a hook needs command, url or url_file"),
            (
                "command = [\"/bin/true\"]\nurl = \"https://x/\"",
                "hooks[0].url: either a command or an address, not both",
            ),
            ("command = [\"true\"]", "hooks[0].command: true must be a whole path: no search path is used"),
            ("command = [\"/etc/passwd\"]", "hooks[0].command: /etc/passwd is not a program"),
            (
                "command = [\"/bin/true\"]\nca_file = \"/x\"",
                "hooks[0].ca_file: goes with url, not with command",
            ),
            ("url = \"hooks.example\"", "hooks[0].url: is not an http or https address"),
            (
                "url = \"http://hooks.example/\"",
                "hooks[0].url: goes to another machine unencrypted: use https, or say allow_http = true",
            ),
            (
                "url = \"https://x/\"\nurl_file = \"/x\"",
                "hooks[0].url_file: either url or url_file, not both",
            ),
            (
                "command = [\"/bin/true\"]\ntimeout = \"1h\"",
                "hooks[0].timeout: must be longer than nothing and 10m at most",
            ),
        ] {
            assert_eq!(hook(lines), [expected], "{lines}");
        }
        let twice = "[[hooks]]\nname = \"a\"\non = []\ncommand = [\"/bin/true\"]\n".repeat(2);
        assert_eq!(
            found(&twice),
            [
                "hooks[0].on: is empty; there are mx-changed, cutover-confirmed, straggler, gate-open, needs-human",
                "hooks[1].name: is another hook's too",
                "hooks[1].on: is empty; there are mx-changed, cutover-confirmed, straggler, gate-open, needs-human",
            ]
        );
    }

    #[test]
    fn an_unknown_event_is_an_error_with_its_place() {
        let error = parse("[[hooks]]\nname = \"a\"\non = [\"mx-changed\", \"lunch\"]\n").unwrap_err();
        assert!(error.starts_with("m.toml:6:21: unknown variant `lunch`"), "{error}");
        let error = parse("[[hooks]]\nname = \"a\"\non = []\nshell = \"x\"\n").unwrap_err();
        assert!(error.starts_with("m.toml:7:1: unknown field `shell`"), "{error}");
    }
}
