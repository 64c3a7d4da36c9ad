//! What does not fit together in a location, told by `nginx -t`: one location is one thing, and what a
//! registry is sent is what was decided about.
//!
//! Called while locations are merged, when all directives were read; what takes all locations to judge, the
//! addresses of token endpoints, is judged by [`TokenLocations::check`] after that. An error refuses what
//! opens the gate; a warning tells of what may be meant.

use std::marker::PhantomData;
use std::sync::Arc;

use registry_auth::directive::{self, EndpointUrl};

use super::neighbours::{Forward, Neighbours, Seen};
use super::{Location, Main, Page, Realm, TokenLocation, TokenLocations};
use crate::ffi::conf::{Conf, CoreLocation, Kind};
use crate::ffi::peer;
use crate::upstream::UserBackends;

/// Refuses a location that is two things at once.
pub fn one_thing(
    location: &Location,
    core: &CoreLocation,
    main: &mut Main,
    conf: &mut Conf<'_>,
) -> Result<(), String> {
    let Some((kind, place)) = &location.page else {
        return gate(location, core, main, conf);
    };
    let page = kind.directive();
    let others = &location.neighbours;
    let returns = others.returns.as_ref().filter(|_| core.kind != Kind::If);
    if let Some(other) = others.answers.as_ref().or(returns) {
        conf.go_to(&other.place);
        return Err(format!(
            "\"{}\" and \"{page}\" ({place}) cannot stand in one location: each of them answers its requests",
            other.name
        ));
    }
    if core.is_taken {
        conf.go_to(place);
        return Err(format!(
            "\"{page}\" cannot stand in one location with another directive that answers its requests"
        ));
    }
    if let (Page::Status, Some(gate)) = (kind, &location.gate_place) {
        conf.go_to(gate);
        return Err(format!(
            "\"registry_auth\" and \"{page}\" ({place}) cannot stand in one location: the page asks nobody \
             for a password; say by \"allow\" and \"deny\" who may see it"
        ));
    }
    if core.name.starts_with(b"/v2/") || core.name.starts_with(b"/v1/") {
        conf.warn_at(
            place,
            &format_args!(
                "\"{page}\" takes a path from the registry's API: choose one outside of /v1/ and /v2/"
            ),
        );
    }
    Ok(())
}

/// Looks at what a gated location forwards.
fn gate(
    location: &Location,
    core: &CoreLocation,
    main: &mut Main,
    conf: &mut Conf<'_>,
) -> Result<(), String> {
    if location.settings.is_none() {
        ungated(location, core, conf);
        return Ok(());
    }
    let others = &location.neighbours;
    if let (Some(returns), Some(_), true) = (
        &others.returns,
        &location.gate_place,
        matches!(core.kind, Kind::Exact | Kind::Prefix | Kind::Regex | Kind::Named),
    ) {
        conf.warn_at(
            &returns.place,
            &"\"return\" answers before \"registry_auth\" of this location asks for a password",
        );
    }
    let Some(forward) = &others.forward else {
        return Ok(());
    };
    let Seen { name, place } = &forward.seen;
    main.has_variable_target |= if forward.is_proxy() {
        directive::may_replace_path(&forward.url)
    } else {
        others.sends_target()
    };
    if let (Some(method), false) = (others.method(), core.is_internal) {
        conf.go_to(&method.place);
        return Err(format!(
            "\"{}\" gives the registry behind \"{name}\" ({place}) another method than the one that \
             \"registry_auth\" decides about",
            method.name
        ));
    }
    kept(forward, others, conf)?;
    parameters(forward, others, core, conf)?;
    let is_target_sent = if forward.is_proxy() {
        directive::sends_request_uri(&forward.url)
    } else {
        others.sends_target()
    };
    if others.is_rewritten && is_target_sent && main.path_told.as_ref() != Some(place) {
        main.path_told = Some(place.clone());
        conf.warn_at(
            place,
            &format_args!(
                "\"$request_uri\" in \"{}\" is not the path that \"rewrite\" has made and \"registry_auth\" \
                 decides about: leave it out",
                forward.target_directive()
            ),
        );
    }
    // Told once for a location, not again for each block in it.
    if core.is_block() && location.is_within_gate {
        return Ok(());
    }
    if forward.is_proxy() && directive::replaces_path(&forward.url) {
        conf.warn_at(
            place,
            &"\"proxy_pass\" with a URI sends another path on than the one that \"registry_auth\" decides \
              about: leave out the URI, with its slash",
        );
    }
    if let (Some((parameter, which)), false) = (others.path(), core.is_internal) {
        conf.warn_at(
            &parameter.seen.place,
            &format_args!(
                "\"{}\" with \"{which}\" sends another path on than the one that \"registry_auth\" decides \
                 about",
                parameter.seen.name
            ),
        );
    }
    let is_header_sent = others.sends_authorization() && !core.is_internal;
    if is_header_sent && !main.header_told.contains(name) {
        main.header_told.push(name);
        conf.warn_at(
            place,
            &format_args!(
                "\"{name}\" sends the password on to the registry: '{}' keeps it here",
                forward.remedy()
            ),
        );
    }
    Ok(())
}

