//! The root servers, where every walk begins unless configured otherwise.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// A to M, from IANA's root hints.
const V4: [[u8; 4]; 13] = [
    [198, 41, 0, 4],
    [170, 247, 170, 2],
    [192, 33, 4, 12],
    [199, 7, 91, 13],
    [192, 203, 230, 10],
    [192, 5, 5, 241],
    [192, 112, 36, 4],
    [198, 97, 190, 53],
    [192, 36, 148, 17],
    [192, 58, 128, 30],
    [193, 0, 14, 129],
    [199, 7, 83, 42],
    [202, 12, 27, 33],
];

/// The IPv6 addresses of A, B, F, K and M: enough for a machine without IPv4.
const V6: [[u16; 8]; 5] = [
    [0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30],
    [0x2801, 0x1b8, 0x10, 0, 0, 0, 0, 0xb],
    [0x2001, 0x500, 0x2f, 0, 0, 0, 0, 0xf],
    [0x2001, 0x7fd, 0, 0, 0, 0, 0, 1],
    [0x2001, 0xdc3, 0, 0, 0, 0, 0, 0x35],
];

pub(crate) fn addresses() -> Vec<SocketAddr> {
    let v4 = V4.iter().map(|&octets| SocketAddr::from((Ipv4Addr::from(octets), 53)));
    let v6 = V6.iter().map(|&segments| SocketAddr::from((Ipv6Addr::from(segments), 53)));
    v4.chain(v6).collect()
}
