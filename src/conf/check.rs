//! What does not fit together in a location, told by `nginx -t`: one location is one thing, and what a
//! registry is sent is what was decided about.
//!
//! Called while locations are merged, when all directives were read; what takes all locations to judge is in
//! `conf::token_locations`. An error refuses what opens the gate; a warning tells of what may be meant.

use std::marker::PhantomData;

use registry_auth::directive;

use super::neighbours::{Forward, Neighbours, Seen};
use super::{Heeded, Location, Main, Page};
use crate::ffi::conf::{Conf, CoreLocation, LocationKind};
use crate::ffi::peer;
use crate::ffi::steering::{Ignored, Ssi, Unknown};
use crate::upstream::UserBackends;

/// Refuses a location that is two things at once.
pub fn one_thing(
    location: &Location,
    core: &CoreLocation,
    main: &mut Main,
    conf: &mut Conf<'_>,
) -> Result<(), String> {
    let Some((kind, position)) = &location.page else {
        return gate(location, core, main, conf);
    };
    let page = kind.directive();
    let others = &location.neighbours;
    let returns = others.returns.as_ref().filter(|_| core.kind != LocationKind::If);
    if let Some(other) = others.answers.as_ref().or(returns) {
        conf.go_to(&other.position);
        return Err(format!(
            "\"{}\" and \"{page}\" ({position}) cannot stand in one location: each of them answers its \
             requests",
            other.name
        ));
    }
    if core.is_taken {
        conf.go_to(position);
        return Err(format!(
            "\"{page}\" cannot stand in one location with another directive that answers its requests"
        ));
    }
    if let (Page::Status | Page::Usage, Some(gate)) = (kind, &location.gate_position) {
        conf.go_to(gate);
        return Err(format!(
            "\"registry_auth\" and \"{page}\" ({position}) cannot stand in one location: the page asks \
             nobody for a password; say by \"allow\" and \"deny\" who may see it"
        ));
    }
    if core.name.starts_with(b"/v2/") || core.name.starts_with(b"/v1/") {
        conf.warn_at(
            position,
            &format_args!(
                "\"{page}\" takes a path from the registry's API: choose one outside of /v1/ and /v2/"
            ),
        );
    }
    Ok(())
}

/// Has nginx heed no header by which a user's registry would steer it (`X-Accel-Redirect`), and no command
/// of SSI in what that answers, whatever the location says: one directive of its own takes the place of all
/// that are inherited, and `ssi on` may be meant for a site beside.
///
/// Not where variables choose the way and no gate says that it is a registry's: an application may be meant,
/// which may steer nginx. `upstream` refuses users' registries there.
fn steering(
    location: &Location,
    forward: &Forward,
    main: &mut Main,
    conf: &mut Conf<'_>,
) -> Result<(), String> {
    if !leads_to_users(forward, conf) {
        return Ok(());
    }
    if location.settings.is_none() && directive::upstream_name(&forward.url).is_none() {
        main.has_variable_target = true;
        return Ok(());
    }
    let directive = forward.ignoring_directive();
    let ignored = Ignored::by(&directive, conf).ok_or_else(|| {
        format!(
            "\"{}\" ({}) would let a user's registry (\"registry_auth_backends\") steer nginx by \
             \"X-Accel-Redirect\": \"{directive}\" is not as this module knows it",
            forward.seen.name, forward.seen.position
        )
    })?;
    let ssi = ssi_here(forward, conf)?;
    main.steerable.push(Heeded {
        headers: ignored,
        ssi,
    });
    if let Some(stylesheet) = &location.neighbours.stylesheet {
        conf.go_to(&stylesheet.position);
        return Err(format!(
            "\"{}\" would work by what a user's registry (\"registry_auth_backends\") answers: leave it out \
             of where \"{}\" ({}) stands",
            stylesheet.name, forward.seen.name, forward.seen.position
        ));
    }
    Ok(())
}

/// Whether nginx obeys the commands of SSI here; for the merging of locations.
fn ssi_here(forward: &Forward, conf: &mut Conf<'_>) -> Result<Option<Ssi>, String> {
    Ssi::here(conf).map_err(|Unknown| {
        format!(
            "\"{}\" ({}) would let a user's registry (\"registry_auth_backends\") steer nginx by SSI: \
             \"ssi\" is not as this module knows it",
            forward.seen.name, forward.seen.position
        )
    })
}

/// The same, where `steering` leaves SSI on, as variables without a gate may lead to an application.
pub fn ssi_by_variables(location: &Location, conf: &mut Conf<'_>) -> Result<Option<Ssi>, String> {
    match &location.neighbours.forward {
        Some(forward)
            if location.settings.is_none()
                && directive::upstream_name(&forward.url).is_none()
                && leads_to_users(forward, conf) =>
        {
            ssi_here(forward, conf)
        }
        _ => Ok(None),
    }
}

