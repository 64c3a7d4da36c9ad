//! Caches that several servers share: by a key that names the user, whoever has that name at another server
//! gets the same answer.
//!
//! Filled by `conf::merge` with each location behind a gate, and judged at once.

use registry_auth::directive;

use crate::ffi::conf::{Conf, FilePosition};

/// The locations behind gates that keep answers by user.
#[derive(Default)]
pub(super) struct Keepers {
    all: Vec<Keeper>,
    /// The position of the directive that was warned of last.
    warned: Option<FilePosition>,
}

/// One of them.
pub(super) struct Keeper {
    /// Which server it is of.
    pub server: usize,
    /// The first of its names, which is `$server_name`; empty where it has none.
    pub server_name: Box<[u8]>,
    /// The prefix of its accounts.
    pub prefix: Box<str>,
    /// What keeps the answers: `proxy_cache`, `proxy_store` or one of their kind.
    pub name: &'static str,
    /// The name of the cache; empty of files.
    pub zone: Box<[u8]>,
    /// The key, or the path of a file, as it is written.
    pub key: Box<[u8]>,
    /// Where requests go.
    pub registry: Box<[u8]>,
    /// Whether that is to users' registries.
    pub is_users: bool,
    /// Where that is said.
    pub position: FilePosition,
}

impl Keepers {
    /// Takes note of a location. An error where users of other accounts would get its answers; a warning
    /// where the same users would, who have another registry here.
    pub(super) fn note(&mut self, keeper: Keeper, conf: &mut Conf<'_>) -> Result<(), String> {
        let mut others = self.all.iter().filter(|other| other.is_mixed_up_with(&keeper));
        if let Some(other) = others.clone().find(|other| other.prefix != keeper.prefix) {
            conf.go_to(&keeper.position);
            return Err(format!(
                "\"{}\" keeps what registries have answered to users of the accounts \"{}\", and by the \
                 same key to those of \"{}\" ({}): let the key begin with \"$server_name \", of servers \
                 with different names, or take two caches",
                keeper.name, keeper.prefix, other.prefix, other.position
            ));
        }
        if let Some(other) = others
            .next()
            .filter(|_| self.warned.as_ref() != Some(&keeper.position))
        {
            self.warned = Some(keeper.position.clone());
            conf.warn_at(
                &keeper.position,
                &format_args!(
                    "\"{}\" keeps the answers of two registries by the same key, that of \"{}\" here and of \
                     \"{}\" ({}): let the key begin with \"$proxy_host \"",
                    keeper.name,
                    String::from_utf8_lossy(&keeper.registry),
                    String::from_utf8_lossy(&other.registry),
                    other.position
                ),
            );
        }
        self.all.push(keeper);
        Ok(())
    }
}

impl Keeper {
    /// Whether one may be served what the other has kept, though its registry may have another answer. Not
    /// within a server, whose locations have different paths.
    fn is_mixed_up_with(&self, other: &Self) -> bool {
        let is_same_key = self.server != other.server && self.zone == other.zone && self.key == other.key;
        let are_apart = directive::tells_server(&self.key) && self.server_name != other.server_name;
        if !is_same_key || are_apart {
            return false;
        }
        match directive::is_same_server(&self.registry, &other.registry) {
            true => self.is_users && self.prefix != other.prefix,
            false => !directive::tells_upstream(&self.key),
        }
    }
}
