//! Messages that a source may store as other bytes than the client sent.

use memchr::{memchr, memchr_iter};

/// Whether a message goes on with bytes that a source may store as others: line ends that are no CRLF, and NUL. `last` is
/// the byte before them, `left` what is still to come. Every byte of every APPEND passes here, so all that is done for a
/// line is a look at the byte before its end; the rest is counted.
pub(super) fn is_odd(last: u8, bytes: &[u8], left: u64) -> bool {
    if last == b'\r' && bytes.first() != Some(&b'\n') {
        return true;
    }
    let mut pairs = 0;
    for at in memchr_iter(b'\n', bytes) {
        match at.checked_sub(1) {
            Some(before) if bytes[before] == b'\r' => pairs += 1,
            None if last == b'\r' => {}
            Some(_) | None => return true,
        }
    }
    let is_cut = bytes.last() == Some(&b'\r');
    (is_cut && left == 0)
        || memchr_iter(b'\r', bytes).count() != pairs + usize::from(is_cut)
        || memchr(0, bytes).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn odd_by_definition(message: &[u8]) -> bool {
        let before = |at: usize| at.checked_sub(1).map(|at| message[at]);
        message.iter().enumerate().any(|(at, byte)| match byte {
            0 => true,
            b'\r' => message.get(at + 1) != Some(&b'\n'),
            b'\n' => before(at) != Some(b'\r'),
            _ => false,
        })
    }

    fn odd_in_pieces(message: &[u8], cuts: &[usize]) -> bool {
        let mut cuts: Vec<usize> =
            cuts.iter().map(|cut| cut % message.len()).chain([message.len()]).collect();
        cuts.sort_unstable();
        let (mut last, mut from) = (0, 0);
        for to in cuts.into_iter().filter(|cut| *cut > 0) {
            let bytes = &message[from..to];
            if !bytes.is_empty() && is_odd(last, bytes, (message.len() - to) as u64) {
                return true;
            }
            last = bytes.last().copied().unwrap_or(last);
            from = to;
        }
        false
    }

    proptest! {
        #[test]
        fn cut_anywhere_the_same_messages_are_odd(
            message in prop::collection::vec(prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "a", "bc", "\r", "\n", "\0"]), 1..12),
            cuts in prop::collection::vec(0..99_usize, 0..6),
        ) {
            let message = message.concat().into_bytes();
            prop_assert_eq!(odd_in_pieces(&message, &cuts), odd_by_definition(&message));
        }
    }
}
