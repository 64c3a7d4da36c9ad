//! Ways past a gate that only all locations of a server together show; `nginx -t` warns of them.
//!
//! Filled by `conf::merge` with each location, and checked after the last one.

use std::sync::Arc;

use registry_auth::directive;
use registry_auth_lookup::Keyspace;

use super::neighbours::Forward;
use crate::ffi::conf::{Conf, CoreLocation, FilePosition, LocationKind};

/// The locations of a configuration, as far as they lead past each other.
#[derive(Default)]
pub(super) struct Ways(Vec<Way>);

/// One location.
struct Way {
    kind: LocationKind,
    name: Box<[u8]>,
    server: usize,
    /// Whose accounts its gate has; `None` where it is off.
    space: Option<Arc<Keyspace>>,
    /// Whether nobody has said whether there is a gate.
    is_unsaid: bool,
    /// Whether a client may enter it.
    is_entered: bool,
    forward: Option<Forward>,
    auth_request: Option<(Box<[u8]>, FilePosition)>,
    /// Where error_page leads those whom a gate refuses.
    refused_to: Box<[Box<[u8]>]>,
}

/// What leads in and on at a location.
pub(super) struct Passage {
    /// Whose accounts it has; `None` where it is off.
    pub space: Option<Arc<Keyspace>>,
    /// Whether nobody has said whether there is one.
    pub is_unsaid: bool,
    /// Where requests are forwarded to.
    pub forward: Option<Forward>,
    /// `auth_request`, and where it stands.
    pub auth_request: Option<(Box<[u8]>, FilePosition)>,
}

impl Ways {
    /// Takes note of a location.
    pub(super) fn note(&mut self, passage: Passage, core: &CoreLocation) {
        if core.is_block() {
            return;
        }
        let is_entered = matches!(
            core.kind,
            LocationKind::Exact | LocationKind::Prefix | LocationKind::Regex
        ) && !core.is_internal;
        self.0.push(Way {
            kind: core.kind,
            name: core.name.clone(),
            server: core.server,
            space: passage.space,
            is_unsaid: passage.is_unsaid,
            is_entered,
            forward: passage.forward,
            auth_request: passage.auth_request,
            refused_to: refused_to(core),
        });
    }

