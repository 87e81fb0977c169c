//! Lives of mailboxes, thrown by dice: see `mailferry_tests::model`.
//!
//! `MAILFERRY_TEST_SEEDS` lives from seed `MAILFERRY_TEST_SEED` on; a few otherwise. To look into seed 17, again and again:
//! `MAILFERRY_TEST_SEED=17 MAILFERRY_TEST_SEEDS=1 MAILFERRY_TEST_AGAIN=20 cargo test -p mailferry-tests --test model`.
//! What went wrong is told with everything that was done; the daemon's log and what passed the relays is kept. With
//! `MAILFERRY_TEST_JOURNALS` set everything is told of every life.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mailferry_tests::model::{Lived, Manner, live, stand};
use mailferry_tests::stand::{Person, Stand};

/// Lives on one stand, before another one is made.
const TOGETHER: usize = 20;

/// What takes longer is worth a look.
const SLOW: Duration = Duration::from_secs(40);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_source_and_target_agree_when_all_is_quiet() {
    let first = number("MAILFERRY_TEST_SEED", 1);
    let seeds = number("MAILFERRY_TEST_SEEDS", 5);
    let again = number("MAILFERRY_TEST_AGAIN", 1);
    let journals = std::env::var_os("MAILFERRY_TEST_JOURNALS").is_some();
    let lives: Vec<u64> = (first..first + seeds).flat_map(|seed| (0..again).map(move |_| seed)).collect();
    let together = if again > 1 { 1 } else { TOGETHER };
    let mut wrong = Vec::new();
    let mut on: Option<(Stand, BTreeMap<u64, Person>)> = None;
    for (at, seed) in lives.iter().copied().enumerate() {
        if at % together == 0 {
            drop(on.take()); // Before the next one begins.
        }
        if on.is_none() {
            on = Some(stand(lives[at..].iter().copied().take(together)).await.unwrap());
        }
        let (on, people) = on.as_mut().unwrap();
        let began = Instant::now();
        let mut lived = Lived::default();
        let held = live(on, &people[&seed], seed, &mut lived).await;
        if began.elapsed() > SLOW || journals {
            println!("seed {seed} took {:?}\n{}", began.elapsed(), lived.journal);
        }
        match held {
            Ok(()) => println!(
                "seed {seed}: {:?}, {} messages, {} foreign, {} kills, {} folders left over, {:.1} s",
                lived.manner.unwrap_or(Manner::Plain),
                lived.messages,
                lived.foreign,
                lived.kills,
                lived.left_over,
                began.elapsed().as_secs_f64()
            ),
            Err(error) => {
                let kept = std::env::temp_dir().join(format!("mailferry-model-{seed}"));
                let _ = std::fs::copy(on.log(), kept.with_extension("log"));
                let _ = std::fs::write(kept.with_extension("source"), on.source_relay.minutes().join("\n"));
                let _ = std::fs::write(kept.with_extension("target"), on.target.relay.minutes().join("\n"));
                let source = on.source.dovecot().map(|dovecot| dovecot.instance().log());
                let _ = std::fs::write(kept.with_extension("source-server"), source.unwrap_or_default());
                let _ = std::fs::write(kept.with_extension("target-server"), on.target.instance().log());
                println!("seed {seed} FAILED, see {}.*\n{}{error:#}", kept.display(), lived.journal);
                wrong.push(seed);
            }
        }
    }
    assert!(wrong.is_empty(), "seeds that went wrong: {wrong:?}");
}
