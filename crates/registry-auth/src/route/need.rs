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

/// The right that a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need<'a> {
    /// Nothing: open to everybody.
    Nothing,
    /// Any verified user.
    Login,
    /// Any verified user. The caller must filter the answer.
    Catalog,
    /// V1's search: any verified user. The caller must filter the answer.
    Search,
    /// Any verified user: V1 images belong to no repository.
    Images(Action),
    /// A right on a repository.
    Repository(Scope<'a>),
    /// The right to pull from a repository or to push to it: the request asks whether the repository has a
    /// manifest or a blob, as clients do before they push.
    Existence(RepositoryName<'a>),
    /// Any verified user, who gets a 404: the path is canonical, but no registry can have what it names.
    Unknown(Unknown),
}

/// What no registry can have, because its name is illegal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// A repository.
    Name,
    /// A manifest.
    Manifest,
    /// A blob.
    Blob,
}

/// What happens to the query parameters `mount` and `from` of a request that starts an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount<'a> {
    /// There are none: the query is forwarded as it is.
    Absent,
    /// They are removed in any case: the caller must rewrite the query with
    /// [`mount::strip`](crate::route::mount::strip).
    Strip,
    /// They are kept if the user may pull from this repository, and removed otherwise.
    From(RepositoryName<'a>),
}

/// The route of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Its API.
    pub api: Api,
    /// The right it needs.
    pub need: Need<'a>,
    /// Its cross-repository mount.
    pub mount: Mount<'a>,
    /// Whether the request continues an upload.
    pub is_upload: bool,
    /// Whether the query may name the registry that a mirror is to ask
    /// ([`mount::NS`](crate::route::mount::NS)).
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
