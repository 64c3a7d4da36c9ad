//! The answer of `explain`: the decision of the module, with its reason in words.
//!
//! Invariant: the records are encoded, decoded and judged as the module does it.

use crate::error::Error;
use crate::time;
use crate::verbs::token::scopes;
use registry_auth::codec::{RecordRef, encode};
use registry_auth::password::is_locked;
use registry_auth::policy::{Holder, Rule, Rules, judge};
use registry_auth::scope::Action;
use registry_auth::{Limits, Record, RepositoryName, StoredToken, Subject, UserName};
use registry_auth_admin::{AccessRecords, GroupRecord, PUBLIC};
use serde_json::{Value, json};

/// The answer to the question, ready to be shown.
pub(super) struct Explanation {
    pub(super) allowed: bool,
    /// The one word for programs.
    pub(super) kind: &'static str,
    /// Why, for people.
    pub(super) why: String,
    /// The grant that decided.
    pub(super) grant: Option<Value>,
    /// Whose grant: `user`, `@team`, `public`.
    pub(super) source: Option<String>,
    /// The status of a refusal.
    pub(super) status: Option<u16>,
    /// Whether HEAD is allowed although the pull is not.
    pub(super) existence: bool,
    /// What the person who asked may have meant.
    pub(super) hint: Option<String>,
}

pub(super) fn refusal(kind: &'static str, why: String) -> Explanation {
    Explanation {
        allowed: false,
        kind,
        why,
        grant: None,
        source: None,
        status: Some(403),
        existence: false,
        hint: None,
    }
}

pub(super) fn unreadable(why: String) -> Explanation {
    Explanation {
        status: Some(503),
        ..refusal("unreadable", why)
    }
}

pub(super) fn explain(
    user: Option<UserName<'_>>,
    access: &AccessRecords,
    repository: &RepositoryName<'_>,
    action: Action,
    token: Option<&str>,
    rules: Rules,
) -> Result<Explanation, Error> {
    let too_large = || unreadable("a record is too large for the module".to_owned());
    let empty = Record::default();
    let mut encoded = Vec::new();
    let records = access
        .groups
        .iter()
        .map(|group| group.record.as_ref().unwrap_or(&empty));
    for record in [&access.user].into_iter().chain(records) {
        let mut bytes = Vec::new();
        if encode(record, &mut bytes).is_err() {
            return Ok(too_large());
        }
        encoded.push(bytes);
    }
    let decoded: Result<Vec<RecordRef<'_>>, _> =
        encoded.iter().map(|bytes| RecordRef::decode(bytes)).collect();
    let Some((record, groups)) = decoded.as_deref().ok().and_then(<[_]>::split_first) else {
        return Ok(too_large());
    };
    let stored = token.and_then(|id| access.user.tokens.iter().find(|stored| stored.id == id));
    if let Some(user) = user
        && let Some(refused) = locked_out(user, &access.user, token, stored, time::now()?)
    {
        return Ok(refused);
    }
    let Ok(named) = token.map_or(Ok(None), |id| record.token_named(id)) else {
        return Ok(too_large());
    };
    let subject = Subject {
        user,
        record: *record,
        groups,
        limits: Limits {
            access_token: named.map(|token| token.scopes),
            token: None,
        },
    };
    let Ok(verdict) = judge(&subject, repository, action, &rules) else {
        return Ok(too_large());
    };
    // As the module decides about HEAD: who may push learns what is there.
    let existence = action == Action::Pull
        && !verdict.allowed
        && judge(&subject, repository, Action::Push, &rules).is_ok_and(|push| push.allowed);
    let explanation = match verdict.rule {
        Rule::Grant { holder, grant } => {
            let source = match holder {
                Holder::User => "user".to_owned(),
                Holder::Group(index) => group_label(&access.groups, index),
            };
            let kind = if grant.deny { "denial" } else { "grant" };
            let actions = grant.actions.to_string();
            let pattern = grant.pattern().unwrap_or_default();
            let of = match source.as_str() {
                "user" => "the user's own record".to_owned(),
                group => group.to_owned(),
            };
            Explanation {
                allowed: verdict.allowed,
                kind,
                why: format!(
                    "{kind} {}{pattern} {actions} of {of}",
                    if grant.deny { "!" } else { "" }
                ),
                grant: Some(json!({ "pattern": pattern, "actions": actions, "deny": grant.deny })),
                source: Some(source),
                status: refused_with(verdict.allowed, user),
                existence,
                hint: None,
            }
        }
        Rule::Own => Explanation {
            allowed: verdict.allowed,
            kind: "own",
            why: "the repository is in the user's own namespace".to_owned(),
            grant: None,
            source: None,
            status: None,
            existence,
            hint: None,
        },
        Rule::OutsideAccessToken => refusal(
            "token",
            format!(
                "{} may, but the access token is for {} only",
                user.map_or("everyone", |user| user.as_str()),
                stored.map_or_else(String::new, |stored| scopes(&stored.scopes))
            ),
        ),
        _ => Explanation {
            status: refused_with(verdict.allowed, user),
            ..refusal("none", "no grant allows it".to_owned())
        },
    };
    Ok(Explanation {
        existence,
        ..explanation
    })
}

/// Why a user could not log in, whatever they want, with the access token or else with a password.
fn locked_out(
    user: UserName<'_>,
    record: &Record,
    token: Option<&str>,
    stored: Option<&StoredToken>,
    now: u64,
) -> Option<Explanation> {
    let (kind, why) = match (token, stored) {
        _ if record.password.as_deref().is_some_and(is_locked) => (
            "locked",
            format!("the account is locked; to unlock it: registry-authctl user unlock {user}"),
        ),
        (Some(id), None) => (
            "unknown token",
            format!(
                "there is no access token {id}; to see those there are: registry-authctl token list {user}"
            ),
        ),
        (Some(id), Some(stored)) if stored.expires <= now => (
            "expired token",
            format!("access token {id} expired on {}", time::minute(stored.expires)),
        ),
        (None, _) if record.password.is_none() => (
            "no password",
            format!("there is no password; to set one: registry-authctl user passwd {user}"),
        ),
        _ => return None,
    };
    Some(Explanation {
        status: Some(401),
        ..refusal(kind, why)
    })
}

/// The anonymous is asked to log in.
fn refused_with(allowed: bool, user: Option<UserName<'_>>) -> Option<u16> {
    match (allowed, user) {
        (true, _) => None,
        (false, Some(_)) => Some(403),
        (false, None) => Some(401),
    }
}

pub(super) fn group_label(groups: &[GroupRecord], index: usize) -> String {
    match groups.get(index).map(|group| group.name.as_str()) {
        Some(PUBLIC) | None => PUBLIC.to_owned(),
        Some(name) => format!("@{name}"),
    }
}
