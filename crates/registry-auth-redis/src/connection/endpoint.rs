//! Where Redis is and how we log in: parsed from `registry_auth_redis` or `--redis`.
//!
//! Invariant: neither `Debug`, `Display` nor an error shows the password.

use super::names::Names;
use super::passwords::Passwords;
use super::tls::{InvalidTls, Tls, TlsOptions};
pub use super::url::{InvalidEndpoint, is_user_name};
use super::url::{Parsed, parse};
pub(crate) use super::url::{Place, Topology};
use crate::schema::keys;
use crate::secret::Secret;
use std::fmt;

/// A Redis: one server, or several of which one is the master.
#[derive(Clone)]
pub struct Endpoint {
    topology: Topology,
    is_tls: bool,
    tls: Option<Tls>,
    user: Option<Box<str>>,
    passwords: Passwords,
    sentinel_user: Option<Box<str>>,
    sentinel_passwords: Passwords,
    db: i64,
    names: Names,
    /// What all keys begin with; said where that has to be in one slot.
    prefix: Option<Box<str>>,
}

/// A prefix whose keys cannot be in this Cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidPrefix {
    /// Its keys are in many slots.
    NoTag {
        /// The same with a tag.
        tagged: String,
    },
    /// Its keys are in another slot than those of a prefix before.
    OtherSlot {
        /// That prefix.
        first: Box<str>,
    },
}

impl fmt::Display for InvalidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTag { tagged } => write!(
                f,
                "in a Cluster (+cluster) all keys have to be in one slot, which a part of the prefix in \
                 braces chooses, as in \"{tagged}\""
            ),
            Self::OtherSlot { first } => write!(
                f,
                "in a Cluster (+cluster) all keys have to be in one slot: the part in braces has to be that \
                 of \"{first}\""
            ),
        }
    }
}

impl std::error::Error for InvalidPrefix {}

impl Endpoint {
    /// Parses a URL: `redis://[user:password@]host[:port][,host[:port]...][/db]`, the same with `rediss` for
    /// TLS, or `redis+unix:///path[?db=n]`; with `+sentinel` the hosts are sentinels, and `/master` comes
    /// before `/db`; with `+cluster` they are nodes of a Cluster, without `/db`. `valkey` and `valkeys` mean
    /// the same. User and password are percent-decoded.
    ///
    /// # Errors [`InvalidEndpoint`]; what is missing beside the URL is only refused by [`Endpoint::check`],
    /// because a password may still come from a file.
    pub fn parse(url: &str) -> Result<Self, InvalidEndpoint> {
        let Parsed {
            topology,
            is_tls,
            user,
            password,
            db,
        } = parse(url)?;
        let passwords = match password {
            Some(password) => Passwords::one(password).map_err(|_| InvalidEndpoint::Encoding)?,
            None => Passwords::default(),
        };
        Ok(Self {
            topology,
            is_tls,
            tls: None,
            user,
            passwords,
            sentinel_user: None,
            sentinel_passwords: Passwords::default(),
            db,
            names: Names::default(),
            prefix: None,
        })
    }

    /// For keys of this prefix, and of those before. To be called for each, as not every prefix can be in a
    /// Cluster.
    ///
    /// # Errors
    /// [`InvalidPrefix`].
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self, InvalidPrefix> {
        if !self.is_cluster() {
            return Ok(self);
        }
        let Some(slot) = keys::slot(prefix) else {
            let tag = prefix.replace(['{', '}'], "");
            let tagged = format!("{{{}}}", if tag.is_empty() { "docker-registry" } else { &tag });
            return Err(InvalidPrefix::NoTag { tagged });
        };
        match self.prefix {
            Some(first) if keys::slot(&first) != Some(slot) => Err(InvalidPrefix::OtherSlot { first }),
            Some(_) => Ok(self),
            None => {
                self.prefix = Some(prefix.into());
                Ok(self)
            }
        }
    }

    /// Logs in as `user` (ACL) instead of `default`; replaces the URL's user.
    #[must_use]
    pub fn with_user(mut self, user: &str) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Logs in with these; they replace the URL's.
    #[must_use]
    pub fn with_passwords(mut self, passwords: Passwords) -> Self {
        self.passwords = passwords;
        self
    }

    /// Logs in to sentinels with these.
    #[must_use]
    pub fn with_sentinel_login(mut self, user: Option<&str>, passwords: Option<Passwords>) -> Self {
        self.sentinel_user = user.map(Into::into);
        self.sentinel_passwords = passwords.unwrap_or_default();
        self
    }

    /// What TLS needs. To be called for every URL, as the options also have to fit to one without TLS: there
    /// are none then.
    ///
    /// # Errors
    /// [`InvalidTls`].
    pub fn with_tls(mut self, options: TlsOptions) -> Result<Self, InvalidTls> {
        if self.is_tls {
            self.tls = Some(Tls::new(options)?);
        } else if let Some(setting) = options.said() {
            let why = "it is of no use: the URL of Redis is not one of TLS (rediss://)".to_owned();
            return Err(InvalidTls { setting, why });
        }
        Ok(self)
    }