    /// Warns of what opens a gate, or would if requests that come by it were not refused. `is_users` says
    /// whether an upstream of this name leads to users' registries.
    pub(super) fn check(&self, conf: &mut Conf<'_>, is_users: impl Fn(&mut Conf<'_>, &[u8]) -> bool) {
        self.auth_requests(conf);
        self.refused(conf, &is_users);
        self.same_registries(conf, is_users);
    }

    /// Warns where error_page leads those whom a gate refuses to its registry, or to users' registries, and
    /// nobody has said whether there is a gate.
    fn refused(&self, conf: &mut Conf<'_>, is_users: impl Fn(&mut Conf<'_>, &[u8]) -> bool) {
        let mut warned: Vec<&FilePosition> = Vec::new();
        for way in self.0.iter().filter(|way| way.space.is_some()) {
            for to in &way.refused_to {
                let found = match to.first() {
                    Some(b'@') => self.of_name(way.server, to),
                    _ => self.of_path(way.server, to),
                };
                let found = found.filter(|to| to.is_unsaid);
                let Some(forward) = found.and_then(|to| to.forward.as_ref()) else {
                    continue;
                };
                let is_same = way
                    .forward
                    .as_ref()
                    .is_some_and(|own| is_same_target(own, forward));
                let name = directive::upstream_name(&forward.url);
                let position = &forward.seen.position;
                let is_registry = is_same || name.is_some_and(|name| is_users(conf, name));
                if !is_registry || warned.contains(&position) {
                    continue;
                }
                warned.push(position);
                conf.warn_at(
                    position,
                    &format_args!(
                        "\"error_page\" leads those whom \"registry_auth\" refuses here, where \"{}\" leads \
                         to a registry without it: everybody gets in (say \"registry_auth off\" where that \
                         is meant)",
                        forward.seen.name
                    ),
                );
            }
        }
    }

    /// The location of a name.
    fn of_name(&self, server: usize, name: &[u8]) -> Option<&Way> {
        let mut here = self.0.iter().filter(|way| way.server == server);
        here.find(|way| way.kind == LocationKind::Named && *way.name == *name)
    }

    /// Warns where auth_request of a location asks one whose gate the request has not passed by then: the
    /// subrequest is refused.
    fn auth_requests(&self, conf: &mut Conf<'_>) {
        let mut warned: Vec<&FilePosition> = Vec::new();
        for way in &self.0 {
            let Some((path, position)) = &way.auth_request else {
                continue;
            };
            let Some(asked) = self.of_path(way.server, path) else {
                continue;
            };
            let is_asked_itself = std::ptr::eq(asked, way);
            // In a server{} it is for the locations, each of which is here.
            let is_one = way.kind != LocationKind::Server && !is_asked_itself;
            if is_one && asked.space.is_some() && way.space != asked.space && !warned.contains(&position) {
                warned.push(position);
                conf.warn_at(
                    position,
                    &"\"auth_request\" leads to a location with \"registry_auth\", which asks no subrequest \
                      for a password, and refuses those of requests that have not passed it: use \
                      \"auth_basic\" or the like here",
                );
            }
        }
    }

    /// The location that a path leads to, where no expression takes it.
    fn of_path(&self, server: usize, path: &[u8]) -> Option<&Way> {
        if directive::has_variable(path) {
            return None;
        }
        let path = path.split(|byte| *byte == b'?').next()?;
        let here = || self.0.iter().filter(|way| way.server == server);
        let exact = here().find(|way| way.kind == LocationKind::Exact && *way.name == *path);
        exact.or_else(|| {
            here()
                .filter(|way| way.kind == LocationKind::Prefix && path.starts_with(&way.name))
                .max_by_key(|way| way.name.len())
        })
    }

    /// Warns of a way to a registry that is behind a gate elsewhere in the server, where nobody has said
    /// whether there is one. Of a way to users' registries `conf::check` warns.
    fn same_registries(&self, conf: &mut Conf<'_>, is_users: impl Fn(&mut Conf<'_>, &[u8]) -> bool) {
        let mut warned: Vec<&FilePosition> = Vec::new();
        for open in self.0.iter().filter(|way| way.is_unsaid && way.is_entered) {
            let Some(forward) = &open.forward else {
                continue;
            };
            let name = directive::upstream_name(&forward.url);
            if name.is_some_and(|name| is_users(conf, name)) {
                continue;
            }
            let is_same = |way: &&Way| {
                let to = way.forward.as_ref().filter(|_| way.space.is_some());
                way.server == open.server && to.is_some_and(|to| is_same_target(to, forward))
            };
            let gated = self.0.iter().find(is_same).and_then(|way| way.forward.as_ref());
            if let Some(gated) = gated
                && !warned.contains(&&forward.seen.position)
            {
                warned.push(&forward.seen.position);
                conf.warn_at(
                    &forward.seen.position,
                    &format_args!(
                        "\"{}\" leads to the registry of a location with \"registry_auth\" ({}) without it: \
                         everybody gets in (say \"registry_auth off\" where that is meant)",
                        forward.seen.name, gated.seen.position
                    ),
                );
            }
        }
    }
}

/// Where `error_page` leads those whom a gate refuses.
fn refused_to(core: &CoreLocation) -> Box<[Box<[u8]>]> {
    let pages = core.error_pages.iter();
    pages
        .filter(|(status, _)| matches!(status, 401 | 403))
        .map(|(_, to)| to.clone())
        .collect()
}

/// Whether both lead to the same upstream, which no variable chooses.
fn is_same_target(one: &Forward, other: &Forward) -> bool {
    let name = directive::upstream_name(&one.url);
    name.is_some() && name == directive::upstream_name(&other.url)
}
