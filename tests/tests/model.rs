//! Lives of mailboxes, thrown by dice: see `mailferry_tests::model`.
//!
//! `MAILFERRY_TEST_SEEDS` lives from seed `MAILFERRY_TEST_SEED` on; a few otherwise. To look into seed 17, again and again:
//! `MAILFERRY_TEST_SEED=17 MAILFERRY_TEST_SEEDS=1 MAILFERRY_TEST_AGAIN=20 cargo test -p mailferry-tests --test model`.
//! What went wrong is told with everything that was done; the daemon's log, the servers', and what passed the relays is kept.
//! With `MAILFERRY_TEST_JOURNALS` set everything is told of every life.
//!
//! Half of a life is waiting: `MAILFERRY_TEST_STANDS` live side by side, each on a stand of its own (one otherwise). A
//! `TMPDIR` in memory spares the disk.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mailferry_tests::model::{Lived, Manner, live, stand};
use mailferry_tests::stand::Stand;

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
    let lives: Vec<u64> = (first..first + seeds).flat_map(|seed| (0..again).map(move |_| seed)).collect();
    let together = if again > 1 { 1 } else { TOGETHER };
    let groups: VecDeque<Vec<u64>> = lives.chunks(together).map(<[u64]>::to_vec).collect();
    let groups = Arc::new(Mutex::new(groups));
    let stands: Vec<_> = (0..number("MAILFERRY_TEST_STANDS", 1))
        .map(|_| tokio::spawn(group_after_group(Arc::clone(&groups))))
        .collect();
    let mut wrong = Vec::new();
    for lived in stands {
        wrong.extend(lived.await.unwrap());
    }
    assert!(wrong.is_empty(), "seeds that went wrong: {wrong:?}");
}

/// Lives them as long as some are left; those that went wrong.
async fn group_after_group(groups: Arc<Mutex<VecDeque<Vec<u64>>>>) -> Vec<u64> {
    let mut wrong = Vec::new();
    loop {
        let next = groups.lock().unwrap().pop_front();
        let Some(seeds) = next else { return wrong };
        let (mut on, people) = stand(seeds.iter().copied()).await.unwrap();
        for seed in seeds {
            let began = Instant::now();
            let mut lived = Lived::default();
            let held = live(&mut on, &people[&seed], seed, &mut lived).await;
            let took = began.elapsed();
            if took > SLOW || std::env::var_os("MAILFERRY_TEST_JOURNALS").is_some() {
                println!("seed {seed} took {took:?}\n{}", lived.journal);
            }
            match held {
                Ok(()) => println!(
                    "seed {seed}: {:?}, {} messages, {} foreign, {} kills, {} folders left over, {:.1} s",
                    lived.manner.unwrap_or(Manner::Plain),
                    lived.messages,
                    lived.foreign,
                    lived.kills,
                    lived.left_over,
                    took.as_secs_f64()
                ),
                Err(error) => {
                    println!("seed {seed} FAILED, see {}\n{}{error:#}", keep(&on, seed), lived.journal);
                    wrong.push(seed);
                }
            }
        }
    }
}

/// Keeps what is known of a life that went wrong; where.
fn keep(on: &Stand, seed: u64) -> String {
    let kept = std::env::temp_dir().join(format!("mailferry-model-{seed}"));
    let source = on.source.dovecot().map(|dovecot| dovecot.instance().log());
    // What cannot be kept is not worth another failure.
    let _ = std::fs::copy(on.log(), kept.with_extension("log"));
    let _ = std::fs::write(kept.with_extension("source"), on.source_relay.minutes().join("\n"));
    let _ = std::fs::write(kept.with_extension("target"), on.target.relay.minutes().join("\n"));
    let _ = std::fs::write(kept.with_extension("source-server"), source.unwrap_or_default());
    let _ = std::fs::write(kept.with_extension("target-server"), on.target.instance().log());
    format!("{}.*", kept.display())
}
