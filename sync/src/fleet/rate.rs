//! Speed over a sliding window, and the time left. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::batch::Rate;

/// How far back the speed looks.
const WINDOW: Duration = Duration::from_secs(30);

/// What was done by when.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    messages: u64,
    bytes: u64,
}

/// Counts what is done and remembers the last half minute.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    messages: u64,
    bytes: u64,
    samples: VecDeque<Sample>,
}

impl Meter {
    /// More was done since the last call.
    pub(crate) fn add(&mut self, now: Instant, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
        self.samples.push_back(Sample { at: now, messages: self.messages, bytes: self.bytes });
        // One sample older than the window stays, so that the window is always covered.
        while self.samples.get(1).is_some_and(|second| now.duration_since(second.at) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// The speed, and how long so much more will take at it.
    pub(crate) fn rate(&self, messages_left: u64, bytes_left: u64) -> Rate {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return Rate::default();
        };
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        if seconds <= 0.0 {
            return Rate::default();
        }
        #[expect(clippy::cast_precision_loss, reason = "shown to people")]
        let per_second = |first: u64, last: u64| (last - first) as f64 / seconds;
        let messages = per_second(first.messages, last.messages);
        let bytes = per_second(first.bytes, last.bytes);
        Rate {
            messages_per_second: messages,
            bytes_per_second: bytes,
            seconds_left: seconds_left(messages_left, messages).max(seconds_left(bytes_left, bytes)),
        }
    }
}

/// Many small messages are bound by their number, few large ones by their bytes: the slower of both counts.
fn seconds_left(left: u64, per_second: f64) -> Option<u64> {
    if left == 0 || per_second <= 0.0 {
        return None;
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shown to people; floats saturate"
    )]
    let seconds = (left as f64 / per_second).ceil() as u64;
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_that_of_the_last_half_minute() {
        let start = Instant::now();
        let mut meter = Meter::default();
        assert_eq!(meter.rate(1, 1), Rate::default());
        // A minute at 10 messages a second, then a minute at 2.
        for second in 0..=120 {
            let messages = if second <= 60 { 10 } else { 2 };
            meter.add(start + Duration::from_secs(second), messages, messages * 1000);
        }
        let rate = meter.rate(100, 10_000);
        assert!((rate.messages_per_second - 2.0).abs() < 0.01, "{rate:?}");
        assert!((rate.bytes_per_second - 2000.0).abs() < 10.0, "{rate:?}");
        assert_eq!(rate.seconds_left, Some(50));
        assert_eq!(meter.rate(0, 0).seconds_left, None);
    }

    #[test]
    fn standstill_promises_nothing() {
        let start = Instant::now();
        let mut meter = Meter::default();
        for second in 0..60 {
            meter.add(start + Duration::from_secs(second), 0, 0);
        }
        assert_eq!(meter.rate(5, 5), Rate::default());
        assert!(meter.samples.len() <= 32);
    }
}
