//! The configuration: what each directive means, what a location inherits, and the settings that handlers see.
//!
//! Read by nginx through `directives.rs`. Every wrong value is an error that names the directive and the value. Handlers see
//! [`Settings`] only, in which nothing is left unset.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use registry_auth::{policy, route};
use registry_auth_cache::{failures, Failures};
use registry_auth_redis::{Endpoint, Hashing, Secret, Space};
use siphasher::sip::SipHasher13;

use crate::cache;
use crate::ffi::conf::{Complete, ComplexValue, Conf, Merge};
use crate::ffi::shm;

const DEFAULT_REDIS: &str = "redis://127.0.0.1:6379/0";
const DEFAULT_PREFIX: &str = "docker-registry";
/// `timeout=` and `connect_timeout=`, in milliseconds.
const DEFAULT_TIMEOUT: u64 = 500;
/// `ttl=`, in milliseconds.
const DEFAULT_TTL: u64 = 60_000;
/// A day: where Redis cannot tell of changes, a leaver stays for so long.
const MAX_TTL: u64 = 86_400_000;
/// An hour: more is a typing error, and an unbounded wait is what a timeout is to prevent.
const MAX_TIMEOUT: u64 = 3_600_000;

/// What http{} holds once: where the accounts are.
#[derive(Default)]
pub struct Main {
    endpoint: Option<Endpoint>,
    timeout: Option<u64>,
    connect_timeout: Option<u64>,
    user: Option<String>,
    password: Option<Secret>,
    hashing: Option<Hashing>,
    cache: Option<Option<cache::Options>>,
    /// Every space of a location where the gate is on.
    prefixes: Vec<Box<str>>,
    resolved: Option<StoreOptions>,
}

/// How the helper thread is to ask Redis.
#[derive(Clone)]
pub struct StoreOptions {
    /// Which Redis.
    pub endpoint: Endpoint,
    /// Limit of one lookup.
    pub timeout: Duration,
    /// Limit of one attempt to connect.
    pub connect_timeout: Duration,
    /// The pool for slow password hashes.
    pub hashing: Hashing,
    /// Where answers are kept.
    pub cache: Option<cache::Options>,
    /// Every prefix that is in use: changes under it are to be told.
    pub prefixes: Vec<Box<str>>,
}

impl StoreOptions {
    /// Stands for what the facts of a zone are about: the Redis that is asked, and the prefixes under which changes are told. Never
    /// 0, and the same in all processes.
    pub fn subject(&self) -> u64 {
        let mut prefixes: Vec<&str> = self.prefixes.iter().map(|prefix| &**prefix).collect();
        prefixes.sort_unstable();
        let text = format!("{} {}", self.endpoint, prefixes.join(" "));
        SipHasher13::new().hash(text.as_bytes()).max(1)
    }
}

impl Main {
    /// What the directives came to; `None` before they were all read.
    pub fn store_options(&self) -> Option<StoreOptions> {
        let resolved = self.resolved.clone()?;
        Some(StoreOptions {
            prefixes: self.prefixes.clone(),
            ..resolved
        })
    }

    fn use_prefix(&mut self, prefix: &str) {
        if !self.prefixes.iter().any(|known| **known == *prefix) {
            self.prefixes.push(prefix.into());
        }
    }
}

impl Complete for Main {
    fn complete(&mut self) -> Result<(), String> {
        let refused = |error: &dyn std::fmt::Display| format!("\"registry_auth_redis\": {error}");
        let mut endpoint = match self.endpoint.take() {
            Some(endpoint) => endpoint,
            None => Endpoint::parse(DEFAULT_REDIS).map_err(|error| refused(&error))?,
        };
        if let Some(user) = &self.user {
            endpoint = endpoint.with_user(user);
        }
        if let Some(password) = self.password.take() {
            endpoint = endpoint
                .with_password(password)
                .map_err(|error| format!("\"registry_auth_redis_password_file\": {error}"))?;
        }
        endpoint.check().map_err(|error| refused(&error))?;
        self.resolved = Some(StoreOptions {
            endpoint,
            timeout: Duration::from_millis(self.timeout.unwrap_or(DEFAULT_TIMEOUT)),
            connect_timeout: Duration::from_millis(self.connect_timeout.unwrap_or(DEFAULT_TIMEOUT)),
            hashing: self.hashing.unwrap_or_default(),
            cache: self.cache.flatten(),
            // Locations are merged after this.
            prefixes: Vec::new(),
        });
        Ok(())
    }
}