/// Looks at what a gated location forwards.
fn gate(
    location: &Location,
    core: &CoreLocation,
    main: &mut Main,
    conf: &mut Conf<'_>,
) -> Result<(), String> {
    if let Some(forward) = &location.neighbours.forward {
        steering(location, forward, main, conf)?;
    }
    if location.settings.is_none() {
        if core.kind == LocationKind::LimitExcept
            && location.is_within_gate
            && let Some(position) = &location.off_position
        {
            conf.warn_at(
                position,
                &"\"registry_auth off\" in \"limit_except\" is for all methods but those that it names: \
                  they go on without any check",
            );
        }
        ungated(location, core, conf);
        return Ok(());
    }
    let others = &location.neighbours;
    if let (Some(returns), Some(_), true) = (
        &others.returns,
        &location.gate_position,
        matches!(
            core.kind,
            LocationKind::Exact | LocationKind::Prefix | LocationKind::Regex | LocationKind::Named
        ),
    ) {
        conf.warn_at(
            &returns.position,
            &"\"return\" answers before \"registry_auth\" of this location asks for a password",
        );
    }
    let Some(forward) = &others.forward else {
        return Ok(());
    };
    let Seen { name, position } = &forward.seen;
    main.has_variable_target |= if forward.is_proxy() {
        directive::may_replace_path(&forward.url)
    } else {
        others.sends_target()
    };
    if let (Some(method), false) = (others.method(), core.is_internal) {
        conf.go_to(&method.position);
        return Err(format!(
            "\"{}\" gives the registry behind \"{name}\" ({position}) another method than the one that \
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
    if others.is_rewritten && is_target_sent && main.path_told.as_ref() != Some(position) {
        main.path_told = Some(position.clone());
        conf.warn_at(
            position,
            &format_args!(
                "\"$request_uri\" in \"{}\" is not the path that \"rewrite\" has made and \"registry_auth\" \
                 decides about: leave it out",
                forward.target_directive()
            ),
        );
    }
    // Told once for a location, not again for each block in it that goes on with what that forwards.
    if others.is_forward_inherited && location.is_within_gate {
        return Ok(());
    }
    if forward.is_proxy() && directive::replaces_path(&forward.url) {
        conf.warn_at(
            position,
            &"\"proxy_pass\" with a URI sends another path on than the one that \"registry_auth\" decides \
              about: leave out the URI, with its slash",
        );
    }
    if let (Some((parameter, which)), false) = (others.path(), core.is_internal) {
        conf.warn_at(
            &parameter.seen.position,
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
            position,
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
    conf.go_to(&parameter.seen.position);
    Err(format!(
        "\"{}\" with \"{which}\" and \"{}\" gives a user's registry (\"registry_auth_backends\") another \
         path than the one that \"registry_auth\" decides about: leave it as in nginx's own file of \
         parameters",
        parameter.seen.name, parameter.value
    ))
}

/// Whether users' registries are where it leads to, or may be.
pub(super) fn leads_to_users(forward: &Forward, conf: &mut Conf<'_>) -> bool {
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
    let is_entered = matches!(
        core.kind,
        LocationKind::Exact | LocationKind::Prefix | LocationKind::Regex
    ) && !core.is_internal;
    let leads_to_users = directive::upstream_name(&forward.url)
        .is_some_and(|upstream| peer::is_attached_to(conf, upstream, PhantomData::<UserBackends>));
    if location.gate.is_none() && is_entered && leads_to_users {
        conf.warn_at(
            &forward.seen.position,
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
    let Some(Seen { name, position }) = others.kept_blindly() else {
        return Ok(());
    };
    if !leads_to_users(forward, conf) {
        return Ok(());
    }
    let remedy = match name.strip_suffix("_cache") {
        Some(module) => format!(
            "let \"{module}_cache_key\" be \"$registry_auth_blob\", or begin with \"$registry_auth_user \""
        ),
        None => "let its path have \"/$registry_auth_user/\" in front of the request's".to_owned(),
    };
    let message = format!(
        "\"{name}\" keeps for everybody what the registry of one user has answered \
         (\"registry_auth_backends\"): {remedy}"
    );
    match directive::upstream_name(&forward.url) {
        Some(_) => {
            conf.go_to(position);
            Err(message)
        }
        // Which registries the variables choose is seen when they do.
        None => {
            conf.warn_at(position, &message);
            Ok(())
        }
    }
}
