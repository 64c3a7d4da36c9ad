//! The network of a client: the addresses that a limit counts together.
//!
//! Called by the nginx module for failed logins, for the turns of the hashing queue and for its log. One IPv4
//! address is one client. Of an IPv6 address only the first 64 bits count: a single machine can choose the
//! other 64 by itself (RFC 4291, section 2.5.1), so a limit for each address would limit nobody.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network of a client. Equal for clients that are counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// An IPv4 address.
    V4([u8; 4]),
    /// The first 64 bits of an IPv6 address.
    V6([u8; 8]),
    /// This machine, by a socket of the file system; or nothing that has an address.
    #[default]
    Local,
}

impl Network {
    /// Its bytes: no two networks have the same.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::V4(bytes) => bytes,
            Self::V6(bytes) => bytes,
            Self::Local => &[],
        }
    }

    /// The bytes of the two wider networks that it lies in, the smaller one first: /24 and /16 of an IPv4
    /// address, /48 (a site, RFC 6177) and /32 (a provider) of an IPv6 one. No two of them, of whatever
    /// family, have the same.
    pub fn wider(&self) -> [&[u8]; 2] {
        match self {
            Self::V4([inner @ .., _]) => {
                let [outer @ .., _] = inner;
                [inner, outer]
            }
            Self::V6([inner @ .., _, _]) => {
                let [outer @ .., _, _] = inner;
                [inner, outer]
            }
            Self::Local => [&[], &[]],
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4(bytes) => Ipv4Addr::from(bytes).fmt(f),
            Self::V6(bytes) => write!(
                f,
                "{}/64",
                Ipv6Addr::from(u128::from(u64::from_be_bytes(bytes)) << 64)
            ),
            Self::Local => f.write_str("unix:"),
        }
    }
}

impl From<IpAddr> for Network {
    /// An IPv4 address that is written as an IPv6 one is the IPv4 address: `::ffff:192.0.2.1`, what a socket
    /// for both gives, and `64:ff9b::192.0.2.1`, what a translator gives (RFC 6052, section 2.1), behind
    /// which all of IPv4 would else be one client.
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => match address.octets() {
                [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => Self::V4([a, b, c, d]),
                [a, b, c, d, e, f, g, h, ..] => Self::V6([a, b, c, d, e, f, g, h]),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Network;
    use std::net::IpAddr;

    fn network(address: &str) -> Network {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn ipv6_counts_by_64_bits_and_ipv4_by_address() {
        for (one, other, are_same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::2", true),
            ("2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ("64:ff9b::192.0.2.1", "192.0.2.1", true),
            ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2", false),
            // Neither of the two forms: addresses of their own.
            ("64:ff9b:0:0:0:1:c000:201", "192.0.2.1", false),
            ("::192.0.2.1", "192.0.2.1", false),
        ] {
            assert_eq!(network(one) == network(other), are_same, "{one} {other}");
        }
    }

    #[test]
    fn it_is_written_as_people_write_it() {
        for (address, text) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::/64"),
        ] {
            assert_eq!(network(address).to_string(), text);
        }
    }

    #[test]
    fn wider_networks() {
        for (one, other, are_same) in [
            ("192.0.2.1", "192.0.2.99", [true, true]),
            ("192.0.2.1", "192.0.3.1", [false, true]),
            ("192.0.2.1", "192.1.2.1", [false, false]),
            ("2001:db8:1:1::", "2001:db8:1:2::", [true, true]),
            ("2001:db8:1:1::", "2001:db8:2:1::", [false, true]),
            ("2001:db8:1:1::", "2001:db9:1:1::", [false, false]),
            // The first bytes are the same.
            ("192.0.2.1", "c000:201::", [false, false]),
            ("192.0.2.1", "c000::", [false, false]),
        ] {
            let [one, other] = [network(one), network(other)];
            let same = [0, 1].map(|index| one.wider()[index] == other.wider()[index]);
            assert_eq!(same, are_same, "{one} {other}");
        }
    }

    #[test]
    fn no_two_networks_have_the_same_bytes() {
        let networks = [
            network("192.0.2.1"),
            network("192.0.2.2"),
            network("2001:db8::1"),
            network("c000:201::"),
            Network::Local,
        ];
        for (index, one) in networks.iter().enumerate() {
            assert!(
                networks[index + 1..]
                    .iter()
                    .all(|other| other.as_bytes() != one.as_bytes())
            );
        }
    }
}
