//! `hook test`: whether a hook would be told. Needs no daemon; what runs it here is the operator's own account.

use crate::{
    args::{Global, Hook},
    config::{Config, hooks},
    failure::Failure,
    output::{self, Format},
};
use jiff::Timestamp;
use mailferry_admin::problem::Problem;

pub async fn run(global: &Global, hook: &Hook, format: Format) -> Result<(), Failure> {
    let Hook::Test { name } = hook;
    let config = Config::load(&crate::config_file(global))?;
    let all = hooks::told(&config).map_err(|(key, why)| Problem::usage(format!("{key}: {why}")))?;
    let named: Vec<&str> = all.iter().map(|hook| hook.name.as_str()).collect();
    let Some(hook) = all.iter().find(|hook| hook.name == *name) else {
        let next = match named.is_empty() {
            true => "the configuration has no [[hooks]]".to_owned(),
            false => format!("there are: {}", named.join(", ")),
        };
        return Err(Problem::missing(format!("hook {name:?}")).next(next).into());
    };
    hook.test(Timestamp::now()).await.map_err(|error| {
        Problem::local(format!("hook {name:?} was not told: {error}"))
            .next("what it was to be told is JSON with the event \"test\"")
    })?;
    match format {
        Format::Json => output::json(&serde_json::json!({ "hook": name, "told": true })),
        Format::Human => output::say(&format!("hook {name:?} was told\n")),
    }
    Ok(())
}
