//! SIGHUP: the configuration is read and checked again; what can change without a restart, changes.

use super::front::Keeper;
use crate::config::{Config, Proxy, check};
use std::path::Path;
use tracing::{error, info, warn};

/// The proxy's limits, certificates and balancers are taken over; anything else that changed is named, and waits for a
/// restart. A configuration with a mistake changes nothing.
pub fn run(file: &Path, running: &mut Config, keeper: &Keeper) {
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
    if let (Some(old), Some(new)) = (&mut running.proxy, &config.proxy) {
        match keeper.reload(new) {
            Ok(()) => *old = old.with_changes_of(new),
            Err(error) => {
                error!(error, "The proxy's part could not be taken over; it stays as it was.");
                return;
            }
        }
    }
    let changed = changed(running, &config);
    if !changed.is_empty() {
        warn!(changed = changed.join(", "), "These wait for a restart.");
    }
    info!("Configuration checked; certificates, limits and balancers are taken over.");
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
    match (&running.proxy, &now.proxy) {
        (Some(running), Some(now)) => {
            compare("proxy.endpoint", running.endpoint == now.endpoint);
            // Sorted out by address and security; who may send PROXY headers there is taken over.
            let doors = |proxy: &Proxy| -> Vec<_> {
                proxy.listen.iter().map(|listen| (listen.address, listen.security)).collect()
            };
            compare("proxy.listen", doors(running) == doors(now));
            compare("proxy.tell_source", running.tell_source == now.tell_source);
        }
        (running, now) => compare("[proxy]", running.is_some() == now.is_some()),
    }
    compare("[sync]", running.sync == now.sync);
    compare("[spool]", running.spool == now.spool);
    compare("[dns]", running.dns == now.dns);
    compare("[[hooks]]", running.hooks == now.hooks);
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
        assert_eq!(
            changed(&running, &parse("[[hooks]]\nname = \"a\"\non = [\"straggler\"]\ncommand = [\"/x\"]\n")),
            ["[[hooks]]"]
        );
        let proxy = |more: &str, port: u16, from: &str| {
            parse(&format!(
                "[proxy]\nendpoint = \"E\"\nlisten = [{{ address = \"127.0.0.1:{port}\", security = \"none\", \
                 proxy_protocol_from = [{from}] }}]\n{more}\n"
            ))
        };
        let running = proxy("", 143, "");
        assert_eq!(changed(&running, &parse("")), ["[proxy]"]);
        let live = proxy("[proxy.limits]\nmax_connections = 5", 143, "\"10.0.0.0/8\"");
        assert!(changed(&running, &live).is_empty(), "these are taken over");
        let other = proxy("tell_source = \"proxy-protocol\"", 144, "");
        assert_eq!(changed(&running, &other), ["proxy.listen", "proxy.tell_source"]);
    }
}
