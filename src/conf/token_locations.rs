//! Whether clients find a token endpoint where `registry_auth_bearer` sends them, and one whose tokens are
//! good where they came from; where not, `nginx -t` warns.
//!
//! Filled by `conf::merge` with each location, and checked after the last one: an endpoint may stand in
//! another server than the location that names it.

use std::sync::Arc;

use registry_auth::directive::EndpointUrl;

use crate::ffi::conf::{Conf, CoreLocation, FilePosition, LocationKind};

/// The token endpoints of a configuration, and where clients are sent to for tokens.
#[derive(Default)]
pub(super) struct TokenLocations {
    endpoints: Vec<TokenLocation>,
    realms: Vec<Realm>,
}

/// A location with `registry_auth_token`.
struct TokenLocation {
    kind: LocationKind,
    name: Box<[u8]>,
    server: usize,
    server_names: Box<[Box<[u8]>]>,
    tokens: Tokens,
}

/// What tokens are for.
#[derive(PartialEq, Eq)]
pub(super) struct Tokens {
    /// Their audience.
    pub service: Arc<str>,
    /// The prefix of the accounts.
    pub prefix: Box<str>,
}

/// A `registry_auth_bearer` that is in use in some server.
#[derive(PartialEq, Eq)]
struct Realm {
    position: FilePosition,
    /// Where the endpoint is said to be: on which host, and with which path.
    host: Box<str>,
    path: Box<str>,
    is_own_host: bool,
    server: usize,
    tokens: Tokens,
}

impl TokenLocations {
    /// Takes note of a token endpoint.
    pub(super) fn note_endpoint(&mut self, tokens: Tokens, core: CoreLocation) {
        if !core.is_block() {
            self.endpoints.push(TokenLocation {
                kind: core.kind,
                name: core.name,
                server: core.server,
                server_names: core.server_names,
                tokens,
            });
        }
    }

    /// Takes note of a gated location that sends clients to this address for tokens.
    pub(super) fn note_realm(
        &mut self,
        url: &[u8],
        position: &FilePosition,
        tokens: Tokens,
        core: &CoreLocation,
    ) {
        let Ok(url) = EndpointUrl::parse(url) else {
            return;
        };
        let is_this_server = || core.server_names.iter().any(|name| is_named(name, url.host));
        if url.path.contains('$') || !url.is_own_host() && !is_this_server() {
            return;
        }
        let realm = Realm {
            position: position.clone(),
            host: url.host.into(),
            path: url.path.into(),
            is_own_host: url.is_own_host(),
            server: core.server,
            tokens,
        };
        if !self.realms.contains(&realm) {
            self.realms.push(realm);
        }
    }

    /// Warns of addresses on a server of this configuration at which no token is to be had, or none that is
    /// good where clients were sent away.
    pub(super) fn check(&self, conf: &mut Conf<'_>) {
        for realm in &self.realms {
            let here: Vec<&TokenLocation> = self
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.is_for(realm))
                .collect();
            let is_good = |endpoint: &&TokenLocation| endpoint.tokens == realm.tokens;
            if here.iter().any(is_good) {
                continue;
            }
            let Realm {
                host, path, tokens, ..
            } = realm;
            let why = if here.is_empty() {
                format!(
                    "\"registry_auth_bearer\" sends clients to {host}{path}, and no location with \
                     \"registry_auth_token\" has this path"
                )
            } else {
                format!(
                    "\"registry_auth_bearer\" sends clients to {host}{path}, whose tokens are for \
                     another service or prefix than \"{}\" and \"{}\" here",
                    tokens.service, tokens.prefix
                )
            };
            conf.warn_at(&realm.position, &why);
        }
    }
}

impl TokenLocation {
    /// Whether it may be the one at that address.
    fn is_for(&self, realm: &Realm) -> bool {
        let is_there = self.server == realm.server
            || !realm.is_own_host && self.server_names.iter().any(|name| is_named(name, &realm.host));
        let path = match &*realm.path {
            "" => b"/",
            path => path.as_bytes(),
        };
        let is_path = match self.kind {
            LocationKind::Exact => *self.name == *path,
            LocationKind::Prefix => path.starts_with(&self.name),
            // Which paths an expression, or a redirect to a name, leads here is not known.
            LocationKind::Regex | LocationKind::Named => true,
            LocationKind::If | LocationKind::LimitExcept | LocationKind::Server => false,
        };
        is_there && is_path
    }
}

/// Whether a server of this name is meant by a host; `*.example.com` and `.example.com` are names, too.
fn is_named(name: &[u8], host: &str) -> bool {
    let host = host.as_bytes();
    match name.strip_prefix(b"*").unwrap_or(name) {
        b"" => false,
        suffix if suffix.starts_with(b".") => {
            host.len() >= suffix.len()
                && host
                    .get(host.len() - suffix.len()..)
                    .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
                || name
                    .strip_prefix(b".")
                    .is_some_and(|name| name.eq_ignore_ascii_case(host))
        }
        name => name.eq_ignore_ascii_case(host),
    }
}
