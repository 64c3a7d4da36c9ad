//! The configuration: what each directive means, what a location inherits, and the settings that handlers
//! see.
//!
//! Filled by `conf::read`, one function a directive, whose values `conf::value` parses. When all directives
//! were read, `conf::merge` makes the settings of each location, and `conf::check` judges what stands beside
//! each other there. Handlers see [`Settings`] only, in which nothing is left unset.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use registry_auth::backend::AllowList;
use registry_auth::redirect::StorageHosts;
use registry_auth::{policy, route};
use registry_auth_cache::FailureLimits;
use registry_auth_lookup::{Hashing, Keyspace};
use registry_auth_redis::{Changes, Endpoint, Passwords, Secret, TlsOptions};
use siphasher::sip::SipHasher13;

use crate::ffi::conf::{Complete, ComplexValue, Conf, FilePosition};
use crate::ffi::content::Handler;
use crate::ffi::request::Request;
use crate::ffi::shm::Zone;
use crate::ffi::steering::{Ignored, Ssi};
use keepers::Keepers;
use stores::{Folders, Store, Stores};
use token_locations::TokenLocations;
use ways::Ways;

mod check;
mod keepers;
mod merge;
pub mod neighbours;
pub mod read;
pub mod stores;
mod token_locations;
pub mod value;
mod ways;

const DEFAULT_REDIS: &str = "redis://127.0.0.1:6379/0";
/// Longest form that the token endpoint takes, in bytes: as long as a header may be. nginx reads twice that,
/// so that the refusal is ours.
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
    changes: Option<Changes>,
    user: Option<String>,
    passwords: Option<Passwords>,
    sentinel_user: Option<String>,
    sentinel_passwords: Option<Passwords>,
    tls: TlsOptions,
    hashing: Option<Hashing>,
    cache: Option<Option<CacheOptions>>,
    usage: Option<Option<UsageOptions>>,
    token_keys: Option<Vec<Secret>>,
    token_use: Option<bool>,
    rehash: Option<bool>,
    /// Random, for what has to be kept from clients where there is neither a key nor a zone; a reload makes
    /// another.
    cursor_secret: [u8; 32],
    /// Every space of a location where the gate is on, once.
    spaces: Vec<Arc<Keyspace>>,
    resolved: Option<StoreOptions>,
    /// Whether there is a page with the counters of the zone.
    has_status: bool,
    /// The directives of which a warning says that they send passwords to a registry.
    header_told: Vec<&'static str>,
    /// Where the directive stands of which the last warning says that it sends the path on as it was before
    /// `rewrite`.
    path_told: Option<FilePosition>,
    /// Whether variables choose where a gated request goes, and perhaps with which path; or where one goes
    /// that has passed a gate before.
    has_variable_target: bool,
    /// Whether a gated request may be answered from elsewhere than a registry.
    has_sources: bool,
    /// Whether something sends subrequests, which have no access phase.
    has_subrequests: bool,
    has_token_endpoint: bool,
    /// What only all locations together show, until that was checked.
    ways: Ways,
    /// Caches that may be those of several servers.
    keepers: Keepers,
    /// The folders of registries, until it was checked whether they are used.
    folders: Folders,
    /// Where tokens are to be had, until that was checked.
    endpoints: TokenLocations,
    /// What the locations heed that lead to users' registries, until these cannot steer nginx.
    steerable: Vec<Heeded>,
}

/// What one location heeds of what a registry answers.
struct Heeded {
    headers: Ignored,
    /// `None` where nginx has no SSI.
    ssi: Option<Ssi>,
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
    /// How it is to tell what changes.
    pub changes: Changes,
    /// The pool for slow password hashes.
    pub hashing: Hashing,
    /// Whether the last use of access tokens is to be recorded.
    pub token_use: bool,
    /// Whether weak password hashes are to be replaced.
    pub rehash: bool,
    /// Where answers are kept.
    pub cache: Option<CacheOptions>,
    /// Every prefix that is in use, in order: Redis is to tell of changes under each.
    pub prefixes: Vec<Box<str>>,
}

/// `registry_auth_cache`.
#[derive(Clone)]
pub struct CacheOptions {
    /// The zone.
    pub zone: Zone,
    /// Its name.
    pub name: Rc<str>,
    /// Milliseconds for which an answer is fresh.
    pub ttl: u64,
    /// Milliseconds for which an old answer is used while Redis cannot be reached.
    pub stale: u64,
}

/// `registry_auth_usage`.
#[derive(Clone)]
pub struct UsageOptions {
    /// The zone.
    pub zone: Zone,
    /// How many users, and how many repositories, are shown.
    pub top: usize,
}

