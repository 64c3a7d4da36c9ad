//! What a location inherits, and what its directives come to: [`Settings`], and the pages that the module
//! answers itself.
//!
//! Called by nginx, by [`Merge`], when all directives were read: the outer level first.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use registry_auth::backend::AllowList;
use registry_auth::blob::Owner;
use registry_auth::{directive, policy, route};
use registry_auth_lookup::Keyspace;

use super::keepers::Keeper;
use super::neighbours::Forward;
use super::stores::{Store, Stores};
use super::token_locations::Tokens;
use super::ways::Passage;
use super::{DEFAULT_PREFIX, Gate, Location, MAX_FORM, Main, Page, Settings, V1Images, check};
use crate::endpoints::health::Health;
use crate::endpoints::status::{Status, Usage};
use crate::endpoints::token::Token;
use crate::ffi::conf::{ComplexValue, Conf, CoreLocation, LocationKind, Merge};
use crate::ffi::steering::Ssi;
use crate::ffi::{body, content, peer};
use crate::request::stored::Stored;
use crate::upstream::UserBackends;

/// Where the requests of a location go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Registry {
    /// To the one that nginx.conf names.
    Fixed,
    /// To their users' backends, and to no other.
    Users,
    /// To their users' backends, or, where there are none, to the one that nginx.conf names.
    UsersOrFixed,
    /// Perhaps elsewhere, or with another path than the one that is decided about.
    Unknown,
}

impl Merge for Location {
    type Main = Main;

    fn merge(&mut self, outer: &Self, main: &mut Main, conf: &mut Conf<'_>) -> Result<(), String> {
        let core = conf.location().ok_or("no location")?;
        self.inherit(outer, &core);
        self.is_server = core.kind == LocationKind::Server;
        self.settings = self.resolve(main).inspect_err(|_| {
            if let Some((_, position)) = &self.page {
                conf.go_to(position);
            }
        })?;
        self.is_within_gate = outer.settings.is_some();
        check::one_thing(self, &core, main, conf)?;
        self.ssi = check::ssi_by_variables(self, conf)?;
        self.forwarded_url = self.variable_url(conf)?;
        self.allow = self.allowed(conf);
        // Those of http{}, too, which have no place of their own here.
        for level in [&outer.stores, &self.stores] {
            main.folders.note(level.as_deref().unwrap_or_default());
        }
        self.put_stores_before(outer, &core, conf)?;
        self.note_kept(main, &core, conf)?;
        main.has_sources |= self.has_sources();
        main.has_subrequests |= self.neighbours.sends_subrequests;
        main.ways.note(self.passage(), &core);
        match self.page {
            Some((Page::Token(_), _)) => {
                main.has_token_endpoint = true;
                content::answer_with(conf, PhantomData::<Token>);
                body::limit(conf, 2 * MAX_FORM);
            }
            Some((Page::Status, _)) => content::answer_with(conf, PhantomData::<Status>),
            Some((Page::Usage, _)) => content::answer_gradually_with(conf, PhantomData::<Usage>),
            Some((Page::Health, _)) => content::answer_with(conf, PhantomData::<Health>),
            None => {}
        }
        self.note_tokens(main, core);
        Ok(())
    }
}

impl Location {
    /// What `conf::ways` looks at.
    fn passage(&self) -> Passage {
        Passage {
            space: self.settings.as_ref().map(|settings| Arc::clone(&settings.space)),
            is_unsaid: self.gate.is_none(),
            forward: self.neighbours.forward.clone(),
            auth_request: self.neighbours.auth_request().cloned(),
        }
    }

    /// Has `conf::token_locations` take note of where tokens are issued and wanted.
    fn note_tokens(&self, main: &mut Main, core: CoreLocation) {
        let Some((settings, bearer)) = self
            .settings
            .as_ref()
            .and_then(|settings| settings.bearer.as_ref().map(|bearer| (settings, bearer)))
        else {
            return;
        };
        let tokens = Tokens {
            service: Arc::clone(&bearer.service),
            prefix: settings.space.prefix.clone(),
        };
        match settings.token {
            Some(_) => main.endpoints.note_endpoint(tokens, core),
            None => main
                .endpoints
                .note_realm(&bearer.said.url, &bearer.said.position, tokens, &core),
        }
    }

    /// Has `conf::keepers` take note of what is kept of answers behind a gate.
    fn note_kept(&self, main: &mut Main, core: &CoreLocation, conf: &mut Conf<'_>) -> Result<(), String> {
        let (Some(settings), Some(forward)) = (&self.settings, &self.neighbours.forward) else {
            return Ok(());
        };
        let Some(kept) = self.neighbours.kept_by_user() else {
            return Ok(());
        };
        let keeper = Keeper {
            server: core.server,
            server_name: core.server_names.first().cloned().unwrap_or_default(),
            prefix: settings.space.prefix.clone(),
            name: kept.seen.name,
            zone: kept.zone.into(),
            key: kept.key.into(),
            registry: forward.url.clone(),
            is_users: check::leads_to_users(forward, conf),
            position: kept.seen.position.clone(),
        };
        main.keepers.note(keeper, conf)
    }

