//! Where Redis is and how we log in: parsed from `registry_auth_redis` or `--redis`.
//!
//! Invariant: neither `Debug`, `Display` nor an error shows the password.

use crate::secret::Secret;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::path::{Path, PathBuf};
use url::Url;

/// Redis' own default.
const DEFAULT_PORT: u16 = 6379;

/// One Redis server. Cluster, sentinel and TLS will be further cases of the address, not further types.
#[derive(Clone)]
pub struct Endpoint {
    address: Address,
    user: Option<Box<str>>,
    password: Option<Secret>,
    db: i64,
}

/// How the server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: Box<str>, port: u16 },
    Unix(PathBuf),
}

/// Why a URL is no endpoint. The text never repeats the URL: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidEndpoint {
    /// Not a URL at all.
    Syntax,
    /// A scheme we do not know.
    Scheme,
    /// `rediss://` is not supported yet.
    Tls,
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
}

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "not a URL; write redis://[user:password@]host[:port][/db]",
            Self::Scheme => "the scheme is neither redis:// nor redis+unix://",
            Self::Tls => "rediss:// (TLS) is not supported yet",
            Self::Address => "the URL names no host (redis://host) or no socket (redis+unix:///path)",
            Self::Host => {
                "the host has characters that no host has (in a user or a password write : @ / ? # as \
                 %3A %40 %2F %3F %23)"
            }
            Self::Port => {
                "the port is not a number from 1 to 65535 (in a user or a password write : @ / ? # as \
                 %3A %40 %2F %3F %23)"
            }
            Self::Database => "the database is not a number",
            Self::Parameter => "the URL has a parameter that is not known here (only ?db=n of redis+unix://)",
            Self::Encoding => "the user or the password is not UTF-8",
            Self::UserWithoutPassword => "a Redis user needs a password",
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

impl Endpoint {
    /// Parses `redis://[user:password@]host[:port][/db]` or `redis+unix:///path[?db=n]`. User and password
    /// are percent-decoded.
    ///
    /// # Errors
    /// [`InvalidEndpoint`]; a user without a password is only refused by [`Endpoint::check`], because the
    /// password may still come from a file.
    pub fn parse(url: &str) -> Result<Self, InvalidEndpoint> {
        let url = Url::parse(url)?;
        if url.fragment().is_some() {
            return Err(InvalidEndpoint::Parameter);
        }
        let (address, db) = match url.scheme() {
            "redis" => tcp(&url)?,
            "redis+unix" | "unix" => unix(&url)?,
            "rediss" => return Err(InvalidEndpoint::Tls),
            _ => return Err(InvalidEndpoint::Scheme),
        };
        let user = match url.username() {
            "" => None,
            user => Some(decode(user)?.into()),
        };
        let password = url.password().map(decode).transpose()?.map(Secret::from);
        Ok(Self {
            address,
            user,
            password,
            db,
        })
    }

    /// Logs in as `user` (ACL) instead of `default`; replaces the URL's user.
    #[must_use]
    pub fn with_user(mut self, user: &str) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Logs in with `password`; replaces the URL's.
    ///
    /// # Errors
    /// [`InvalidEndpoint::Encoding`] when it is not UTF-8.
    pub fn with_password(mut self, password: Secret) -> Result<Self, InvalidEndpoint> {
        std::str::from_utf8(password.expose()).map_err(|_| InvalidEndpoint::Encoding)?;
        self.password = Some(password);
        Ok(self)
    }

