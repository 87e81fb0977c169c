//! The house: imports point down only.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What each crate may use of ours. `proxy` and `sync` never see each other; `imap` and `dnscheck` see nobody.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("imap", &[]),
    ("dnscheck", &[]),
    ("ledger", &["imap"]),
    ("spool", &["imap"]),
    ("sync", &["ledger", "spool", "imap", "dnscheck"]),
    ("proxy", &["ledger", "spool", "imap"]),
    ("admin", &["proxy", "sync", "dnscheck", "ledger", "spool", "imap"]),
    ("cli", &["admin", "proxy", "sync", "dnscheck", "ledger", "spool", "imap"]),
    // The harness proves the product from outside and shares no code with it; the tests of `dnscheck` against real
    // DNS servers live beside the servers.
    ("tests", &["dnscheck"]),
    ("benches", &["tests"]),
];

fn ours(name: &str) -> Option<&str> {
    name.strip_prefix("mailferry-")
}

#[test]
fn imports_point_down_only() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ALLOWED.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = ours(package["name"].as_str().unwrap()).unwrap();
        let Some(may) = allowed.get(name) else {
            wrong.push(format!("{name} is not in the house; give it a place in ALLOWED"));
            continue;
        };
        seen.insert(name);
        for dependency in package["dependencies"].as_array().unwrap() {
            let Some(uses) = ours(dependency["name"].as_str().unwrap()) else { continue };
            if !may.contains(uses) {
                wrong.push(format!("{name} must not use {uses}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(seen.len(), ALLOWED.len(), "members: {seen:?}");
}

#[test]
fn the_imap_protocol_needs_no_runtime() {
    // Without the feature `net`, `imap` is bytes in, facts out.
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", "mailferry-imap", "--edges", "normal", "--prefix", "none"])
        .arg("--no-default-features")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let runtime: Vec<&str> = tree
        .lines()
        .filter(|line| ["tokio ", "rustls ", "hyper "].iter().any(|name| line.starts_with(name)))
        .collect();
    assert!(runtime.is_empty(), "{runtime:?}");
}