impl StoreOptions {
    /// A number for where the records of a zone come from: the Redis that is asked, and the prefixes whose
    /// changes are watched. Never 0, and the same in all processes.
    pub fn source(&self) -> u64 {
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

    /// Whether the gate is on somewhere: without it nobody is asked who they are, and Redis is not asked
    /// either.
    pub fn has_gate(&self) -> bool {
        !self.spaces.is_empty()
    }

    /// Whether the counters of the zone are shown.
    pub fn has_status(&self) -> bool {
        self.has_status
    }

    /// Whether variables choose where a gated request goes, and perhaps with which path; or where one goes
    /// that has passed a gate before.
    pub fn has_variable_target(&self) -> bool {
        self.has_variable_target
    }

    /// Whether a gated request may be answered from elsewhere than a registry: from a store or a cache.
    pub fn has_sources(&self) -> bool {
        self.has_sources
    }

    /// Whether something sends subrequests, which have no access phase.
    pub fn has_subrequests(&self) -> bool {
        self.has_subrequests
    }

    /// Whether a location is a token endpoint, which is sent forms.
    pub fn has_token_endpoint(&self) -> bool {
        self.has_token_endpoint
    }

    /// Where requests are counted by user and by repository, if they are.
    pub fn usage(&self) -> Option<&UsageOptions> {
        self.usage.as_ref()?.as_ref()
    }

    /// The secrets of `registry_auth_token_key`; none where there is a random one.
    pub fn token_keys(&self) -> &[Secret] {
        self.token_keys.as_deref().unwrap_or_default()
    }

    /// The secret that the catalogue's cursors are sealed with where there is no other.
    pub fn cursor_secret(&self) -> &[u8; 32] {
        &self.cursor_secret
    }

    /// Whether tokens can be signed, and verified.
    fn has_token_key(&self) -> bool {
        self.token_keys.is_some() || self.has_zone()
    }

    /// Whether there is a zone.
    fn has_zone(&self) -> bool {
        matches!(self.cache, Some(Some(_)))
    }

    /// The space of these settings, one for all locations that mean the same: what is known of a request in
    /// one of them holds in the others.
    fn space(&mut self, space: Keyspace) -> Result<Arc<Keyspace>, String> {
        if let Some(known) = self.spaces.iter().find(|known| ***known == space) {
            return Ok(Arc::clone(known));
        }
        if let Some(resolved) = &mut self.resolved {
            let endpoint = resolved.endpoint.clone().with_prefix(&space.prefix);
            resolved.endpoint = endpoint.map_err(|error| {
                value::invalid(
                    "registry_auth_prefix",
                    space.prefix.as_bytes(),
                    &error.to_string(),
                )
            })?;
        }
        let space = Arc::new(space);
        self.spaces.push(Arc::clone(&space));
        Ok(space)
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
        if let Some(passwords) = self.passwords.take() {
            endpoint = endpoint.with_passwords(passwords);
        }
        endpoint = endpoint
            .with_sentinel_login(self.sentinel_user.as_deref(), self.sentinel_passwords.take())
            .with_tls(std::mem::take(&mut self.tls))
            .map_err(|error| format!("\"registry_auth_redis_{}\": {error}", error.setting.name()))?;
        endpoint.check().map_err(|error| refused(&error))?;
        getrandom::fill(&mut self.cursor_secret).map_err(|error| format!("no random bytes: {error}"))?;
        self.resolved = Some(StoreOptions {
            endpoint,
            timeout: Duration::from_millis(self.timeout.unwrap_or(DEFAULT_TIMEOUT)),
            connect_timeout: Duration::from_millis(self.connect_timeout.unwrap_or(DEFAULT_TIMEOUT)),
            changes: self.changes.unwrap_or_default(),
            hashing: self.hashing.unwrap_or_default(),
            token_use: self.token_use.unwrap_or(false),
            rehash: self.rehash.unwrap_or(false),
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
    /// Where the gate is turned on in this very location.
    gate_position: Option<FilePosition>,
    /// Where it is turned off in this very location.
    off_position: Option<FilePosition>,
    /// Whether it is what holds in a server where no location is chosen.
    is_server: bool,
    /// Whether the gate is on around this location.
    is_within_gate: bool,
    prefix: Option<Box<str>>,
    salt: Option<Box<[u8]>>,
    own_namespace: Option<bool>,
    catalog: Option<bool>,
    v1_images: Option<V1Images>,
    v1_endpoint: Option<ComplexValue>,
    v1_search: Option<bool>,
    passes_ns: Option<bool>,
    failures: Option<Option<FailureLimits>>,
    bearer: Option<Option<Bearer>>,
    page: Option<(Page, FilePosition)>,
    /// `registry_auth_redirects`.
    storage_hosts: Option<Rc<StorageHosts>>,
    stores: Option<Vec<Rc<Store>>>,
    /// Where the first of them stands, in this very location.
    stores_position: Option<FilePosition>,
    /// Whether SSI is on, where variables may lead to users' registries without a gate.
    ssi: Option<Ssi>,
    /// `proxy_pass`, where its variables may have the query that a mount was taken out of.
    forwarded_url: Option<ComplexValue>,
    /// What answers what is not answered from one of them.
    pub otherwise: Option<Handler>,
    /// Where the backends may be to which requests go from here (`allow=`).
    pub allow: AllowList,
    /// What other modules' directives say here.
    pub neighbours: neighbours::Neighbours,
    /// What handlers go by; `None` where the gate is off.
    pub settings: Option<Settings>,
}

/// `registry_auth_v1_images`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum V1Images {
    /// For every verified user.
    On,
    /// On no route.
    Off,
    /// To be read by everybody.
    Public,
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
    pub space: Arc<Keyspace>,
    /// Which routes there are.
    pub routes: route::RouteOptions,
    /// What a user may do without a grant.
    pub rules: policy::Rules,
    /// Where V1 clients reach this server; `None` where that is what they say themselves (`Host`).
    pub v1_endpoint: Option<ComplexValue>,
    /// Whether V1's search is served: its answer is then filtered.
    pub v1_search: bool,
    /// Whether the registry behind learns which one its client means (`ns`).
    pub passes_ns: bool,
    /// How many wrong passwords a client may try for a user.
    pub failures: Option<FailureLimits>,
    /// Where tokens are to be had that are good here; `None` where Basic is all.
    pub bearer: Option<Bearer>,
    /// What makes this location the token endpoint.
    pub token: Option<TokenEndpoint>,
    /// Whether this location says whether logins can be decided, and no more.
    pub is_health: bool,
    /// The folders of registries from which blobs come.
    pub stores: Stores,
}

impl Settings {
    /// Those of the location where a request is; `None` where the gate is off.
    #[inline]
    pub fn of(request: &Request) -> Option<&Self> {
        request.location::<Location>()?.settings.as_ref()
    }
}

/// `registry_auth_bearer`.
#[derive(Clone)]
pub struct Bearer {
    /// The address of the token endpoint.
    pub realm: ComplexValue,
    /// What tokens are for: their audience.
    pub service: Arc<str>,
    said: Rc<BearerSaid>,
}

/// `registry_auth_bearer` as it was written.
struct BearerSaid {
    url: Box<[u8]>,
    position: FilePosition,
}

/// What a location is in place of a way to a registry: something that the module answers itself.
#[derive(Clone, Copy)]
enum Page {
    Token(TokenEndpoint),
    Status,
    Usage,
    Health,
}

impl Page {
    /// The directive that says so.
    fn directive(&self) -> &'static str {
        match self {
            Page::Token(_) => "registry_auth_token",
            Page::Status | Page::Usage => "registry_auth_status",
            Page::Health => "registry_auth_health",
        }
    }
}

/// `registry_auth_token`.
#[derive(Clone, Copy)]
pub struct TokenEndpoint {
    /// For how many seconds its tokens are good.
    pub ttl: u64,
    /// Whether its key outlives the zone, and so may its tokens.
    pub is_key_kept: bool,
}

impl Location {
    /// Where registries may have their blobs; `None` where nothing is said of that.
    pub fn storage_hosts(&self) -> Option<&StorageHosts> {
        self.storage_hosts.as_deref()
    }

    /// Whether nginx would obey what a registry writes into its answers here.
    pub fn obeys_answers(&self) -> bool {
        self.ssi.as_ref().is_some_and(Ssi::is_on) || self.neighbours.stylesheet.is_some()
    }

    /// The URL of `proxy_pass`, where its variables may have the query that a mount was taken out of.
    pub fn forwarded_url(&self) -> Option<&ComplexValue> {
        self.forwarded_url.as_ref()
    }

    /// Makes it the token endpoint, whose tokens are good for so many seconds.
    pub fn set_endpoint(&mut self, ttl: u64, conf: &Conf<'_>) -> Result<(), String> {
        self.set_page(
            Page::Token(TokenEndpoint {
                ttl,
                // Known when all directives were read.
                is_key_kept: false,
            }),
            conf,
        )
    }

    /// Makes it one thing, if it is none yet.
    fn set_page(&mut self, page: Page, conf: &Conf<'_>) -> Result<(), String> {
        let name = page.directive();
        if let Some((earlier, position)) = &self.page {
            let earlier = earlier.directive();
            value::unset(name, earlier == name)?;
            return Err(format!(
                "\"{name}\" and \"{earlier}\" ({position}) cannot stand in one location: each of them \
                 answers its requests"
            ));
        }
        self.page = Some((page, conf.position()));
        Ok(())
    }
}