    /// Takes from the level above what is not set here. A block is for some requests of its location, and so
    /// the same thing.
    fn inherit(&mut self, outer: &Self, core: &CoreLocation) {
        self.gate = self.gate.take().or_else(|| outer.gate.clone());
        self.prefix = self.prefix.take().or_else(|| outer.prefix.clone());
        self.salt = self.salt.take().or_else(|| outer.salt.clone());
        self.own_namespace = self.own_namespace.or(outer.own_namespace);
        self.catalog = self.catalog.or(outer.catalog);
        self.v1_images = self.v1_images.or(outer.v1_images);
        self.v1_endpoint = self.v1_endpoint.take().or_else(|| outer.v1_endpoint.clone());
        self.v1_search = self.v1_search.or(outer.v1_search);
        self.passes_ns = self.passes_ns.or(outer.passes_ns);
        self.failures = self.failures.or(outer.failures);
        self.bearer = self.bearer.take().or_else(|| outer.bearer.clone());
        self.storage_hosts = self.storage_hosts.take().or_else(|| outer.storage_hosts.clone());
        self.stores = self.stores.take().or_else(|| outer.stores.clone());
        if core.is_block() && self.page.is_none() {
            self.page.clone_from(&outer.page);
        }
        self.neighbours
            .inherit(&outer.neighbours, core.is_block(), outer.is_server);
    }

    /// What handlers go by.
    fn resolve(&mut self, main: &mut Main) -> Result<Option<Settings>, String> {
        let failures = self.failures.flatten();
        let bearer = self.bearer.clone().flatten();
        if let Some((Page::Usage, _)) = self.page {
            if main.usage().is_none() {
                return Err(
                    "\"registry_auth_status usage\" needs \"registry_auth_usage\" to count by user"
                        .to_owned(),
                );
            }
            return Ok(None);
        }
        if let Some((Page::Status, _)) = self.page {
            if !main.has_zone() {
                return Err(
                    "\"registry_auth_status\" needs the zone of \"registry_auth_cache\" to count in"
                        .to_owned(),
                );
            }
            main.has_status = true;
            // A page of our own is no registry's route.
            return Ok(None);
        }
        let token = match &mut self.page {
            Some((Page::Token(endpoint), _)) => {
                endpoint.is_key_kept = main.token_keys.is_some();
                if !matches!(self.gate, Some(Gate::Realm(_))) {
                    return Err("\"registry_auth_token\" needs \"registry_auth\" to be on".to_owned());
                }
                if bearer.is_none() {
                    return Err(
                        "\"registry_auth_token\" needs \"registry_auth_bearer\", for whose service \
                         its tokens are"
                            .to_owned(),
                    );
                }
                Some(*endpoint)
            }
            _ => None,
        };
        let is_health = matches!(self.page, Some((Page::Health, _)));
        let Some(Gate::Realm(realm)) = &self.gate else {
            return if is_health {
                Err(
                    "\"registry_auth_health\" needs \"registry_auth\" to be on, as it tells whether that \
                     can decide"
                        .to_owned(),
                )
            } else {
                Ok(None)
            };
        };
        let space = main.space(self.space())?;
        if failures.is_some() && !main.has_zone() {
            return Err(
                "\"registry_auth_failures\" needs the zone of \"registry_auth_cache\" to count in".to_owned(),
            );
        }
        if bearer.is_some() && !main.has_token_key() {
            return Err(
                "\"registry_auth_bearer\" needs \"registry_auth_token_key\", or the zone of \
                 \"registry_auth_cache\" to keep \
                 a random key in"
                    .to_owned(),
            );
        }
        Ok(Some(Settings {
            realm: realm.clone(),
            space,
            routes: self.routes(),
            rules: self.rules(),
            v1_search: self.v1_search.unwrap_or(true),
            v1_endpoint: self.v1_endpoint.clone(),
            passes_ns: self.passes_ns.unwrap_or(false),
            failures,
            bearer,
            token,
            is_health,
            stores: Stores::default(),
        }))
    }

    /// Whether what is let in here may be answered from elsewhere than a registry.
    fn has_sources(&self) -> bool {
        self.settings.is_some() && (self.otherwise.is_some() || self.neighbours.has_cache())
    }

    /// `proxy_pass` behind a gate, where variables may decide with which query a request goes on.
    fn variable_url(&self, conf: &mut Conf<'_>) -> Result<Option<ComplexValue>, String> {
        let forward = self.neighbours.forward.as_ref();
        let forward = forward.filter(|forward| self.settings.is_some() && forward.is_proxy());
        match forward {
            Some(forward) if directive::may_replace_path(&forward.url) => conf
                .compile(&forward.url)
                .map(Some)
                .ok_or_else(|| "\"proxy_pass\" has variables that cannot be read".to_owned()),
            _ => Ok(None),
        }
    }

