//! A route: the right that a request needs, and what becomes of its query.
//!
//! Made by `route::parse`, read by `policy` and by the nginx module.

use crate::name::RepositoryName;
use crate::scope::{Action, Scope};

/// The API a route belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// The OCI distribution API.
    V2,
    /// The API of docker-archive/docker-registry.
    V1,
    /// V1's `/_ping` and `/v1/_ping`.
    Ping,
}

/// What a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need<'a> {
    /// Nothing: open to everybody.
    Nothing,
    /// Any verified user.
    Login,
    /// Any verified user; the answer is to be filtered.
    Catalog,
    /// V1's search: any verified user; the answer is to be filtered.
    Search,
    /// Any verified user: V1 images belong to no repository.
    Images(Action),
    /// A right on a repository.
    Repository(Scope<'a>),
    /// The right to pull from a repository, or to push to it: whether it has a manifest or a blob. Clients ask so before
    /// they push either.
    Existence(RepositoryName<'a>),
    /// Any verified user, who then learns that there is no such thing: the path is canonical, but no registry can have
    /// what it names.
    Unknown(Unknown),
}

/// What no registry can have, since its name is illegal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// A repository.
    Name,
    /// A manifest.
    Manifest,
    /// A blob.
    Blob,
}

/// What becomes of the query parameters `mount` and `from` (end-11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount<'a> {
    /// There are none: the query goes on as it is.
    Absent,
    /// They go in any case: the query must be rewritten with [`mount::strip`](crate::route::mount::strip).
    Strip,
    /// They stay if the sender may pull from this repository, else they go.
    From(RepositoryName<'a>),
}

/// A request that the table knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Its API.
    pub api: Api,
    /// The right it needs.
    pub need: Need<'a>,
    /// Its cross-repository mount.
    pub mount: Mount<'a>,
    /// Whether it goes on with an upload that has begun.
    pub is_upload: bool,
    /// Whether its query may name the registry that a mirror is to ask ([`mount::NS`](crate::route::mount::NS)).
    pub names_mirrored: bool,
}

impl<'a> Route<'a> {
    pub(super) fn new(api: Api, need: Need<'a>) -> Self {
        Self {
            api,
            need,
            mount: Mount::Absent,
            is_upload: false,
            names_mirrored: false,
        }
    }

    /// The repository, where the route has one (`$registry_auth_repository`).
    pub fn repository(&self) -> Option<&RepositoryName<'a>> {
        match &self.need {
            Need::Repository(scope) => Some(&scope.repository),
            Need::Existence(repository) => Some(repository),
            Need::Nothing
            | Need::Login
            | Need::Catalog
            | Need::Search
            | Need::Images(_)
            | Need::Unknown(_) => None,
        }
    }

    /// The action, where the route has one (`$registry_auth_action`).
    pub fn action(&self) -> Option<Action> {
        match &self.need {
            Need::Repository(scope) => Some(scope.action),
            Need::Images(action) => Some(*action),
            Need::Existence(_) => Some(Action::Pull),
            Need::Nothing | Need::Login | Need::Catalog | Need::Search | Need::Unknown(_) => None,
        }
    }
}
