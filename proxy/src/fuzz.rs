//! What the fuzz targets of `fuzz/` call, and what replays their corpora among the tests: each entry takes any bytes and
//! panics where a promise is broken.
//!
//! An input is a script of two streams: RS (0x1E) hands over to the other side, the client begins; US (0x1F) is a place
//! where the stream is cut. Whatever is cut where, the same must come out.
//!
//! Not part of the proxy: compiled for tests and under the feature `fuzzing`.

mod door;
mod filter;
mod frame;
mod header;
mod id;
mod parse;
mod tap;

pub use door::run as login;
pub use filter::run as filter;
pub use frame::run as framer;
pub use header::run as header;
pub use id::run as id;
pub use parse::run as parse;
pub use tap::run as tap;

const HAND_OVER: u8 = 0x1e;
const CUT: u8 = 0x1f;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Client,
    Server,
}

/// How the turns of a script are cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cuts {
    Nowhere,
    Everywhere,
    AsMarked,
}

#[derive(Debug)]
struct Script<'a> {
    turns: Vec<(Side, &'a [u8])>,
}

impl<'a> Script<'a> {
    fn new(script: &'a [u8]) -> Self {
        let sides = [Side::Client, Side::Server].into_iter().cycle();
        Self { turns: sides.zip(script.split(|byte| *byte == HAND_OVER)).collect() }
    }

    /// The chunks of all turns. A turn of nothing is one empty chunk.
    fn chunks(&self, cuts: Cuts) -> impl Iterator<Item = (Side, Vec<u8>)> {
        self.turns.iter().flat_map(move |(side, turn)| {
            let whole = || turn.iter().copied().filter(|byte| *byte != CUT).collect::<Vec<_>>();
            let chunks = match cuts {
                Cuts::Nowhere => vec![whole()],
                Cuts::Everywhere => whole().into_iter().map(|byte| vec![byte]).collect(),
                Cuts::AsMarked => turn.split(|byte| *byte == CUT).map(<[u8]>::to_vec).collect(),
            };
            chunks.into_iter().map(|chunk| (*side, chunk))
        })
    }

    /// All that one side says.
    fn said(&self, by: Side) -> Vec<u8> {
        let chunks = self.chunks(Cuts::Nowhere).filter(|(side, _)| *side == by);
        chunks.flat_map(|(_, chunk)| chunk).collect()
    }
}

/// Plays a script cut in all three ways; each must come to the same.
fn same_for_all_cuts<T: PartialEq + std::fmt::Debug>(mut play: impl FnMut(Cuts) -> T) -> T {
    let whole = play(Cuts::Nowhere);
    assert_eq!(play(Cuts::Everywhere), whole, "bytewise");
    assert_eq!(play(Cuts::AsMarked), whole, "cut as marked");
    whole
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What the targets were run on, each file that once showed something new among it.
    #[test]
    fn the_corpora_hold() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        let run: fn(&[u8]) = framer;
        let targets = [
            ("framer", run),
            ("tap", tap),
            ("login", login),
            ("filter", filter),
            ("parse", parse),
            ("header", header),
            ("id", id),
        ];
        for (name, run) in targets {
            let files = std::fs::read_dir(corpora.join(name)).unwrap();
            let mut count = 0;
            for file in files {
                let path = file.unwrap().path();
                let input = std::fs::read(&path).unwrap();
                let held = std::panic::catch_unwind(|| run(&input));
                assert!(held.is_ok(), "{name} on {}", path.display());
                count += 1;
            }
            assert!(count > 10, "the corpus of {name} is there");
        }
    }
}
