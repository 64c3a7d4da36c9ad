//! `registry_auth_store`: the folders of registries, and in which locations they are used.
//!
//! Filled by `conf::read`; `request::stored` sends what lies in them. Invariant: a location has only those
//! folders whose content its requests would be sent by a registry, too.

use std::marker::PhantomData;
use std::rc::Rc;

use registry_auth::blob::{Layout, Owner};
use registry_auth::directive;

use super::Location;
use super::neighbours::Forward;
use crate::ffi::conf::{Conf, CoreLocation};
use crate::ffi::{content, peer};
use crate::request::stored::Stored;
use crate::upstream::UserBackends;

/// The folder of a registry.
#[derive(Debug)]
pub struct Store {
    /// Its path, without a slash at its end.
    pub path: Box<[u8]>,
    /// Whose requests go to that registry.
    pub owner: Owner,
    /// How it is laid out.
    pub layout: Layout,
}

/// The folders that are used in a location.
#[derive(Clone, Default)]
pub struct Stores {
    folders: Vec<Rc<Store>>,
    are_users: bool,
}

/// Where the requests of a location go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Registry {
    /// To the one that nginx.conf names.
    Fixed,
    /// To their users' backends, and to no other.
    Users,
    /// To their users' backends, or, where there are none, to the one that nginx.conf names.
    UsersOrFixed,
}

impl Stores {
    /// Whether requests go to their users' backends.
    pub fn are_users(&self) -> bool {
        self.are_users
    }

    /// The folder that all of these backends have; where there are none, that of the registry that nginx.conf
    /// names.
    pub fn of(&self, backends: &[&[u8]]) -> Option<&Store> {
        let has = |store: &&Rc<Store>| store.owner.has(backends.iter().copied());
        self.folders.iter().find(has).map(|store| &**store)
    }
}

impl Location {
    /// Puts the folders before what sends the requests of the location on, where the gate is on.
    pub(super) fn put_stores_before(
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
        let registry = registry(self.neighbours.forward.as_ref(), conf);
        let is_used = |store: &&Rc<Store>| match store.owner {
            Owner::Backends(_) => registry != Registry::Fixed,
            Owner::Default => registry != Registry::Users,
        };
        let used: Vec<Rc<Store>> = folders.iter().filter(is_used).cloned().collect();
        if let (Some(position), Some(forward), true) = (
            &self.stores_position,
            &self.neighbours.forward,
            used.len() < folders.len(),
        ) {
            let (which, why) = match registry {
                Registry::Fixed => ("with \"backend=\"", "leads to no \"registry_auth_backends\""),
                _ => (
                    "without \"backend=\"",
                    "leads to \"registry_auth_backends\" without a \"server\" of its own",
                ),
            };
            conf.go_to(position);
            return Err(format!(
                "\"registry_auth_store\" {which} has no meaning here: \"{}\" {why}",
                forward.seen.name
            ));
        }
        if used.is_empty() {
            return Ok(());
        }
        settings.stores = Stores {
            folders: used,
            are_users: registry != Registry::Fixed,
        };
        let own = content::put_before(conf, self.otherwise, PhantomData::<Stored>);
        self.otherwise = own.or(self.otherwise);
        Ok(())
    }
}

/// Where requests go from here.
fn registry(forward: Option<&Forward>, conf: &mut Conf<'_>) -> Registry {
    let balancer = PhantomData::<UserBackends>;
    match forward.and_then(|forward| directive::upstream_name(&forward.url)) {
        Some(name) if !peer::is_attached_to(conf, name, balancer) => Registry::Fixed,
        Some(name) if peer::has_own_servers(conf, name, balancer) => Registry::UsersOrFixed,
        Some(_) => Registry::Users,
        // What variables choose is not known yet.
        None if peer::is_attached(conf, balancer) => Registry::Users,
        None => Registry::Fixed,
    }
}
