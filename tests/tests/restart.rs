//! The daemon under a service manager: its listening sockets outlive it.
#![allow(clippy::unwrap_used, reason = "tests")]

use mailferry_tests::python;
use mailferry_tests::stand::{Options, Stand, binary};
use serde_json::{Value, json};

/// Restarts the daemon while clients connect; with the sockets that it handed over, or without.
async fn restarted(stores: bool) -> Value {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    assert_eq!(stand.stop().unwrap(), Some(0), "the endpoint is in the ledger");
    let job = json!({
        "binary": binary().unwrap(),
        "config": stand.config(),
        "log": stand.log(),
        "folder": stand.path(),
        "ports": [stand.proxy_starttls().port()],
        "stores": stores,
        "limit": 60,
    });
    python::run(include_str!("../scripts/systemd.py"), &job).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_while_the_daemon_restarts() {
    let told = restarted(true).await;
    println!("{told}");
    assert_eq!((&told["refused"], &told["failed"]), (&json!(0), &json!(0)), "{told}");
    assert_eq!((&told["stored"], &told["stored_again"]), (&json!(2), &json!(2)), "both listeners: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_clients_are_refused_meanwhile() {
    let told = restarted(false).await;
    assert_ne!(told["refused"], json!(0), "the other test proves nothing: {told}");
}
