//! `registry_auth_store`: the folders of registries, and in which locations they are used.
//!
//! Filled by `conf::read` and `conf::merge`; `request::stored` sends what lies in them.

use std::cell::OnceCell;
use std::rc::Rc;

use registry_auth::blob::{Layout, Owner};

use crate::ffi::conf::FilePosition;

/// The folder of a registry.
#[derive(Debug)]
pub struct Store {
    /// Its path, without a slash at its end.
    pub path: Box<[u8]>,
    /// Whose requests go to that registry.
    pub owner: Owner,
    /// How it is laid out.
    pub layout: Layout,
    /// The registry that has it, where nginx.conf alone names that: by the first location that uses it.
    pub(super) registry: OnceCell<(Box<[u8]>, FilePosition)>,
}

/// The folders that are used in a location.
#[derive(Clone, Default)]
pub struct Stores {
    pub(super) folders: Vec<Rc<Store>>,
    pub(super) are_users: bool,
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
