//! A network of addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address alone.
//!
//! IPv4 addresses that a socket for both families shows as `::ffff:192.0.2.1` are IPv4 addresses here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    /// Canonical, and without a bit beyond the prefix.
    base: IpAddr,
    prefix: u32,
}

/// Why a text is no network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NetworkError {
    /// No address in front.
    #[error("it must be an IP address, or one with a prefix length such as 10.0.0.0/8")]
    Address,
    /// A prefix that is no number or longer than the address.
    #[error("the prefix length must be a number from 0 to {0}")]
    Prefix(u32),
    /// `10.1.2.3/8`: more likely a mistake than meant.
    #[error("the address has bits beyond its prefix; {0} is meant?")]
    Beyond(Network),
}

impl Network {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                cut(address.to_canonical(), self.prefix) == self.base
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let written: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let longest = if written.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= longest && digits.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or(NetworkError::Prefix(longest))?,
        };
        // `::ffff:10.0.0.0/104` is 10.0.0.0/8; a shorter prefix reaches beyond the mapped addresses.
        let (base, prefix) = match written.to_canonical() {
            IpAddr::V4(mapped) if longest == 128 && prefix >= 96 => (IpAddr::V4(mapped), prefix - 96),
            IpAddr::V4(_) | IpAddr::V6(_) => (written, prefix),
        };
        let network = Self { base: cut(base, prefix), prefix };
        if network.base == base { Ok(network) } else { Err(NetworkError::Beyond(network)) }
    }
}

/// The address with only its first `prefix` bits.
fn cut(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_their_networks_and_in_no_other() {
        let holds = |network: &str, address: &str| {
            let network: Network = network.parse().unwrap();
            network.contains(address.parse().unwrap())
        };
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.0.0.0"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
            ("127.0.0.1", "::ffff:127.0.0.1", "127.0.0.2"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::1", "::1", "127.0.0.1"),
        ] {
            assert!(holds(network, inside), "{inside} in {network}");
            assert!(!holds(network, outside), "{outside} not in {network}");
        }
    }

    #[test]
    fn what_is_no_network_is_said() {
        let why = |text: &str| text.parse::<Network>().unwrap_err().to_string();
        assert!(why("localhost").starts_with("it must be an IP address"));
        assert!(why("10.0.0.0/33").ends_with("from 0 to 32"));
        assert!(why("10.0.0.0/+8").ends_with("from 0 to 32"));
        assert!(why("::/").ends_with("from 0 to 128"));
        assert_eq!(why("10.1.2.3/8"), "the address has bits beyond its prefix; 10.0.0.0/8 is meant?");
    }
}
