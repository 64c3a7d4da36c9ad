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

/// What a route leads to, for those who count requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteKind {
    /// Nothing: the request is on no route.
    #[default]
    None,
    /// V1's pings.
    Ping,
    /// The check of a login, such as `/v2/`.
    Login,
    /// The token endpoint, which is no route of a registry.
    Token,
    /// The catalogue.
    Catalog,
    /// V1's search.
    Search,
    /// What no registry can have.
    Unknown,
    /// A manifest.
    Manifest,
    /// A blob.
    Blob,
    /// The upload of a blob.
    Upload,
    /// A list of tags.
    Tags,
    /// A list of referrers.
    Referrers,
    /// An extension of a registry.
    Extension,
    /// A repository of V1: its tags, and its list of images.
    Repository,
    /// An image of V1.
    Image,
}

impl RouteKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::None,
        Self::Ping,
        Self::Login,
        Self::Token,
        Self::Catalog,
        Self::Search,
        Self::Unknown,
        Self::Manifest,
        Self::Blob,
        Self::Upload,
        Self::Tags,
        Self::Referrers,
        Self::Extension,
        Self::Repository,
        Self::Image,
    ];

    /// The kind in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ping => "ping",
            Self::Login => "login",
            Self::Token => "token",
            Self::Catalog => "catalog",
            Self::Search => "search",
            Self::Unknown => "unknown",
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::Upload => "upload",
            Self::Tags => "tags",
            Self::Referrers => "referrers",
            Self::Extension => "extension",
            Self::Repository => "repository",
            Self::Image => "image",
        }
    }
}

/// The route of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Its API.
    pub api: Api,
    /// What it leads to.
    pub kind: RouteKind,
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
        let kind = match &need {
            Need::Nothing => RouteKind::Ping,
            Need::Login => RouteKind::Login,
            Need::Catalog => RouteKind::Catalog,
            Need::Search => RouteKind::Search,
            Need::Images(_) => RouteKind::Image,
            Need::Unknown(_) => RouteKind::Unknown,
            // Of the other API `v2` says more.
            Need::Repository(_) | Need::Existence(_) => RouteKind::Repository,
        };
        Self {
            api,
            kind,
            need,
            mount: Mount::Absent,
            is_upload: false,
            names_mirrored: false,
        }
    }

    /// The same route, independent of the request it was parsed from.
    #[must_use]
    pub fn into_owned(self) -> Route<'static> {
        let need = match self.need {
            Need::Repository(Scope { repository, action }) => Need::Repository(Scope {
                repository: repository.into_owned(),
                action,
            }),
            Need::Existence(repository) => Need::Existence(repository.into_owned()),
            Need::Nothing => Need::Nothing,
            Need::Login => Need::Login,
            Need::Catalog => Need::Catalog,
            Need::Search => Need::Search,
            Need::Images(action) => Need::Images(action),
            Need::Unknown(unknown) => Need::Unknown(unknown),
        };
        let mount = match self.mount {
            Mount::From(repository) => Mount::From(repository.into_owned()),
            Mount::Absent => Mount::Absent,
            Mount::Strip => Mount::Strip,
        };
        Route { need, mount, ..self }
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
