//! SIGHUP: the configuration is read and checked again; what can change without a restart, changes.

use super::front::Keeper;
use crate::config::{Config, check};
use std::path::Path;
use tracing::{error, info, warn};

/// Certificates are taken in again; anything else that changed is named, and waits for a restart. A configuration
/// with a mistake changes nothing.
pub fn run(file: &Path, running: &Config, keeper: &Keeper) {
    let read =
        Config::load(file).and_then(|config| check::check(file, &config).map(|warnings| (config, warnings)));
    let config = match read {
        Ok((config, warnings)) => {
            for line in super::lines(file, warnings) {
                warn!("{line}");
            }
            config
        }
        Err(error) => {
            error!(%error, "The configuration has mistakes; the running one stays.");
            return;
        }
    };
    let changed = changed(running, &config);
    if !changed.is_empty() {
        warn!(changed = changed.join(", "), "These wait for a restart.");
    }
    match keeper.reload_certificates() {
        Ok(()) => info!("Configuration checked, certificates taken in again."),
        Err(error) => error!(error, "The certificates could not be taken in; the old ones stay."),
    }
}

/// The parts that are not as they were when the daemon started.
fn changed(running: &Config, now: &Config) -> Vec<&'static str> {
    let mut changed = Vec::new();
    let mut compare = |name, same: bool| {
        if !same {
            changed.push(name);
        }
    };
    compare("state_dir", running.state_dir == now.state_dir);
    compare("key_file", running.key_file == now.key_file);
    compare("[target]", running.target == now.target);
    compare("[proxy]", running.proxy == now.proxy);
    compare("[sync]", running.sync == now.sync);
    compare("[spool]", running.spool == now.spool);
    compare("[dns]", running.dns == now.dns);
    compare("[admin]", running.admin == now.admin);
    compare("[log]", running.log == now.log);
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_named() {
        let parse = |more: &str| {
            let text = format!("{more}[target]\ntenant = \"a\"\nclient_id = \"b\"\n");
            Config::parse(Path::new("m.toml"), &text).unwrap()
        };
        let running = parse("");
        assert!(changed(&running, &parse("")).is_empty());
        assert_eq!(
            changed(&running, &parse("state_dir = \"/x\"\n[sync]\nmax_items = 5\n[dns]\nwait = \"73h\"\n")),
            ["state_dir", "[sync]", "[dns]"]
        );
    }
}
