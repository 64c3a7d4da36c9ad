//! The URLs of Redis.
//!
//! ```text
//! redis://[user:password@]host[:port][,host[:port]...][/db]     rediss:// is TLS
//! redis+sentinel://[user:password@]host[:port][,host[:port]...]/master[/db]     rediss+sentinel:// is TLS
//! redis+cluster://[user:password@]host[:port][,host[:port]...]     rediss+cluster:// is TLS
//! redis+unix:///path[?db=n]
//! ```
//! `valkey` may stand in place of `redis`. Used by [`Endpoint::parse`](super::endpoint::Endpoint::parse).

use crate::secret::Secret;
use percent_encoding::percent_decode_str;
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use url::Url;

/// Redis's own default.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What a URL says.
pub(crate) struct Parsed {
    pub(crate) topology: Topology,
    pub(crate) is_tls: bool,
    pub(crate) user: Option<Box<str>>,
    pub(crate) password: Option<Secret>,
    pub(crate) db: i64,
}

/// How the server is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    Unix(PathBuf),
    Single(Place),
    /// The one of them that is a master.
    Several(Vec<Place>),
    /// The one that these sentinels say is the master of this name.
    Sentinel {
        sentinels: Vec<Place>,
        master: Box<str>,
    },
    /// The one that has the slot, as the nodes of this Cluster say.
    Cluster(Vec<Place>),
}

/// A host, by its name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Why a URL is no endpoint. The text never repeats the URL: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidEndpoint {
    /// Not a URL at all.
    Syntax,
    /// A scheme we do not know.
    Scheme,
    /// TLS without what it needs to know whom to trust.
    Tls,
    /// No name of a master.
    Master,
    /// A log-in for sentinels, and none are named.
    NoSentinels,
    /// A database of a Cluster, which has none.
    ClusterDatabase,
    /// No host, or no socket path.
    Address,
    /// A host that no host has.
    Host,
    /// The port is no number from 1 to 65535.
    Port,
    /// The database is no number from 0 to 2³¹−1.
    Database,
    /// A query parameter other than `db`, or a fragment.
    Parameter,
    /// The user or password is not UTF-8 after percent-decoding.
    Encoding,
    /// A user without a password: Redis would be asked as `default` instead.
    UserWithoutPassword,
    /// A user's name that Redis allows nobody.
    User,
    /// The same server twice: it would be asked twice, and its word would count twice.
    Twice,
}

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "not a URL; write redis://[user:password@]host[:port][,host[:port]...][/db]",
            Self::Scheme => {
                "the scheme is none of redis://, rediss:// (TLS), redis+unix://, redis+sentinel:// and \
                 redis+cluster://"
            }
            Self::Tls => "it is not known which certificates to trust",
            Self::Master => {
                "the URL names no master: redis+sentinel://host[:port][,host[:port]...]/master[/db]"
            }
            Self::NoSentinels => {
                "there is a user or a password for sentinels, and the URL names none (redis+sentinel://)"
            }
            Self::ClusterDatabase => {
                "a Cluster has no databases: redis+cluster://host[:port][,host[:port]...]"
            }
            Self::Address => "the URL names no host (redis://host) or no socket (redis+unix:///path)",
            Self::Host => {
                "the host has characters that no host has (in a user or a password write : @ / ? # as \
                 %3A %40 %2F %3F %23)"
            }
            Self::Port => {
                "the port is not a number from 1 to 65535 (in a user or a password write : @ / ? # as \
                 %3A %40 %2F %3F %23)"
            }
            Self::Database => {
                "the database behind the last slash of the URL is not a number (what else belongs to the \
                 setting stands behind a blank)"
            }
            Self::Parameter => "the URL has a parameter that is not known here (only ?db=n of redis+unix://)",
            Self::Encoding => "the user or the password is not UTF-8",
            Self::UserWithoutPassword => "a Redis user needs a password, and so does the sentinels' user",
            Self::User => "no user of Redis has blanks or control characters in the name",
            Self::Twice => "it names one server twice",
        })
    }
}

impl std::error::Error for InvalidEndpoint {}

impl From<url::ParseError> for InvalidEndpoint {
    fn from(error: url::ParseError) -> Self {
        match error {
            url::ParseError::EmptyHost => Self::Address,
            url::ParseError::InvalidPort => Self::Port,
            url::ParseError::IdnaError
            | url::ParseError::InvalidIpv4Address
            | url::ParseError::InvalidIpv6Address
            | url::ParseError::InvalidDomainCharacter => Self::Host,
            _ => Self::Syntax,
        }
    }
}

