//! Sizes and durations as an operator writes them: `"64MiB"`, `"72h"`.

use serde::Deserialize;
use std::{fmt, str::FromStr, time::Duration};

/// A number of bytes: an integer, or text with one of the units B, kB, MB, GB, KiB, MiB, GiB, TiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A length of time: text with one of the units ms, s, m, h, d.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Why a size or a length of time cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No digits in front.
    #[error("it must begin with a number")]
    NoNumber,
    /// The letters after the number are not a unit of this kind.
    #[error("unknown unit {0:?}; known are {1}")]
    Unit(String, &'static str),
    /// The value does not fit.
    #[error("the number is too large")]
    TooLarge,
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text)?;
        let factor: u64 = match unit {
            "" | "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            other => return Err(UnitError::Unit(other.into(), "B, kB, MB, GB, KiB, MiB, GiB, TiB")),
        };
        number.checked_mul(factor).map(Self).ok_or(UnitError::TooLarge)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text)?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            other => return Err(UnitError::Unit(other.into(), "ms, s, m, h, d")),
        };
        number.checked_mul(millis).map(|all| Self(Duration::from_millis(all))).ok_or(UnitError::TooLarge)
    }
}

fn split(text: &str) -> Result<(u64, &str), UnitError> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let digits = digits.replace('_', "");
    if digits.is_empty() {
        return Err(UnitError::NoNumber);
    }
    Ok((digits.parse().map_err(|_| UnitError::TooLarge)?, unit.trim()))
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes such as 36_700_160 or \"256MiB\"")
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Size, E> {
                u64::try_from(value).map(Size).map_err(|_| E::custom("a size cannot be negative"))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Size, E> {
                Ok(Size(value))
            }
            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Size, E> {
                value.parse().map_err(|error| E::custom(format!("{value:?} is not a size: {error}")))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| {
            serde::de::Error::custom(format!("{text:?} is not a length of time such as \"72h\": {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lengths_of_time_are_read_with_their_units() {
        for (text, bytes) in
            [("0", 0), ("36_700_160", 36_700_160), ("64MiB", 64 << 20), ("4 GiB", 4 << 30), ("5kB", 5_000)]
        {
            assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
        }
        for (text, seconds) in [("72h", 259_200), ("5m", 300), ("1d", 86_400), ("30s", 30)] {
            assert_eq!(text.parse::<Span>(), Ok(Span(Duration::from_secs(seconds))), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_known_units() {
        assert_eq!("MiB".parse::<Size>(), Err(UnitError::NoNumber));
        assert_eq!("99999999999GiB".parse::<Size>(), Err(UnitError::TooLarge));
        assert_eq!("-1h".parse::<Span>(), Err(UnitError::NoNumber));
        assert_eq!(
            "5 weeks".parse::<Span>().unwrap_err().to_string(),
            "unknown unit \"weeks\"; known are ms, s, m, h, d"
        );
        assert_eq!(
            "72".parse::<Span>().unwrap_err().to_string(),
            "unknown unit \"\"; known are ms, s, m, h, d"
        );
    }
}
