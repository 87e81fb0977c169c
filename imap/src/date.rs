//! INTERNALDATE: a moment *and* the zone it was written in (RFC 3501 `date-time`).
//!
//! Both are kept, since a message's date must arrive at the target as it stood at the source. Two dates are
//! equal when moment and zone are; they are ordered by moment first.

use std::fmt;

use serde::{Deserialize, Serialize};

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// A moment and its zone. The local year is always within 0000..=9999, so that it can be written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "(i64, i16)", into = "(i64, i16)")]
pub struct InternalDate {
    seconds: i64,
    offset_minutes: i16,
}

impl InternalDate {
    /// From seconds since 1970-01-01T00:00:00Z and the zone's minutes east of Greenwich.
    ///
    /// `None` when the zone is a hundred hours off or more, or the local year has not four digits.
    pub fn new(seconds: i64, offset_minutes: i16) -> Option<Self> {
        if !(-5999..=5999).contains(&offset_minutes) {
            return None;
        }
        let local = seconds.checked_add(i64::from(offset_minutes) * 60)?;
        let (year, _, _) = civil_from_days(local.div_euclid(86_400));
        (0..=9999).contains(&year).then_some(Self { seconds, offset_minutes })
    }

    /// From the wire, with or without quotes: ` 1-Jul-2020 08:05:00 +0200`.
    ///
    /// Tolerant: one-digit days without padding, any case of the month, several blanks, a second of 60, and
    /// `Z`, `UT`, `UTC` or `GMT` for the zone.
    pub fn parse(wire: &[u8]) -> Option<Self> {
        let wire = wire.trim_ascii();
        let wire = match wire.strip_prefix(b"\"") {
            Some(inner) => inner.strip_suffix(b"\"")?.trim_ascii(),
            None => wire,
        };
        let mut words = wire.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let (date, time, zone) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() {
            return None;
        }

        let mut date = date.split(|byte| *byte == b'-');
        let day = number(date.next()?, 1..=2)?;
        let name = date.next()?;
        let month = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
        let year = number(date.next()?, 4..=4)?;
        let month = i64::try_from(month).ok()? + 1;
        if date.next().is_some() || day < 1 || day > days_in_month(year, month) {
            return None;
        }

        let mut time = time.split(|byte| *byte == b':');
        let hour = number(time.next()?, 1..=2)?;
        let minute = number(time.next()?, 2..=2)?;
        let second = number(time.next()?, 2..=2)?;
        if time.next().is_some() || hour > 23 || minute > 59 || second > 60 {
            return None;
        }

        let offset = parse_zone(zone)?;
        let local = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        Self::new(local - offset * 60, i16::try_from(offset).ok()?)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub const fn unix(self) -> i64 {
        self.seconds
    }

    /// The zone: minutes east of Greenwich.
    pub const fn offset_minutes(self) -> i16 {
        self.offset_minutes
    }
}

impl fmt::Display for InternalDate {
    /// The wire form without its quotes, the day padded with a blank: ` 1-Jul-2020 08:05:00 +0200`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.seconds + i64::from(self.offset_minutes) * 60;
        let (year, month, day) = civil_from_days(local.div_euclid(86_400));
        let of_day = local.rem_euclid(86_400);
        let month = usize::try_from(month - 1).ok().and_then(|at| MONTHS.get(at)).copied().unwrap_or(b"Jan");
        let month = str::from_utf8(month).unwrap_or("Jan");
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        let sign = if self.offset_minutes < 0 { '-' } else { '+' };
        let zone = self.offset_minutes.unsigned_abs();
        let (zone_hours, zone_minutes) = (zone / 60, zone % 60);
        write!(f, "{day:2}-{month}-{year:04} {hour:02}:{minute:02}:{second:02} ")?;
        write!(f, "{sign}{zone_hours:02}{zone_minutes:02}")
    }
}

impl From<InternalDate> for (i64, i16) {
    fn from(date: InternalDate) -> Self {
        (date.seconds, date.offset_minutes)
    }
}

impl TryFrom<(i64, i16)> for InternalDate {
    type Error = &'static str;