/// Refuses parameters with which a user's registry gets another path or query than the one that is decided
/// about: unlike the target that `proxy_pass` sends, they are not compared when a request goes on.
fn parameters(
    forward: &Forward,
    others: &Neighbours,
    core: &CoreLocation,
    conf: &mut Conf<'_>,
) -> Result<(), String> {
    let Some((parameter, which)) = others.path() else {
        return Ok(());
    };
    if core.is_internal || !leads_to_users(forward, conf) {
        return Ok(());
    }
    conf.go_to(&parameter.seen.place);
    Err(format!(
        "\"{}\" with \"{which}\" and \"{}\" gives a user's registry (\"registry_auth_backends\") another \
         path than the one that \"registry_auth\" decides about: leave it as in nginx's own file of \
         parameters",
        parameter.seen.name, parameter.value
    ))
}

/// Whether users' registries are where it leads to, or may be.
fn leads_to_users(forward: &Forward, conf: &mut Conf<'_>) -> bool {
    match directive::upstream_name(&forward.url) {
        Some(upstream) => peer::is_attached_to(conf, upstream, PhantomData::<UserBackends>),
        None => peer::is_attached(conf, PhantomData::<UserBackends>),
    }
}

/// Warns of a way to the registries for which nobody has said whether there is a gate.
fn ungated(location: &Location, core: &CoreLocation, conf: &mut Conf<'_>) {
    let Some(forward) = location.neighbours.forward.as_ref() else {
        return;
    };
    let is_entered = matches!(core.kind, Kind::Exact | Kind::Prefix | Kind::Regex) && !core.is_internal;
    let leads_to_users = directive::upstream_name(&forward.url)
        .is_some_and(|upstream| peer::is_attached_to(conf, upstream, PhantomData::<UserBackends>));
    if location.gate.is_none() && is_entered && leads_to_users {
        conf.warn_at(
            &forward.seen.place,
            &format_args!(
                "\"{}\" leads to \"registry_auth_backends\" without \"registry_auth\": everybody gets in \
                 (say \"registry_auth off\" where that is meant)",
                forward.seen.name
            ),
        );
    }
}

/// Refuses what would serve to all users what the registry of one has answered.
fn kept(forward: &Forward, others: &Neighbours, conf: &mut Conf<'_>) -> Result<(), String> {
    let Some(Seen { name, place }) = others.kept_blindly() else {
        return Ok(());
    };
    if !leads_to_users(forward, conf) {
        return Ok(());
    }
    let remedy = match name.strip_suffix("_cache") {
        Some(module) => format!("let \"{module}_cache_key\" begin with \"$registry_auth_user \""),
        None => "let its path have \"/$registry_auth_user/\" in front of the request's".to_owned(),
    };
    let message = format!(
        "\"{name}\" keeps for everybody what the registry of one user has answered \
         (\"registry_auth_backends\"): {remedy}"
    );
    match directive::upstream_name(&forward.url) {
        Some(_) => {
            conf.go_to(place);
            Err(message)
        }
        // Which registries the variables choose is seen when they do.
        None => {
            conf.warn_at(place, &message);
            Ok(())
        }
    }
}

impl TokenLocations {
    /// Takes note of a gated location that accepts tokens.
    pub fn note(&mut self, location: &Location, core: CoreLocation) {
        let (Some(settings), Some(said)) = (&location.settings, &location.bearer_said) else {
            return;
        };
        let Some(bearer) = &settings.bearer else {
            return;
        };
        if settings.token.is_some() {
            if !core.is_block() {
                self.endpoints.push(TokenLocation {
                    kind: core.kind,
                    name: core.name,
                    server: core.server,
                    server_names: core.server_names,
                    service: Arc::clone(&bearer.service),
                    prefix: settings.space.prefix.clone(),
                });
            }
            return;
        }
        let Ok(url) = EndpointUrl::parse(&said.url) else {
            return;
        };
        let is_this_server = || core.server_names.iter().any(|name| is_named(name, url.host));
        if url.path.contains('$') || !url.is_own_host() && !is_this_server() {
            return;
        }
        let realm = Realm {
            place: said.place.clone(),
            host: url.host.into(),
            path: url.path.into(),
            is_own_host: url.is_own_host(),
            server: core.server,
            service: Arc::clone(&bearer.service),
            prefix: settings.space.prefix.clone(),
        };
        if !self.realms.contains(&realm) {
            self.realms.push(realm);
        }
    }

    /// Warns of addresses on a server of this configuration at which no token is to be had, or none that is
    /// good where clients were sent away.
    pub fn check(&self, conf: &mut Conf<'_>) {
        for realm in &self.realms {
            let here: Vec<&TokenLocation> = self
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.is_for(realm))
                .collect();
            let is_good = |endpoint: &&TokenLocation| {
                endpoint.service == realm.service && endpoint.prefix == realm.prefix
            };
            if here.iter().any(is_good) {
                continue;
            }
            let Realm {
                host, path, service, ..
            } = realm;
            let why = if here.is_empty() {
                format!(
                    "\"registry_auth_bearer\" sends clients to {host}{path}, and no location with \
                     \"registry_auth_token\" has this path"
                )
            } else {
                format!(
                    "\"registry_auth_bearer\" sends clients to {host}{path}, whose tokens are for \
                     another service or prefix than \"{service}\" and \"{}\" here",
                    realm.prefix
                )
            };
            conf.warn_at(&realm.place, &why);
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
            Kind::Exact => *self.name == *path,
            Kind::Prefix => path.starts_with(&self.name),
            // Which paths an expression, or a redirect to a name, leads here is not known.
            Kind::Regex | Kind::Named => true,
            Kind::If | Kind::LimitExcept | Kind::Server => false,
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
