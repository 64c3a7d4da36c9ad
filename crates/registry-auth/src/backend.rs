//! Backends: `host:port`, or `host`, as records have them, and the list of addresses that are allowed.
//!
//! Backends are parsed by the store and the tool. The list is checked by the nginx module for every address
//! that it is about to connect to. Guarantee: a backend is always a host and a port, never a unix socket or a
//! URL, so a record cannot reach those.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The text is no `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("backend is not host:port")]
pub struct InvalidBackend;

/// The host of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address: nothing to resolve.
    Address(IpAddr),
    /// A DNS name.
    Name(String),
}

/// A backend as stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backend {
    /// The host.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

impl Backend {
    /// Parses `name:port`, `1.2.3.4:80` or `[::1]:80`.
    pub fn parse(text: &str) -> Result<Self, InvalidBackend> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidBackend)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => Host::Address(address.parse::<Ipv6Addr>().map_err(|_| InvalidBackend)?.into()),
            None => match host.parse() {
                Ok(IpAddr::V4(address)) => Host::Address(address.into()),
                _ => Host::Name(host_name(host)?),
            },
        };
        Ok(Self {
            host,
            port: parse_port(port).ok_or(InvalidBackend)?,
        })
    }

    /// Parses what is stored: also a host without a port, which is port 80, as the 2014 gate had it.
    ///
    /// # Errors
    /// [`InvalidBackend`].
    pub fn stored(text: &str) -> Result<Self, InvalidBackend> {
        let has_port = match text.strip_prefix('[') {
            Some(rest) => rest.contains("]:"),
            None => text.contains(':'),
        };
        match has_port {
            true => Self::parse(text),
            false => Self::parse(&format!("{text}:80")),
        }
    }

    /// The address, where none has to be looked up.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Address(address) => Some(SocketAddr::new(address, self.port)),
            Host::Name(_) => None,
        }
    }
}

/// A DNS name (RFC 1123, with `_` as container networks use it). A last label of digits only is refused:
/// resolvers read `0x7f.1` or `127.1` as addresses.
fn host_name(host: &str) -> Result<String, InvalidBackend> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(legal)
    };
    let last = host
        .strip_suffix('.')
        .unwrap_or(host)
        .rsplit('.')
        .next()
        .unwrap_or_default();
    let numeric =
        last.starts_with("0x") || last.starts_with("0X") || last.bytes().all(|byte| byte.is_ascii_digit());
    if host.len() > 253 || numeric || !host.strip_suffix('.').unwrap_or(host).split('.').all(label) {
        return Err(InvalidBackend);
    }
    Ok(host.to_owned())
}

/// A port of digits only, 1 to 65535.
fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// The value of `allow=` is no `cidr[:port]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allow= is not cidr[:port]")]
pub struct InvalidAllow;

/// The addresses that backends of records may have (`allow=`). An empty list allows every address and port.
#[derive(Clone, Debug, Default)]
pub struct AllowList(Vec<(IpNet, Option<u16>)>);

impl AllowList {
    /// Adds `10.0.0.0/8`, `10.1.2.3:5000`, `fd00::/8` or `[fd00::/8]:5000`.
    pub fn add(&mut self, text: &str) -> Result<(), InvalidAllow> {
        let (net, port) = match text.strip_prefix('[') {
            Some(rest) => match rest.split_once(']').ok_or(InvalidAllow)? {
                (net, "") => (net, None),
                (net, port) => (net, Some(port.strip_prefix(':').ok_or(InvalidAllow)?)),
            },
            None if text.matches(':').count() == 1 => text
                .split_once(':')
                .map(|(net, port)| (net, Some(port)))
                .ok_or(InvalidAllow)?,
            None => (text, None),
        };
        let net = net
            .parse()
            .or_else(|_| net.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| InvalidAllow)?;
        let port = port
            .map(|port| parse_port(port).ok_or(InvalidAllow))
            .transpose()?;
        self.0.push((unmapped(net), port));
        Ok(())
    }

    /// The network that was added last, where it was written with bits behind its prefix, which mean nothing.
    pub fn rounded(&self) -> Option<IpNet> {
        self.0
            .last()
            .map(|(net, _)| *net)
            .filter(|net| net.trunc() != *net)
            .map(|net| net.trunc())
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a backend may have this address. An IPv4-mapped IPv6 address counts as the IPv4 address it
    /// reaches.
    pub fn permits(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let allows = |(net, port): &(IpNet, Option<u16>)| {
            net.contains(&ip) && port.is_none_or(|port| port == address.port())
        };
        self.0.is_empty() || self.0.iter().any(allows)
    }
}

/// A net of IPv4-mapped addresses as the IPv4 net, so that it can match at all.
fn unmapped(net: IpNet) -> IpNet {
    match (net.addr().to_canonical(), net.prefix_len().checked_sub(96)) {
        (IpAddr::V4(ip), Some(length)) if matches!(net, IpNet::V6(_)) => {
            IpNet::new(ip.into(), length).unwrap_or(net)
        }
        _ => net,
    }
}