    fn try_from((seconds, offset_minutes): (i64, i16)) -> Result<Self, Self::Error> {
        Self::new(seconds, offset_minutes).ok_or("a date that IMAP cannot write")
    }
}

/// A zone in minutes.
fn parse_zone(zone: &[u8]) -> Option<i64> {
    if [b"Z".as_slice(), b"UT", b"UTC", b"GMT"].iter().any(|name| name.eq_ignore_ascii_case(zone)) {
        return Some(0);
    }
    let (sign, digits) = zone.split_first()?;
    let hhmm = number(digits, 4..=4)?;
    let minutes = (hhmm % 100 < 60).then_some(hhmm / 100 * 60 + hhmm % 100)?;
    match sign {
        b'+' => Some(minutes),
        b'-' => Some(-minutes),
        _ => None,
    }
}

fn number(digits: &[u8], length: std::ops::RangeInclusive<usize>) -> Option<i64> {
    if !length.contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar. Years begin in March here, which puts
/// the leap day last; 400 years have 146,097 days.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The reverse of [`days_from_civil`]: year, month, day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(wire: &str, unix: i64, canonical: &str) {
        let date = InternalDate::parse(wire.as_bytes()).unwrap_or_else(|| panic!("{wire} is a date"));
        assert_eq!(date.unix(), unix, "{wire}");
        assert_eq!(date.to_string(), canonical);
    }

    #[test]
    fn dates_of_real_servers() {
        check("\"17-Jul-1996 02:44:25 -0700\"", 837_596_665, "17-Jul-1996 02:44:25 -0700");
        check("\" 1-Jan-1970 00:00:00 +0000\"", 0, " 1-Jan-1970 00:00:00 +0000");
        check("01-Jan-1970 01:00:00 +0100", 0, " 1-Jan-1970 01:00:00 +0100");
        check("1-jan-1970 00:00:00 GMT", 0, " 1-Jan-1970 00:00:00 +0000");
        check("29-Feb-2000 23:59:60 +0000", 951_868_800, " 1-Mar-2000 00:00:00 +0000");
        check("31-Dec-1969 23:59:59 +0000", -1, "31-Dec-1969 23:59:59 +0000");
        check("19-Jan-2038 03:14:08 +0545", 2_147_462_948, "19-Jan-2038 03:14:08 +0545");
        check("01-Jan-0001 00:00:00 -0030", -62_135_595_000, " 1-Jan-0001 00:00:00 -0030");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for wire in [
            "",
            "\"",
            "\"\"",
            "NIL",
            "30-Feb-2001 00:00:00 +0000",
            "29-Feb-1900 00:00:00 +0000",
            "0-Jan-2001 00:00:00 +0000",
            "1-Jan-2001 24:00:00 +0000",
            "1-Jan-2001 00:00:00 +0060",
            "1-Jan-2001 00:00:00 0000",
            "1-Jan-20011 00:00:00 +0000",
            "1-Jan-2001 00:00:00",
            "1-Jan-2001 00:00:00 +0000 x",
            "\"1-Jan-2001 00:00:00 +0000",
            "Mon, 1 Jan 2001 00:00:00 +0000",
        ] {
            assert_eq!(InternalDate::parse(wire.as_bytes()), None, "{wire}");
        }
    }

    #[test]
    fn ordered_by_moment() {
        let early = InternalDate::new(10, 600).unwrap();
        let late = InternalDate::new(11, -600).unwrap();
        assert!(early < late);
        assert_ne!(InternalDate::new(10, 0).unwrap(), early);
    }

    proptest! {
        #[test]
        fn every_date_comes_back(seconds in -62_000_000_000i64..253_000_000_000, offset in -5999i16..=5999) {
            let date = InternalDate::new(seconds, offset).unwrap();
            prop_assert_eq!(InternalDate::parse(date.to_string().as_bytes()), Some(date));
        }

        #[test]
        fn no_bytes_panic(wire in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = InternalDate::parse(&wire);
        }

        #[test]
        fn no_number_panics(seconds: i64, offset: i16) {
            if let Some(date) = InternalDate::new(seconds, offset) {
                prop_assert_eq!(InternalDate::parse(date.to_string().as_bytes()), Some(date));
            }
        }
    }
}
