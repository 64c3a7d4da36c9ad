//! What tokens are asked for and issued for: the resource scopes of distribution's token specification
//! (`docs/spec/auth/scope.md`), such as `repository:team/app:pull,push`.
//!
//! Parsed from requests to the token endpoint, granted by `policy::grant`, carried by `token`, compared by
//! `policy::decide`. Invariant: an [`Access`] holds no more than was granted; its names are whole names,
//! never patterns.

use crate::name::RepositoryName;
use crate::route::need::{Mount, Need, Route};
use crate::scope::{Action, Actions};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt::Write;

/// One resource that a token is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// `repository:<name>:<actions>`
    Repository(RepositoryName<'a>, Actions),
    /// `registry:catalog:*`
    Catalog,
    /// `registry:images:<actions>`: our own name for V1's images, which belong to no repository.
    Images(Actions),
}

impl<'a> Resource<'a> {
    /// Parses one resource scope. The class in `repository(plugin)` and unknown actions are ignored. `None`
    /// for a resource that no user can have a right to: it is not granted.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let kind = match kind.split_once('(') {
            Some((kind, class)) if class.ends_with(')') => kind,
            _ => kind,
        };
        let actions = known_actions(actions)?;
        match (kind, name) {
            ("repository", name) => {
                let name = RepositoryName::parse(name.as_bytes()).ok()?;
                Some(Self::Repository(name, actions))
            }
            ("registry", "catalog") if actions == Actions::ALL => Some(Self::Catalog),
            ("registry", "images") => Some(Self::Images(actions)),
            _ => None,
        }
    }
}

/// The known actions of a list.
fn known_actions(list: &str) -> Option<Actions> {
    let mut known = None;
    for word in list.split(',') {
        if let Ok(actions) = Actions::parse(word) {
            known = Some(actions.iter().fold(known.unwrap_or(actions), Actions::with));
        }
    }
    known
}

/// What a token was issued for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    repositories: Vec<(Box<str>, Actions)>,
    /// Whether the catalogue may be read.
    pub catalog: bool,
    images: Option<Actions>,
}

impl Access {
    /// Adds an action on a repository.
    pub fn add(&mut self, repository: &RepositoryName<'_>, action: Action) {
        let name = repository.as_str();
        match self.repositories.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, actions)) => *actions = actions.with(action),
            None => self.repositories.push((name.into(), Actions::only(action))),
        }
    }

    /// Adds an action on V1's images.
    pub fn add_images(&mut self, action: Action) {
        self.images = Some(
            self.images
                .map_or(Actions::only(action), |actions| actions.with(action)),
        );
    }

    /// Whether it includes the action on the repository of this name.
    pub fn covers(&self, name: &[u8], action: Action) -> bool {
        self.repositories
            .iter()
            .any(|(known, actions)| known.as_bytes() == name && actions.contains(action))
    }

    /// The number of bytes that it takes in a token, at most.
    pub fn size(&self) -> usize {
        const AROUND: usize = r#"{"type":"repository","name":"","actions":["pull","push","delete"]},"#.len();
        let names = self.repositories.iter().map(|(name, _)| name.len());
        // The catalogue and the images have shorter names.
        let others = usize::from(self.catalog) + usize::from(self.images.is_some());
        names.map(|name| name + AROUND).sum::<usize>() + others * (AROUND + "catalog".len())
    }

    /// About how many bytes of memory it has allocated.
    pub fn room(&self) -> usize {
        let names = self.repositories.iter().map(|(name, _)| name.len() + 16);
        self.repositories.capacity() * size_of::<(Box<str>, Actions)>() + names.sum::<usize>()
    }

    /// Whether it includes the action on V1's images.
    pub fn covers_images(&self, action: Action) -> bool {
        self.images.is_some_and(|actions| actions.contains(action))
    }
}

/// One element of the claim `access` (distribution `docs/spec/auth/jwt.md`).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceActions {
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    name: Box<str>,
    actions: Vec<Cow<'static, str>>,
}

impl Access {
    /// The elements of the claim.
    pub(crate) fn to_entries(&self) -> Vec<ResourceActions> {
        let entry = |kind, name: &str, actions: Actions| ResourceActions {
            kind: Cow::Borrowed(kind),
            name: name.into(),
            actions: actions.iter().map(|action| action.as_str().into()).collect(),
        };
        let repositories = self
            .repositories
            .iter()
            .map(|(name, actions)| entry("repository", name, *actions));
        let images = self.images.map(|actions| entry("registry", "images", actions));
        let catalog = self.catalog.then(|| ResourceActions {
            kind: "registry".into(),
            name: "catalog".into(),
            actions: vec!["*".into()],
        });
        repositories.chain(images).chain(catalog).collect()
    }

    /// The access of these elements; `None` where one is unknown.
    pub(crate) fn from_entries(entries: &[ResourceActions]) -> Option<Self> {
        let mut access = Self::default();
        for ResourceActions { kind, name, actions } in entries {
            let actions = Actions::parse(&actions.join(",")).ok()?;
            match (&**kind, &**name) {
                ("repository", name) => {
                    let name = RepositoryName::parse(name.as_bytes()).ok()?;
                    actions.iter().for_each(|action| access.add(&name, action));
                }
                ("registry", "catalog") => access.catalog = true,
                ("registry", "images") => actions.iter().for_each(|action| access.add_images(action)),
                _ => return None,
            }
        }
        Some(access)
    }
}

/// The `scope` of the challenge to a request of this route: what the client has to ask a token for. Empty
/// where any token will do. For a push it includes pull, as distribution's does (`registry/handlers/app.go`,
/// `appendAccessRecords`).
pub fn scope_of(route: &Route<'_>) -> String {
    let mut scope = String::new();
    let written = match &route.need {
        Need::Nothing | Need::Login | Need::Unknown(_) => Ok(()),
        Need::Catalog | Need::Search => write!(scope, "registry:catalog:*"),
        Need::Images(action) => write!(scope, "registry:images:{action}"),
        Need::Existence(repository) => write!(scope, "repository:{repository}:pull"),
        Need::Repository(needed) => {
            let actions = match needed.action {
                Action::Push => "pull,push",
                action => action.as_str(),
            };
            write!(scope, "repository:{}:{actions}", needed.repository)
        }
    };
    let written = written.and_then(|()| match &route.mount {
        Mount::From(other) => write!(scope, " repository:{other}:pull"),
        Mount::Absent | Mount::Strip => Ok(()),
    });
    // Writing to a string does not fail.
    written.map_or_else(|_| String::new(), |()| scope)
}