    /// Where the backends may be to which requests go from here; nowhere else do they come from a cache or a
    /// disk, either. Everywhere, where nothing is said of that.
    fn allowed(&self, conf: &mut Conf<'_>) -> AllowList {
        let forward = self.neighbours.forward.as_ref();
        let upstream = forward.and_then(|forward| directive::upstream_name(&forward.url));
        let said = upstream.and_then(|upstream| {
            peer::said_by(conf, upstream, PhantomData::<UserBackends>, |ours| {
                ours.allow.clone()
            })
        });
        said.unwrap_or_default()
    }

    fn space(&self) -> Keyspace {
        Keyspace {
            prefix: self.prefix.clone().unwrap_or_else(|| DEFAULT_PREFIX.into()),
            salt: self.salt.clone().unwrap_or_default(),
        }
    }

    fn v1_images(&self) -> V1Images {
        self.v1_images.unwrap_or(V1Images::On)
    }

    fn routes(&self) -> route::RouteOptions {
        route::RouteOptions {
            v1_images: self.v1_images() != V1Images::Off,
        }
    }

    fn rules(&self) -> policy::Rules {
        policy::Rules {
            own_namespace: self.own_namespace.unwrap_or(true),
            catalog: self.catalog.unwrap_or(true),
            public_images: self.v1_images() == V1Images::Public,
        }
    }
}

impl Location {
    /// Puts the folders before what sends the requests of the location on, where the gate is on. A location
    /// has only those whose content its requests would be sent by a registry, too.
    fn put_stores_before(
        &mut self,
        outer: &Self,
        core: &CoreLocation,
        conf: &mut Conf<'_>,
    ) -> Result<(), String> {
        // A block goes on with what answers around it.
        self.otherwise = outer.otherwise.filter(|_| core.is_block());
        let Some(settings) = self.settings.as_mut().filter(|_| self.page.is_none()) else {
            return Ok(());
        };
        let Some(folders) = self.stores.as_ref().filter(|folders| !folders.is_empty()) else {
            return Ok(());
        };
        let Some(forward) = &self.neighbours.forward else {
            return Ok(());
        };
        let registry = match self.neighbours.keeps_path {
            true => registry(forward, conf),
            false => Registry::Unknown,
        };
        let is_used = |store: &&Rc<Store>| match store.owner {
            Owner::Backends(_) => matches!(registry, Registry::Users | Registry::UsersOrFixed),
            Owner::Default => matches!(registry, Registry::Fixed | Registry::UsersOrFixed),
        };
        let used: Vec<Rc<Store>> = folders.iter().filter(is_used).cloned().collect();
        if let (Some(position), true) = (&self.stores_position, used.len() < folders.len()) {
            let (which, why) = match registry {
                Registry::Fixed => (" with \"backend=\"", "leads to no \"registry_auth_backends\""),
                Registry::Users | Registry::UsersOrFixed => (
                    " without \"backend=\"",
                    "leads to \"registry_auth_backends\" without a \"server\" of its own",
                ),
                Registry::Unknown => ("", "has variables or a URI, or is no \"proxy_pass\""),
            };
            conf.go_to(position);
            return Err(format!(
                "\"registry_auth_store\"{which} has no meaning here: \"{}\" {why}",
                forward.seen.name
            ));
        }
        if used.is_empty() {
            return Ok(());
        }
        for store in used.iter().filter(|store| store.owner == Owner::Default) {
            let (registry, position) = store
                .registry
                .get_or_init(|| (forward.url.clone(), forward.seen.position.clone()));
            if !directive::is_same_server(registry, &forward.url) {
                conf.go_to(&forward.seen.position);
                return Err(format!(
                    "\"registry_auth_store\" without \"backend=\" would be the folder of two registries, \
                     that of \"{}\" here and of the one at {position}: say it in each location for itself",
                    forward.seen.name
                ));
            }
        }
        used.iter().for_each(|store| store.is_used.set(true));
        settings.stores = Stores {
            folders: used,
            are_users: registry != Registry::Fixed,
        };
        let own = content::put_before(conf, self.otherwise, PhantomData::<Stored>);
        self.otherwise = own.or(self.otherwise);
        Ok(())
    }
}

impl Main {
    /// Warns of what only all locations together show, and takes users' registries what they may steer nginx
    /// by.
    pub fn check(&mut self, conf: &mut Conf<'_>) {
        for heeded in self.steerable.drain(..) {
            heeded.headers.add_all_that_steer();
            heeded.ssi.iter().for_each(Ssi::turn_off);
        }
        std::mem::take(&mut self.endpoints).check(conf);
        let folders = std::mem::take(&mut self.folders);
        if self.has_gate() {
            folders.check(conf);
        }
        std::mem::take(&mut self.ways).check(conf, |conf, upstream| {
            peer::is_attached_to(conf, upstream, PhantomData::<UserBackends>)
        });
    }
}

/// Where requests go from here.
fn registry(forward: &Forward, conf: &mut Conf<'_>) -> Registry {
    let balancer = PhantomData::<UserBackends>;
    match directive::upstream_name(&forward.url) {
        Some(name) if !peer::is_attached_to(conf, name, balancer) => Registry::Fixed,
        Some(name) if peer::has_own_servers(conf, name, balancer) => Registry::UsersOrFixed,
        Some(_) => Registry::Users,
        None => Registry::Unknown,
    }
}
