//! Parsers of single values, each with a message that says what would be right.
//!
//! Named by the arguments of `cli`. Guarantee: a verb gets the parsed type and checks nothing again.

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};
use registry_auth::grant::Grant;
use registry_auth::scope::{Action, Actions};
use registry_auth::{RepositoryName, TokenDigest, UserName, UserNameBuf};
use registry_auth_admin::{BackendName, GroupName, PUBLIC, Subject};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::time::Duration;

/// Where Redis is if nobody says so, and what the keys begin with.
pub(crate) const REDIS: &str = "redis://127.0.0.1:6379/0";
pub(crate) const PREFIX: &str = "docker-registry";

const NAME_RULE: &str = "a name is 1 to 255 bytes of UTF-8 without control characters, ':' or '/'";

pub(super) fn user(text: &str) -> Result<UserNameBuf, String> {
    let name = UserName::parse(text.as_bytes()).map_err(|_| NAME_RULE.to_owned())?;
    Ok(name.to_owned())
}

/// `default`, `public` and `@…` mean something else wherever a subject is named; the user would be out of
/// reach.
pub(super) fn new_user(text: &str) -> Result<UserNameBuf, String> {
    if is_reserved(text) {
        return Err("this name is reserved: it never means a user".to_owned());
    }
    user(text)
}

/// Whether a subject of this name is no user.
pub(crate) fn is_reserved(name: &str) -> bool {
    matches!(name, "default" | PUBLIC) || name.starts_with('@')
}

/// A group's name, with or without the `@` that a subject needs to be a group.
pub(super) fn group(text: &str) -> Result<GroupName, String> {
    GroupName::parse(bare_group(text)).map_err(|_| format!("{NAME_RULE}, a group's without spaces as well"))
}

pub(super) fn new_group(text: &str) -> Result<GroupName, String> {
    let name = group(text)?;
    if is_reserved(name.as_str()) {
        return Err("this name is reserved: everyone is in the group public already".to_owned());
    }
    Ok(name)
}

/// What a record has for a group, legal or not, so that the record can be repaired.
pub(super) fn stored_group(text: &str) -> Result<String, Infallible> {
    Ok(bare_group(text).to_owned())
}

fn bare_group(text: &str) -> &str {
    text.strip_prefix('@').unwrap_or(text)
}

pub(super) fn backend_subject(text: &str) -> Result<Subject, String> {
    Subject::parse(text).map_err(|_| format!("a subject is alice, @team, public or default; {NAME_RULE}"))
}

pub(super) fn grant_subject(text: &str) -> Result<Subject, String> {
    match Subject::parse(text) {
        Ok(Subject::Default) => {
            Err("default has backends only; what everyone may do is granted to public".to_owned())
        }
        Ok(subject) => Ok(subject),
        Err(_) => Err(format!("a subject is alice, @team or public; {NAME_RULE}")),
    }
}

pub(super) fn backend(text: &str) -> Result<BackendName, String> {
    BackendName::parse(text).map_err(|_| {
        "a backend is host:port (or host, which is port 80), for example registry-1:5000, 10.0.0.5:5000 or \
         [fd00::5]:5000"
            .to_owned()
    })
}

/// An access token's id, which is never the token itself. It may be an illegal one, so that a record can be
/// repaired.
#[derive(Clone)]
pub(crate) struct TokenId(String);

impl TokenId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Parses a [`TokenId`]. A message of clap's own would repeat what was typed, and standard error may go into
/// a log.
#[derive(Clone)]
pub(super) struct TokenIdParser;

impl TypedValueParser for TokenIdParser {
    type Value = TokenId;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<TokenId, clap::Error> {
        let refused = |why| clap::Error::raw(ErrorKind::ValueValidation, why).with_cmd(command);
        let id = value.to_str().ok_or_else(|| refused("an id is text\n"))?;
        match TokenDigest::of(id.as_bytes()) {
            Some(_) => Err(refused(
                "this is the token itself, which other users of this machine may have seen now; its id is \
                 shown by: registry-authctl token list USER\n",
            )),
            None => Ok(TokenId(id.to_owned())),
        }
    }
}