    /// Whether all that was said goes together, from wherever it came.
    ///
    /// # Errors
    /// [`InvalidEndpoint::UserWithoutPassword`], [`InvalidEndpoint::NoSentinels`], [`InvalidEndpoint::Tls`].
    pub fn check(&self) -> Result<(), InvalidEndpoint> {
        let has_sentinel_login = self.sentinel_user.is_some() || !self.sentinel_passwords.is_empty();
        if has_sentinel_login && !matches!(self.topology, Topology::Sentinel { .. }) {
            return Err(InvalidEndpoint::NoSentinels);
        }
        if self.user.is_some() && self.passwords.is_empty()
            || self.sentinel_user.is_some() && self.sentinel_passwords.is_empty()
        {
            return Err(InvalidEndpoint::UserWithoutPassword);
        }
        if self.is_tls && self.tls.is_none() {
            return Err(InvalidEndpoint::Tls);
        }
        Ok(())
    }

    /// Whether the URL is one of TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether it is a Cluster.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.topology, Topology::Cluster(_))
    }

    /// What all keys begin with that are asked for in a Cluster.
    pub(crate) fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What is known of the hosts in it.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// The log-ins to try, in this order, as the redis crate wants them (its own `Debug` redacts passwords as
    /// well).
    pub(crate) fn logins(&self) -> Vec<redis::RedisConnectionInfo> {
        logins(self.user.as_deref(), &self.passwords, self.db)
    }

    /// Those to try at sentinels.
    pub(crate) fn sentinel_logins(&self) -> Vec<redis::RedisConnectionInfo> {
        logins(self.sentinel_user.as_deref(), &self.sentinel_passwords, 0)
    }
}

fn logins(user: Option<&str>, passwords: &Passwords, db: i64) -> Vec<redis::RedisConnectionInfo> {
    let mut login = redis::RedisConnectionInfo::default()
        .set_db(db)
        .set_lib_name("registry-auth", env!("CARGO_PKG_VERSION"));
    if let Some(user) = user {
        login = login.set_username(user);
    }
    if passwords.is_empty() {
        return vec![login];
    }
    let with = |password: Secret| {
        login
            .clone()
            .set_password(String::from_utf8_lossy(password.expose()))
    };
    passwords.now().into_iter().map(with).collect()
}

impl fmt::Display for Endpoint {
    /// The URL without user and password: for logs and messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        match &self.topology {
            Topology::Unix(path) => write!(f, "redis+unix://{}?db={}", path.display(), self.db),
            Topology::Single(place) => write!(f, "{scheme}://{place}/{}", self.db),
            Topology::Several(places) => write!(f, "{scheme}://{}/{}", list(places), self.db),
            Topology::Cluster(nodes) => write!(f, "{scheme}+cluster://{}", list(nodes)),
            Topology::Sentinel { sentinels, master } => {
                write!(f, "{scheme}+sentinel://{}/{master}/{}", list(sentinels), self.db)
            }
        }
    }
}

