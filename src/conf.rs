//! The configuration: what each directive means, what a location inherits, and the settings that handlers see.
//!
//! Filled by `conf::read`, one function a directive, whose values `conf::value` parses. Handlers see [`Settings`] only, in which
//! nothing is left unset.

use std::sync::Arc;
use std::time::Duration;

use registry_auth::{policy, route};
use registry_auth_cache::Failures;
use registry_auth_redis::{Endpoint, Hashing, Secret, Space};
use siphasher::sip::SipHasher13;

use crate::cache;
use crate::ffi::body;
use crate::ffi::conf::{Complete, ComplexValue, Conf, Merge};

pub mod read;
pub mod value;

const DEFAULT_REDIS: &str = "redis://127.0.0.1:6379/0";
/// Longest form that the token endpoint takes, in bytes: as long as a header may be. nginx reads twice that, so that the refusal is ours.
pub const MAX_FORM: usize = 8192;
const DEFAULT_PREFIX: &str = "docker-registry";
/// `timeout=` and `connect_timeout=`, in milliseconds.
const DEFAULT_TIMEOUT: u64 = 500;

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
    token_keys: Option<Vec<Secret>>,
    token_use: Option<bool>,
    /// Every space of a location where the gate is on, once.
    spaces: Vec<Arc<Space>>,
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
    /// Whether the last use of access tokens is to be recorded.
    pub token_use: bool,
    /// Where answers are kept.
    pub cache: Option<cache::Options>,
    /// Every prefix that is in use, in order: changes under it are to be told.
    pub prefixes: Vec<Box<str>>,
}

impl StoreOptions {
    /// Stands for what the facts of a zone are about: the Redis that is asked, and the prefixes under which changes are told. Never
    /// 0, and the same in all processes.
    pub fn subject(&self) -> u64 {
        let text = format!("{} {}", self.endpoint, self.prefixes.join(" "));
        SipHasher13::new().hash(text.as_bytes()).max(1)
    }
}

impl Main {
    /// What the directives came to; `None` before they were all read.
    pub fn store_options(&self) -> Option<StoreOptions> {
        let resolved = self.resolved.clone()?;
        let mut prefixes: Vec<Box<str>> = self.spaces.iter().map(|space| space.prefix.clone()).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        Some(StoreOptions { prefixes, ..resolved })
    }

    /// The secrets of `registry_auth_token_key`; none where there is a random one.
    pub fn token_keys(&self) -> &[Secret] {
        self.token_keys.as_deref().unwrap_or_default()
    }

    /// Whether tokens can be signed, and verified.
    fn has_token_key(&self) -> bool {
        self.token_keys.is_some() || self.has_zone()
    }

    /// Whether there is a zone.
    fn has_zone(&self) -> bool {
        matches!(self.cache, Some(Some(_)))
    }

    /// The space of these settings, one for all locations that mean the same: what is known of a request in one of them holds in
    /// the others.
    fn space(&mut self, space: Space) -> Arc<Space> {
        if let Some(known) = self.spaces.iter().find(|known| ***known == space) {
            return Arc::clone(known);
        }
        let space = Arc::new(space);
        self.spaces.push(Arc::clone(&space));
        space
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
            token_use: self.token_use.unwrap_or(false),
            cache: self.cache.clone().flatten(),
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
    catalog: Option<bool>,
    v1_images: Option<bool>,
    failures: Option<Option<Failures>>,
    bearer: Option<Option<Bearer>>,
    token: Option<TokenEndpoint>,
    status: bool,
    /// What handlers go by; `None` where the gate is off.
    pub settings: Option<Settings>,
}

#[derive(Clone)]
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
    /// Where tokens are to be had that are good here; `None` where Basic is all.
    pub bearer: Option<Bearer>,
    /// What makes this location the token endpoint.
    pub token: Option<TokenEndpoint>,
}

/// `registry_auth_bearer`.
#[derive(Clone)]
pub struct Bearer {
    /// The address of the token endpoint.
    pub realm: ComplexValue,
    /// What tokens are for: their audience.
    pub service: Arc<str>,
}

/// `registry_auth_token`.
#[derive(Clone, Copy)]
pub struct TokenEndpoint {
    /// For how many seconds its tokens are good.
    pub ttl: u64,
    /// Whether its key outlives the zone, and so may its tokens.
    pub is_key_kept: bool,
}

impl Merge for Location {
    type Main = Main;

    fn merge(&mut self, outer: &Self, main: &mut Main, conf: &mut Conf<'_>) -> Result<(), String> {
        self.gate = self.gate.take().or_else(|| outer.gate.clone());
        self.prefix = self.prefix.take().or_else(|| outer.prefix.clone());
        self.salt = self.salt.take().or_else(|| outer.salt.clone());
        self.own_namespace = self.own_namespace.or(outer.own_namespace);
        self.catalog = self.catalog.or(outer.catalog);
        self.v1_images = self.v1_images.or(outer.v1_images);
        self.failures = self.failures.or(outer.failures);
        self.bearer = self.bearer.take().or_else(|| outer.bearer.clone());
        let failures = self.failures.flatten();
        if self.status && !main.has_zone() {
            return Err(
                "\"registry_auth_status\" needs the zone of \"registry_auth_cache\" to count in".to_owned(),
            );
        }
        let bearer = self.bearer.clone().flatten();
        if let Some(endpoint) = &mut self.token {
            endpoint.is_key_kept = main.token_keys.is_some();
            if !matches!(self.gate, Some(Gate::Realm(_))) {
                return Err("\"registry_auth_token\" needs \"registry_auth\" to be on".to_owned());
            }
            if bearer.is_none() {
                return Err(
                    "\"registry_auth_token\" needs \"registry_auth_bearer\", for whose service its tokens are".to_owned(),
                );
            }
        }
        self.settings = match &self.gate {
            None | Some(Gate::Off) => None,
            // A page of our own is no registry's route.
            Some(Gate::Realm(_)) if self.status => None,
            Some(Gate::Realm(realm)) => {
                let space = main.space(self.space());
                if failures.is_some() && !main.has_zone() {
                    return Err(
                        "\"registry_auth_failures\" needs the zone of \"registry_auth_cache\" to count in"
                            .to_owned(),
                    );
                }
                if bearer.is_some() && !main.has_token_key() {
                    return Err(
                        "\"registry_auth_bearer\" needs \"registry_auth_token_key\", or the zone of \"registry_auth_cache\" to keep \
                         a random key in"
                            .to_owned(),
                    );
                }
                Some(Settings {
                    realm: realm.clone(),
                    space,
                    routes: self.routes(),
                    rules: self.rules(),
                    failures,
                    bearer,
                    token: self.token,
                })
            }
        };
        if self.token.is_some() {
            body::limit(conf, 2 * MAX_FORM);
        }
        Ok(())
    }
}

impl Location {
    /// Whether this is the token endpoint.
    pub fn has_endpoint(&self) -> bool {
        self.token.is_some()
    }

    /// Makes it the token endpoint, whose tokens are good for so many seconds.
    pub fn set_endpoint(&mut self, ttl: u64) {
        self.token = Some(TokenEndpoint {
            ttl,
            // Known when all directives were read.
            is_key_kept: false,
        });
    }

    fn space(&self) -> Space {
        Space {
            prefix: self.prefix.clone().unwrap_or_else(|| DEFAULT_PREFIX.into()),
            salt: self.salt.clone().unwrap_or_default(),
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
            catalog: self.catalog.unwrap_or(true),
        }
    }
}