    /// Whether user and password, from wherever they came, go together.
    ///
    /// # Errors
    /// [`InvalidEndpoint::UserWithoutPassword`].
    pub fn check(&self) -> Result<(), InvalidEndpoint> {
        if self.user.is_some() && self.password.is_none() {
            return Err(InvalidEndpoint::UserWithoutPassword);
        }
        Ok(())
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The log-in as the redis crate wants it (its own `Debug` redacts the password as well).
    pub(crate) fn login(&self) -> redis::RedisConnectionInfo {
        let mut info = redis::RedisConnectionInfo::default()
            .set_db(self.db)
            .set_lib_name("registry-auth", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &self.user {
            info = info.set_username(user);
        }
        if let Some(password) = &self.password {
            info = info.set_password(String::from_utf8_lossy(password.expose()));
        }
        info
    }
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

fn tcp(url: &Url) -> Result<(Address, i64), InvalidEndpoint> {
    if url.query().is_some() {
        return Err(InvalidEndpoint::Parameter);
    }
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
    let db = match url.path().trim_start_matches('/') {
        "" => 0,
        db => database(db)?,
    };
    let port = match url.port() {
        Some(0) => return Err(InvalidEndpoint::Port),
        port => port.unwrap_or(DEFAULT_PORT),
    };
    Ok((
        Address::Tcp {
            host: host.into(),
            port,
        },
        db,
    ))
}

fn unix(url: &Url) -> Result<(Address, i64), InvalidEndpoint> {
    if url.has_host() && url.host_str().is_some_and(|host| !host.is_empty()) {
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
    Ok((Address::Unix(path.into()), db))
}

impl fmt::Display for Endpoint {
    /// The URL without user and password: for logs and messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => {
                write!(f, "redis://[{host}]:{port}/{}", self.db)
            }
            Address::Tcp { host, port } => write!(f, "redis://{host}:{port}/{}", self.db),
            Address::Unix(path) => write!(f, "redis+unix://{}?db={}", path.display(), self.db),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, InvalidEndpoint};
    use crate::secret::Secret;

    fn shown(url: &str) -> String {
        Endpoint::parse(url).unwrap().to_string()
    }

    #[test]
    fn the_forms_of_the_interface() {
        assert_eq!(shown("redis://127.0.0.1"), "redis://127.0.0.1:6379/0");
        assert_eq!(shown("redis://localhost:7000/3"), "redis://localhost:7000/3");
        assert_eq!(shown("redis://[::1]:7000"), "redis://[::1]:7000/0");
        assert_eq!(
            shown("redis+unix:///run/redis.sock?db=2"),
            "redis+unix:///run/redis.sock?db=2"
        );
        assert_eq!(
            shown("redis+unix:///run/redis.sock"),
            "redis+unix:///run/redis.sock?db=0"
        );
    }

    #[test]
    fn nothing_shows_the_password() {
        let endpoint = Endpoint::parse("redis://al%40ice:p%3Aw%2Fd@h:1/2").unwrap();
        assert_eq!(endpoint.login().username(), Some("al@ice"));
        assert_eq!(endpoint.login().password(), Some("p:w/d"));
        let shown = format!("{endpoint} {endpoint:?} {:?}", endpoint.login());
        assert!(!shown.contains("p:w") && !shown.contains("p%3A"), "{shown}");
        assert_eq!(endpoint.to_string(), "redis://h:1/2");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (url, error) in [
            ("127.0.0.1:6379", InvalidEndpoint::Syntax),
            ("", InvalidEndpoint::Syntax),
            ("http://h/", InvalidEndpoint::Scheme),
            ("rediss://h/", InvalidEndpoint::Tls),
            ("redis://", InvalidEndpoint::Address),
            ("redis:///3", InvalidEndpoint::Address),
            ("redis://:6379", InvalidEndpoint::Address),
            ("redis://h:99999/0", InvalidEndpoint::Port),
            ("redis://h:0/0", InvalidEndpoint::Port),
            ("redis://h:port", InvalidEndpoint::Port),
            ("redis://gate:se/cret@h", InvalidEndpoint::Port),
            ("redis://$redis_host:6379", InvalidEndpoint::Host),
            ("redis://h,i:6379", InvalidEndpoint::Host),
            ("redis://[::1", InvalidEndpoint::Host),
            ("redis://[x]:1", InvalidEndpoint::Host),
            ("redis://h/x", InvalidEndpoint::Database),
            ("redis://h/-1", InvalidEndpoint::Database),
            ("redis://h/1/2", InvalidEndpoint::Database),
            ("redis://h/99999999999", InvalidEndpoint::Database),
            ("redis://h/?timeout=1", InvalidEndpoint::Parameter),
            ("redis://h/#x", InvalidEndpoint::Parameter),
            ("redis+unix://host/path", InvalidEndpoint::Address),
            ("redis+unix:///", InvalidEndpoint::Address),
            ("redis+unix:///p?db=x", InvalidEndpoint::Database),
            ("redis+unix:///p?x=1", InvalidEndpoint::Parameter),
            ("redis://u:%ff@h/", InvalidEndpoint::Encoding),
        ] {
            assert_eq!(Endpoint::parse(url).err(), Some(error), "{url}");
        }
    }

    #[test]
    fn a_user_needs_a_password() {
        let endpoint = Endpoint::parse("redis://h").unwrap().with_user("gate");
        assert_eq!(endpoint.check(), Err(InvalidEndpoint::UserWithoutPassword));
        let endpoint = endpoint.with_password(Secret::new(b"pw")).unwrap();
        assert_eq!(endpoint.check(), Ok(()));
        assert_eq!(endpoint.login().username(), Some("gate"));
        assert!(endpoint.with_password(Secret::new(b"\xff")).is_err());
    }
}
