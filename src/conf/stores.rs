//! `registry_auth_store`: the folders of registries, and in which locations they are used.
//!
//! Filled by `conf::read` and `conf::merge`; `request::stored` sends what lies in them.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use registry_auth::blob::{Layout, Owner};

use crate::ffi::conf::{Conf, FilePosition};

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
    /// Where the directive stands.
    pub(super) position: FilePosition,
    /// Whether some location uses it.
    pub(super) is_used: Cell<bool>,
}

/// All folders, until it was checked whether each is used.
#[derive(Default)]
pub struct Folders(Vec<Rc<Store>>);

impl Folders {
    /// Takes note of those of a location, which others may have, too.
    pub(super) fn note(&mut self, folders: &[Rc<Store>]) {
        for folder in folders {
            if !self.0.iter().any(|known| Rc::ptr_eq(known, folder)) {
                self.0.push(Rc::clone(folder));
            }
        }
    }

    /// Warns of each that is used nowhere: all its blobs come from the registry, without a sign.
    pub(super) fn check(self, conf: &mut Conf<'_>) {
        for folder in self.0.iter().filter(|folder| !folder.is_used.get()) {
            let where_to = match folder.owner {
                Owner::Default => {
                    "a registry that nginx.conf names; that of users' backends is named by \
                     \"backend=host:port\""
                }
                Owner::Backends(_) => "\"registry_auth_backends\"",
            };
            conf.warn_at(
                &folder.position,
                &format_args!(
                    "\"registry_auth_store\" is used in no location: none with a gate in which it holds \
                     leads to {where_to}"
                ),
            );
        }
    }
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
