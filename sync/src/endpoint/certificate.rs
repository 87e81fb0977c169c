//! What a certificate says of itself: names, issuer, time. Just as much of DER (X.690) and X.509 (RFC 5280) as that
//! takes; for showing only, nothing is trusted on these grounds. Pure; any bytes are survived.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Serialize;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateFacts {
    /// Whom it is for: common name, else organisation.
    pub subject: Option<String>,
    /// Who signed it: common name, else organisation.
    pub issuer: Option<String>,
    /// The names and addresses that it is good for.
    pub names: Vec<String>,
    /// From when on it is good.
    pub not_before: Option<Timestamp>,
    /// Until when.
    pub not_after: Option<Timestamp>,
}

impl CertificateFacts {
    /// Whole days until it ends; negative afterwards.
    pub fn days_left(&self, now: Timestamp) -> Option<i64> {
        Some(self.not_after?.duration_since(now).as_secs().div_euclid(86_400))
    }
}

impl fmt::Display for CertificateFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match self.names.as_slice() {
            [] => parts.extend(self.subject.as_ref().map(|subject| format!("for {subject}"))),
            names => parts.push(format!("for {}", names.join(", "))),
        }
        parts.extend(self.issuer.as_ref().map(|issuer| format!("signed by {issuer}")));
        parts.extend(self.not_after.map(|at| format!("good until {}", at.strftime("%Y-%m-%d"))));
        f.write_str(&parts.join(", "))
    }
}

const SEQUENCE: u8 = 0x30;
const OID_COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const OID_ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];
const OID_ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

pub(super) fn read(der: &[u8]) -> Option<CertificateFacts> {
    let mut certificate = Der(Der(der).expect(SEQUENCE)?);
    let mut body = Der(certificate.expect(SEQUENCE)?);
    body.skip_if(0xa0); // version
    body.next()?; // serial number
    body.next()?; // signature algorithm
    let issuer = name(body.expect(SEQUENCE)?);
    let mut validity = Der(body.expect(SEQUENCE)?);
    let not_before = time(validity.next()?);
    let not_after = time(validity.next()?);
    let subject = name(body.expect(SEQUENCE)?);
    let names = alternative_names(body).unwrap_or_default();
    Some(CertificateFacts { subject, issuer, names, not_before, not_after })
}

/// The common name of a distinguished name, else its organisation.
fn name(der: &[u8]) -> Option<String> {
    let mut organisation = None;
    let mut sets = Der(der);
    while let Some((_, set)) = sets.next() {
        let mut pairs = Der(set);
        while let Some(pair) = pairs.expect(SEQUENCE) {
            let mut pair = Der(pair);
            let (_, oid) = pair.next()?;
            let (_, text) = pair.next()?;
            if oid == OID_COMMON_NAME {
                return Some(printable(text));
            }
            if oid == OID_ORGANISATION {
                organisation = Some(printable(text));
            }
        }
    }
    organisation
}

fn alternative_names(mut body: Der<'_>) -> Option<Vec<String>> {
    body.next()?; // public key
    while let Some((tag, value)) = body.next() {
        if tag != 0xa3 {
            continue;
        }
        let mut extensions = Der(Der(value).expect(SEQUENCE)?);
        while let Some(extension) = extensions.expect(SEQUENCE) {
            let mut extension = Der(extension);
            let (_, oid) = extension.next()?;
            if oid != OID_ALTERNATIVE_NAMES {
                continue;
            }
            extension.skip_if(0x01); // critical
            let mut names = Der(Der(extension.expect(0x04)?).expect(SEQUENCE)?);
            let mut found = Vec::new();
            while let Some((tag, value)) = names.next() {
                match tag {
                    0x82 => found.push(printable(value)),
                    0x87 => found.extend(address(value)),
                    _ => {}
                }
            }
            return Some(found);
        }
    }
    None
}

fn address(bytes: &[u8]) -> Option<String> {
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(address.to_string())
}

/// UTCTime (two-digit year, RFC 5280 section 4.1.2.5.1) or GeneralizedTime, both in UTC.
fn time((tag, text): (u8, &[u8])) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (0x17, 12) => {
            let year: i16 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (0x18, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |index: usize| rest[index * 2..index * 2 + 2].parse::<i8>().ok();
    let at = DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, 0).ok()?;
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(256).collect()
}

/// What is left of a run of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Certificates are shorter than 16 MB.
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() != Some(&tag) {
            return None;
        }
        self.next().map(|(_, value)| value)
    }

    fn skip_if(&mut self, tag: u8) {
        let _ = self.expect(tag);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;

    fn der() -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(include_bytes!("../oauth/testdata/certificate.pem")).unwrap()
    }

    #[test]
    fn opensslscertificate_is_understood() {
        let facts = read(&der()).unwrap();
        assert_eq!(facts.subject.as_deref(), Some("mailferry test only"));
        assert_eq!(facts.issuer, facts.subject);
        assert!(facts.names.is_empty());
        let days = facts.not_after.unwrap().duration_since(facts.not_before.unwrap()).as_secs() / 86_400;
        assert_eq!(days, 36_500);
        assert_eq!(facts.days_left(facts.not_after.unwrap()), Some(0));
    }

    #[test]
    fn times_of_both_forms() {
        let read = |tag, text: &str| time((tag, text.as_bytes())).map(|at| at.to_string());
        assert_eq!(read(0x17, "261122204412Z").as_deref(), Some("2026-11-22T20:44:12Z"));
        assert_eq!(read(0x17, "991231235959Z").as_deref(), Some("1999-12-31T23:59:59Z"));
        assert_eq!(read(0x18, "20501231235959Z").as_deref(), Some("2050-12-31T23:59:59Z"));
        for bad in ["", "Z", "26112220441Z", "261322204412Z", "26112220441éZ"] {
            assert_eq!(read(0x17, bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(junk in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&junk);
        }

        #[test]
        fn no_damage_breaks_it(at in 0_usize..800, byte in any::<u8>(), cut in 0_usize..800) {
            let mut der = der().to_vec();
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            let _ = read(&der);
            der.truncate(cut);
            let _ = read(&der);
        }
    }
}
