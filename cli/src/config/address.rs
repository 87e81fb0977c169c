//! A DNS server's address: an IP address, with or without a port. And a network of them.

use serde::Deserialize;
use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// `1.1.1.1`, `::1`, `1.1.1.1:53` or `[::1]:53`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    ip: IpAddr,
    port: Option<u16>,
}

impl Address {
    /// Without a port of its own.
    pub fn ip(ip: IpAddr) -> Self {
        Self { ip, port: None }
    }

    /// With `port`, unless it has its own.
    pub fn with_default_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

impl FromStr for Address {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::ip(ip));
        }
        text.parse::<SocketAddr>().map(|both| Self { ip: both.ip(), port: Some(both.port()) })
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| {
            serde::de::Error::custom(format!(
                "{text:?} is not an address: an IP address, with or without a port"
            ))
        })
    }
}

/// `10.0.0.0/8`, `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub mailferry_proxy::Network);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|error| serde::de::Error::custom(format!("{text:?} is not a network: {error}")))
    }
}