/// What a location says, and what it comes to.
#[derive(Default)]
pub struct Location {
    gate: Option<Gate>,
    prefix: Option<Box<str>>,
    salt: Option<Box<[u8]>>,
    own_namespace: Option<bool>,
    v1_images: Option<bool>,
    failures: Option<Option<Failures>>,
    /// What handlers go by; `None` where the gate is off.
    pub settings: Option<Settings>,
}

#[derive(Clone, Copy)]
enum Gate {
    Off,
    Realm(ComplexValue),
}

/// What applies to a request in a location where the gate is on.
pub struct Settings {
    /// What a challenge calls this registry.
    pub realm: ComplexValue,
    /// Whose accounts.
    pub space: Arc<Space>,
    /// Which routes there are.
    pub routes: route::Options,
    /// What a user may do without a grant.
    pub rules: policy::Rules,
    /// How many wrong passwords a client may try for a user.
    pub failures: Option<Failures>,
}

impl Merge for Location {
    fn merge(&mut self, outer: &Self, conf: &mut Conf<'_>) -> Result<(), String> {
        self.gate = self.gate.or(outer.gate);
        self.prefix = self.prefix.take().or_else(|| outer.prefix.clone());
        self.salt = self.salt.take().or_else(|| outer.salt.clone());
        self.own_namespace = self.own_namespace.or(outer.own_namespace);
        self.v1_images = self.v1_images.or(outer.v1_images);
        self.failures = self.failures.or(outer.failures);
        let failures = self.failures.flatten();
        self.settings = match self.gate {
            None | Some(Gate::Off) => None,
            Some(Gate::Realm(realm)) => {
                let space = self.space(outer);
                let main = conf.main::<Main>().ok_or("no http{}")?;
                main.use_prefix(&space.prefix);
                if failures.is_some() && main.cache.flatten().is_none() {
                    return Err(
                        "\"registry_auth_failures\" needs the zone of \"registry_auth_cache\" to count in"
                            .to_owned(),
                    );
                }
                Some(Settings {
                    realm,
                    space,
                    routes: self.routes(),
                    rules: self.rules(),
                    failures,
                })
            }
        };
        Ok(())
    }
}

impl Location {
    /// The space, shared with the outer level's where that is the same one: requests that nginx redirects internally between
    /// locations of one space keep what is known of them.
    fn space(&self, outer: &Self) -> Arc<Space> {
        let space = Space {
            prefix: self.prefix.clone().unwrap_or_else(|| DEFAULT_PREFIX.into()),
            salt: self.salt.clone().unwrap_or_default(),
        };
        match &outer.settings {
            Some(settings) if *settings.space == space => Arc::clone(&settings.space),
            _ => Arc::new(space),
        }
    }

    fn routes(&self) -> route::Options {
        route::Options {
            v1_images: self.v1_images.unwrap_or(true),
        }
    }

    fn rules(&self) -> policy::Rules {
        policy::Rules {
            own_namespace: self.own_namespace.unwrap_or(true),
            // Refused until its answer can be filtered.
            catalog: false,
        }
    }
}

/// `registry_auth realm | off`
pub fn registry_auth(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    unset("registry_auth", location.gate.is_some())?;
    location.gate = Some(match conf.arg() {
        b"off" => Gate::Off,
        b"" => return Err(invalid("registry_auth", b"", "a realm or \"off\" is expected")),
        realm => {
            let value = conf
                .complex_value()
                .ok_or_else(|| invalid("registry_auth", realm, "its variables cannot be used"))?;
            Gate::Realm(value)
        }
    });
    Ok(())
}