pub(super) fn lifetime(text: &str) -> Result<Duration, String> {
    const HOUR: u64 = 3600;
    let seconds = || {
        // The unit is one ASCII character, or it is none.
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let unit = match unit {
            "h" => HOUR,
            "d" => 24 * HOUR,
            "w" => 7 * 24 * HOUR,
            "y" => 365 * 24 * HOUR,
            _ => return None,
        };
        // A number in Rust may have a sign.
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| number.parse::<u64>().ok())??.checked_mul(unit)
    };
    seconds()
        .filter(|seconds| (HOUR..=10 * 365 * 24 * HOUR).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| {
            "a time is whole hours, days, weeks or years, from 1h to 10y, for example 90d".to_owned()
        })
}

/// One line that a terminal shows as it is.
pub(super) fn note(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > 200 || text.chars().any(char::is_control) {
        return Err("a note is one line of at most 200 bytes".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn scope(text: &str) -> Result<Grant, String> {
    let Some((name, words)) = text.rsplit_once(':') else {
        return Err("a scope is PATTERN:ACTIONS, for example 'team/*:pull,push'".to_owned());
    };
    if name.starts_with('!') {
        return Err("a scope denies nothing: what it does not name the token may not do".to_owned());
    }
    Ok(pattern(name)?.with(actions(words)?))
}

/// The repositories of a grant, and whether it denies them.
#[derive(Clone)]
pub(crate) struct GrantPattern(Grant);

impl GrantPattern {
    /// The grant of these actions.
    pub(crate) fn with(self, actions: Actions) -> Grant {
        Grant { actions, ..self.0 }
    }
}

pub(super) fn pattern(text: &str) -> Result<GrantPattern, String> {
    match Grant::from_parts(text, "*") {
        Ok(grant) => Ok(GrantPattern(grant)),
        Err(_) if text.contains(':') => Err(
            "this matches no repository: a registry's address (host:port/) is no part of a repository's \
             name".to_owned(),
        ),
        Err(_) => Err(
            "this matches no repository: names are lower case letters, digits, and . _ __ - between them, in \
             segments separated by /; * matches a run within a segment, ** across them, for example \
             team/** or alice/app-*"
                .to_owned(),
        ),
    }
}

pub(super) fn actions(text: &str) -> Result<Actions, String> {
    Actions::parse(text).map_err(|error| error.to_string())
}

pub(super) fn action(text: &str) -> Result<Action, String> {
    Action::ALL
        .into_iter()
        .find(|action| action.as_str() == text)
        .ok_or_else(|| "an action is pull, push or delete".to_owned())
}

pub(super) fn repository(text: &str) -> Result<RepositoryName<'static>, String> {
    RepositoryName::parse_owned(text.to_owned()).map_err(|_| {
        "not a repository's name (without registry, tag or digest), for example alice/app; a client's pull \
         of it is answered with 404, and a push with 400"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::lifetime;
    use std::time::Duration;

    #[test]
    fn lifetimes_are_whole_hours_days_weeks_and_years() {
        for (text, seconds) in [
            ("1h", 3600),
            ("090d", 7_776_000),
            ("4w", 2_419_200),
            ("1y", 31_536_000),
            ("10y", 315_360_000),
            ("3650d", 315_360_000),
            ("87600h", 315_360_000),
        ] {
            assert_eq!(lifetime(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "h",
            "d",
            "90",
            "0h",
            "0d",
            "1m",
            "60s",
            "1.5d",
            "-1d",
            "+1d",
            " 1d",
            "1 d",
            "1d ",
            "1D",
            "1d1h",
            "never",
            "11y",
            "3651d",
            "87601h",
            "99999999999999999999d",
            "9999999999999999y",
            "1\u{1d5}",
            "\u{661}d",
        ] {
            assert!(lifetime(text).is_err(), "{text:?}");
        }
    }
}