fn list(places: &[Place]) -> String {
    let shown: Vec<String> = places.iter().map(Place::to_string).collect();
    shown.join(",")
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, InvalidEndpoint, InvalidPrefix, Passwords, TlsOptions};
    use crate::connection::tls::Setting;
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
    fn other_names_and_several_hosts() {
        assert_eq!(shown("rediss://h"), "rediss://h:6379/0");
        assert_eq!(shown("valkey://h"), "redis://h:6379/0");
        assert_eq!(shown("VALKEYS://h:7000/1"), "rediss://h:7000/1");
        assert_eq!(shown("valkey+unix:///run/s"), "redis+unix:///run/s?db=0");
        assert_eq!(
            shown("redis://u:p@a,[::1]:7,c:8/2"),
            "redis://a:6379,[::1]:7,c:8/2"
        );
        assert_eq!(
            shown("valkeys+cluster://u:p@a,b:7"),
            "rediss+cluster://a:6379,b:7"
        );
        assert_eq!(shown("redis+cluster://a/"), "redis+cluster://a:6379");
    }

    #[test]
    fn all_prefixes_of_a_cluster_are_in_one_slot() {
        let cluster = || Endpoint::parse("redis+cluster://h").unwrap();
        let of = |prefixes: &[&str]| {
            let all = prefixes
                .iter()
                .try_fold(cluster(), |endpoint, prefix| endpoint.with_prefix(prefix));
            all.map(drop)
        };
        assert_eq!(of(&["{a}"]), Ok(()));
        assert_eq!(of(&["{a}", "x{a}y"]), Ok(()));
        let first = "{a}".into();
        assert_eq!(of(&["{a}", "{b}"]), Err(InvalidPrefix::OtherSlot { first }));
        let no_tag = |tagged: &str| {
            let tagged = tagged.to_owned();
            Err(InvalidPrefix::NoTag { tagged })
        };
        assert_eq!(of(&["docker-registry"]), no_tag("{docker-registry}"));
        assert_eq!(of(&["a{"]), no_tag("{a}"));
        // Nobody else minds.
        let single = Endpoint::parse("redis://h").unwrap();
        assert!(single.with_prefix("a").unwrap().with_prefix("b").is_ok());
    }

    #[test]
    fn tls_needs_to_know_whom_to_trust() {
        let endpoint = Endpoint::parse("rediss://h").unwrap();
        assert_eq!(endpoint.check(), Err(InvalidEndpoint::Tls));
        let named = || TlsOptions {
            name: Some("h".into()),
            ..TlsOptions::default()
        };
        let plain = Endpoint::parse("redis://h").unwrap();
        assert!(plain.clone().with_tls(TlsOptions::default()).is_ok());
        assert_eq!(
            plain.with_tls(named()).err().map(|error| error.setting),
            Some(Setting::Name)
        );
    }

    #[test]
    fn nothing_shows_the_password() {
        let endpoint = Endpoint::parse("redis://al%40ice:p%3Aw%2Fd@h:1/2").unwrap();
        let [login] = &endpoint.logins()[..] else { panic!() };
        assert_eq!(login.username(), Some("al@ice"));
        assert_eq!(login.password(), Some("p:w/d"));
        let shown = format!("{endpoint} {endpoint:?} {login:?}");
        assert!(!shown.contains("p:w") && !shown.contains("p%3A"), "{shown}");
        assert_eq!(endpoint.to_string(), "redis://h:1/2");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (url, error) in [
            ("redis://a,b,a:6379", InvalidEndpoint::Twice),
            ("redis://h,H", InvalidEndpoint::Twice),
            ("redis://[::1]:7,[0:0::1]:7", InvalidEndpoint::Twice),
            ("redis+sentinel://a,a:26379/m", InvalidEndpoint::Twice),
            ("redis+cluster://a:6379,a", InvalidEndpoint::Twice),
            ("redis://a%00b:secret@h", InvalidEndpoint::User),
            ("redis://a%0Ab:secret@h", InvalidEndpoint::User),
            ("redis://a%20b:secret@h", InvalidEndpoint::User),
            ("127.0.0.1:6379", InvalidEndpoint::Syntax),
            ("", InvalidEndpoint::Syntax),
            ("http://h/", InvalidEndpoint::Scheme),
            ("redis+x://h/", InvalidEndpoint::Scheme),
            ("rediss+unix:///run/s", InvalidEndpoint::Scheme),
            ("redis+cluster://a,b/0", InvalidEndpoint::ClusterDatabase),
            ("redis+cluster://a?db=0", InvalidEndpoint::Parameter),
            ("redis+cluster://", InvalidEndpoint::Address),
            ("redis+cluster+sentinel://a", InvalidEndpoint::Scheme),
            ("redis+sentinel://a,b", InvalidEndpoint::Master),
            ("redis+sentinel://a,b/", InvalidEndpoint::Master),
            ("redis+sentinel://a,b//1", InvalidEndpoint::Master),
            ("redis+sentinel://a,b/m/1/2", InvalidEndpoint::Database),
            ("redis+sentinel://a,b/m/x", InvalidEndpoint::Database),
            ("redis+sentinel://a,b/m?db=1", InvalidEndpoint::Parameter),
            ("redis+sentinel:///m", InvalidEndpoint::Address),
            ("redis+sentinel://a/m%20x", InvalidEndpoint::Master),
            ("redis://", InvalidEndpoint::Address),
            ("redis:///3", InvalidEndpoint::Address),
            ("redis://:6379", InvalidEndpoint::Address),
            ("redis://h:99999/0", InvalidEndpoint::Port),
            ("redis://h:0/0", InvalidEndpoint::Port),
            ("redis://h:port", InvalidEndpoint::Port),
            ("redis://gate:se/cret@h", InvalidEndpoint::Port),
            ("redis://$redis_host:6379", InvalidEndpoint::Host),
            ("redis://h,i j:6379", InvalidEndpoint::Host),
            ("redis://h,", InvalidEndpoint::Address),
            ("redis://,h", InvalidEndpoint::Address),
            ("redis://h,i:0", InvalidEndpoint::Port),
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
        let passwords = Passwords::one(Secret::new(b"pw")).unwrap();
        let endpoint = endpoint.with_passwords(passwords);
        assert_eq!(endpoint.check(), Ok(()));
        assert_eq!(endpoint.logins()[0].username(), Some("gate"));
        assert!(Passwords::one(Secret::new(b"\xff")).is_err());
    }
}