/// `registry_auth_redis url [timeout=] [connect_timeout=]`
pub fn redis(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_redis";
    unset(NAME, main.endpoint.is_some())?;
    for argument in conf.texts() {
        if let Some(time) = argument.strip_prefix(b"timeout=") {
            main.timeout = Some(timeout(NAME, argument, time)?);
        } else if let Some(time) = argument.strip_prefix(b"connect_timeout=") {
            main.connect_timeout = Some(timeout(NAME, argument, time)?);
        } else if main.endpoint.is_none() {
            // The URL may hold a password: the error quotes the one part that cannot.
            let scheme = argument.split(|byte| *byte == b':').next().unwrap_or_default();
            let url =
                std::str::from_utf8(argument).map_err(|_| invalid(NAME, scheme, "the URL is not UTF-8"))?;
            main.endpoint = Some(
                Endpoint::parse(url)
                    .map_err(|error| invalid(NAME, scheme, &format!("the URL is refused: {error}")))?,
            );
        } else {
            return Err(invalid(
                NAME,
                without_userinfo(argument),
                "one URL, \"timeout=\" and \"connect_timeout=\" are expected",
            ));
        }
    }
    if main.endpoint.is_none() {
        return Err(format!("no URL in \"{NAME}\" directive"));
    }
    Ok(())
}

/// What follows the last `@`: a URL without what may be a password.
fn without_userinfo(url: &[u8]) -> &[u8] {
    url.rsplit(|byte| *byte == b'@').next().unwrap_or_default()
}

fn timeout(directive: &str, argument: &[u8], time: &[u8]) -> Result<u64, String> {
    match Conf::milliseconds(time) {
        Some(time) if (1..=MAX_TIMEOUT).contains(&time) => Ok(time),
        _ => Err(invalid(directive, argument, "a time from 1ms to 1h is expected")),
    }
}

/// `registry_auth_redis_user name`
pub fn redis_user(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    unset("registry_auth_redis_user", main.user.is_some())?;
    main.user = Some(plain_text("registry_auth_redis_user", conf.arg())?.to_owned());
    Ok(())
}

/// `registry_auth_redis_password_file path`: its first line.
pub fn redis_password_file(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_redis_password_file";
    unset(NAME, main.password.is_some())?;
    let argument = conf.arg();
    let path = conf
        .path(argument)
        .ok_or_else(|| invalid(NAME, argument, "out of memory"))?;
    let text =
        zeroize::Zeroizing::new(fs::read(path).map_err(|error| invalid(NAME, argument, &error.to_string()))?);
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(invalid(NAME, argument, "its first line is empty"));
    }
    main.password = Some(Secret::new(line));
    Ok(())
}

/// `registry_auth_prefix string`
pub fn prefix(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    unset("registry_auth_prefix", location.prefix.is_some())?;
    location.prefix = Some(plain_text("registry_auth_prefix", conf.arg())?.into());
    Ok(())
}

/// `registry_auth_salt string`
pub fn salt(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    unset("registry_auth_salt", location.salt.is_some())?;
    location.salt = Some(conf.arg().into());
    Ok(())
}

/// `registry_auth_own_namespace on | off`
pub fn own_namespace(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    flag("registry_auth_own_namespace", conf, &mut location.own_namespace)
}

/// `registry_auth_v1_images on | off`
pub fn v1_images(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    flag("registry_auth_v1_images", conf, &mut location.v1_images)
}

/// `registry_auth_cache zone=name:size [ttl=60s] [stale=0s] | off`
pub fn cache(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_cache";
    unset(NAME, main.cache.is_some())?;
    let (mut zone, mut ttl, mut stale) = (None, DEFAULT_TTL, 0);
    let arguments: Vec<&[u8]> = conf.texts().collect();
    if let [b"off"] = arguments[..] {
        main.cache = Some(None);
        return Ok(());
    }
    for argument in arguments {
        if let Some(named) = argument.strip_prefix(b"zone=") {
            zone = Some(self::zone(conf, NAME, argument, named)?);
        } else if let Some(time) = argument.strip_prefix(b"ttl=") {
            ttl = cache_time(NAME, argument, time, 1)?;
        } else if let Some(time) = argument.strip_prefix(b"stale=") {
            stale = cache_time(NAME, argument, time, 0)?;
        } else {
            return Err(invalid(
                NAME,
                argument,
                "\"zone=name:size\", \"ttl=\", \"stale=\" or \"off\" is expected",
            ));
        }
    }
    let zone = zone.ok_or_else(|| format!("no \"zone=\" in \"{NAME}\" directive"))?;
    main.cache = Some(Some(cache::Options { zone, ttl, stale }));
    Ok(())
}