pub(crate) fn parse(url: &str) -> Result<Parsed, InvalidEndpoint> {
    let (scheme, rest) = url.split_once("://").ok_or(InvalidEndpoint::Syntax)?;
    let scheme = scheme.to_ascii_lowercase();
    let (server, kind) = scheme.split_once('+').unwrap_or((&scheme, ""));
    let is_tls = match server {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        "unix" if kind.is_empty() => return unix(rest),
        _ => return Err(InvalidEndpoint::Scheme),
    };
    match kind {
        "" | "sentinel" | "cluster" => {}
        "unix" if !is_tls => return unix(rest),
        _ => return Err(InvalidEndpoint::Scheme),
    }
    let (login, hosts, tail) = split(rest);
    let port = if kind == "sentinel" { SENTINEL_PORT } else { PORT };
    let mut places = hosts
        .split(',')
        .map(|host| place(host, port))
        .collect::<Result<Vec<_>, _>>()?;
    if tail.contains(['?', '#']) {
        return Err(InvalidEndpoint::Parameter);
    }
    let mut seen = HashSet::new();
    if !places
        .iter()
        .all(|place| seen.insert((place.host.to_ascii_lowercase(), place.port)))
    {
        return Err(InvalidEndpoint::Twice);
    }
    let mut tail = tail.strip_prefix('/').unwrap_or(tail);
    let topology = match kind {
        "cluster" if !tail.is_empty() => return Err(InvalidEndpoint::ClusterDatabase),
        "cluster" => Topology::Cluster(places),
        "sentinel" => {
            let (master, db) = tail.split_once('/').unwrap_or((tail, ""));
            tail = db;
            Topology::Sentinel {
                sentinels: places,
                master: named(master)?,
            }
        }
        _ if places.len() == 1 => Topology::Single(places.remove(0)),
        _ => Topology::Several(places),
    };
    let db = match tail {
        "" => 0,
        db => database(db)?,
    };
    let (user, password) = credentials(login)?;
    Ok(Parsed {
        topology,
        is_tls,
        user,
        password,
        db,
    })
}

/// The name of a master, as Sentinel allows it.
fn named(master: &str) -> Result<Box<str>, InvalidEndpoint> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match !master.is_empty() && master.chars().all(is_legal) {
        true => Ok(master.into()),
        false => Err(InvalidEndpoint::Master),
    }
}

/// User and password, hosts, and what comes after them.
fn split(rest: &str) -> (&str, &str, &str) {
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    (login, hosts, tail)
}

/// Whether Redis lets a user have this name.
#[must_use]
pub fn is_user_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn credentials(login: &str) -> Result<(Option<Box<str>>, Option<Secret>), InvalidEndpoint> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let user = match user {
        "" => None,
        user => Some(decode(user)?.into()),
    };
    if user.as_deref().is_some_and(|user| !is_user_name(user)) {
        return Err(InvalidEndpoint::User);
    }
    let password = match password {
        "" => None,
        password => Some(Secret::from(decode(password)?)),
    };
    Ok((user, password))
}

/// `host[:port]`
fn place(text: &str, default_port: u16) -> Result<Place, InvalidEndpoint> {
    let url = Url::parse(&format!("redis://{text}"))?;
    let host = match url.host() {
        Some(url::Host::Ipv6(ip)) => ip.to_string(),
        Some(host) => decode(&host.to_string()).map_err(|_| InvalidEndpoint::Address)?,
        None => return Err(InvalidEndpoint::Address),
    };
    if host.is_empty() {
        return Err(InvalidEndpoint::Address);
    }
    let is_legal = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !host.chars().all(is_legal) {
        return Err(InvalidEndpoint::Host);
    }
    let port = match url.port() {
        Some(0) => return Err(InvalidEndpoint::Port),
        port => port.unwrap_or(default_port),
    };
    Ok(Place {
        host: host.into(),
        port,
    })
}

fn unix(rest: &str) -> Result<Parsed, InvalidEndpoint> {
    let url = Url::parse(&format!("redis+unix://{rest}"))?;
    if url.fragment().is_some() {
        return Err(InvalidEndpoint::Parameter);
    }
    if url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err(InvalidEndpoint::Address);
    }
    let path = decode(url.path()).map_err(|_| InvalidEndpoint::Address)?;
    if !Path::new(&path).is_absolute() || path == "/" {
        return Err(InvalidEndpoint::Address);
    }
    let mut db = 0;
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "db" => db = database(&value)?,
            _ => return Err(InvalidEndpoint::Parameter),
        }
    }
    Ok(Parsed {
        topology: Topology::Unix(path.into()),
        is_tls: false,
        user: None,
        password: None,
        db,
    })
}

fn decode(text: &str) -> Result<String, InvalidEndpoint> {
    let text = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| InvalidEndpoint::Encoding)?;
    Ok(text.into_owned())
}

fn database(text: &str) -> Result<i64, InvalidEndpoint> {
    // Not i64's own grammar: that takes "+1".
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidEndpoint::Database);
    }
    text.parse::<i32>()
        .map(i64::from)
        .map_err(|_| InvalidEndpoint::Database)
}