fn zone(conf: &mut Conf<'_>, directive: &str, argument: &[u8], named: &[u8]) -> Result<shm::Zone, String> {
    let mut parts = named.splitn(2, |byte| *byte == b':');
    let (name, size) = (parts.next().unwrap_or_default(), parts.next().and_then(shm::size));
    let size = match size {
        Some(size) if !name.is_empty() && (shm::least()..=shm::MOST).contains(&size) => size,
        _ => {
            let why = format!(
                "a name and a size from {} bytes to 4 gigabytes are expected",
                shm::least()
            );
            return Err(invalid(directive, argument, &why));
        }
    };
    shm::declare::<Main>(conf, name, size)
        .ok_or_else(|| invalid(directive, argument, "the zone cannot be declared"))
}

fn cache_time(directive: &str, argument: &[u8], time: &[u8], least: u64) -> Result<u64, String> {
    match Conf::milliseconds(time) {
        Some(time) if (least..=MAX_TTL).contains(&time) => Ok(time),
        _ => Err(invalid(directive, argument, "a time of at most 1d is expected")),
    }
}

/// `registry_auth_failures number period | off`
pub fn failures(conf: &mut Conf<'_>, location: &mut Location) -> Result<(), String> {
    const NAME: &str = "registry_auth_failures";
    unset(NAME, location.failures.is_some())?;
    let arguments: Vec<&[u8]> = conf.texts().collect();
    location.failures = Some(match arguments[..] {
        [b"off"] => None,
        [number, period] => {
            let number = within(NAME, number, number, failures::MOST as usize)?;
            let period = match Conf::milliseconds(period) {
                Some(period) if (1000..=MAX_TTL).contains(&period) => period,
                _ => return Err(invalid(NAME, period, "a period from 1s to 1d is expected")),
            };
            Some(Failures {
                number: number as u32,
                period,
            })
        }
        [value, ..] => {
            return Err(invalid(
                NAME,
                value,
                "a number and a period, or \"off\", are expected",
            ))
        }
        [] => {
            return Err(invalid(
                NAME,
                b"",
                "a number and a period, or \"off\", are expected",
            ))
        }
    });
    Ok(())
}

/// `registry_auth_hashing [threads=n] [queue=n]`
pub fn hashing(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), String> {
    const NAME: &str = "registry_auth_hashing";
    unset(NAME, main.hashing.is_some())?;
    let mut hashing = Hashing::default();
    for argument in conf.texts() {
        if let Some(number) = argument.strip_prefix(b"threads=") {
            hashing.threads = within(NAME, argument, number, 64)?;
        } else if let Some(number) = argument.strip_prefix(b"queue=") {
            hashing.queue = within(NAME, argument, number, 65_536)?;
        } else {
            return Err(invalid(NAME, argument, "\"threads=\" or \"queue=\" is expected"));
        }
    }
    main.hashing = Some(hashing);
    Ok(())
}

fn unset(directive: &str, is_set: bool) -> Result<(), String> {
    if is_set {
        return Err(format!("\"{directive}\" directive is duplicate"));
    }
    Ok(())
}

/// What is wrong with a value.
pub fn invalid(directive: &str, value: &[u8], why: &str) -> String {
    format!(
        "invalid value \"{}\" in \"{directive}\" directive: {why}",
        String::from_utf8_lossy(value)
    )
}

fn flag(directive: &str, conf: &Conf<'_>, to: &mut Option<bool>) -> Result<(), String> {
    unset(directive, to.is_some())?;
    *to = Some(match conf.arg() {
        value if value.eq_ignore_ascii_case(b"on") => true,
        value if value.eq_ignore_ascii_case(b"off") => false,
        value => return Err(invalid(directive, value, "it must be \"on\" or \"off\"")),
    });
    Ok(())
}

/// A name that goes into Redis keys or commands: not empty, UTF-8, no control characters.
fn plain_text<'c>(directive: &str, value: &'c [u8]) -> Result<&'c str, String> {
    match std::str::from_utf8(value) {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => Ok(text),
        _ => Err(invalid(
            directive,
            value,
            "a string without control characters is expected",
        )),
    }
}

fn within(directive: &str, argument: &[u8], number: &[u8], most: usize) -> Result<usize, String> {
    std::str::from_utf8(number)
        .ok()
        .and_then(|number| number.parse().ok())
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| {
            invalid(
                directive,
                argument,
                &format!("a number from 1 to {most} is expected"),
            )
        })
}
