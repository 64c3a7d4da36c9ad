//! Who a grant or a backend is for, as typed at the tool: `alice`, `@team`, `public`, `default`.
//!
//! Used by all of `admin`. Invariant: a group's name holds no white space, or it could not stand in a user's
//! `groups`.

use registry_auth::{InvalidName, UserName};
use registry_auth_redis::schema::keys::{Keys, PUBLIC};
use std::fmt;

/// Who something is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// `alice`.
    User(UserName<'a>),
    /// `@team`, or `public`.
    Group(UserName<'a>),
    /// `default`: everybody who has none of their own. Has backends, but no grants.
    Default,
}

impl<'a> Subject<'a> {
    /// Parses `alice`, `@team`, `public` or `default`.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn parse(text: &'a str) -> Result<Self, InvalidName> {
        match text.strip_prefix('@') {
            Some(group) => group_name(group).map(Self::Group),
            None if text == "default" => Ok(Self::Default),
            None if text == PUBLIC => group_name(text).map(Self::Group),
            None => UserName::parse(text.as_bytes()).map(Self::User),
        }
    }

    /// As a group is named where a subject is: `@team`, `public`.
    pub(crate) fn label(group: &str) -> String {
        match group {
            PUBLIC => PUBLIC.to_owned(),
            group => format!("@{group}"),
        }
    }

    pub(crate) fn key(&self, keys: Keys<'_>) -> String {
        match self {
            Self::User(name) => keys.user(name.as_str()),
            Self::Group(name) => keys.group(name.as_str()),
            Self::Default => keys.backends(),
        }
    }
}

/// Parses a group's name: a user name without white space and commas, which separate names.
///
/// # Errors
/// [`InvalidName`].
pub fn group_name(text: &str) -> Result<UserName<'_>, InvalidName> {
    if text.contains(|c: char| c.is_whitespace() || c == ',') {
        return Err(InvalidName);
    }
    UserName::parse(text.as_bytes())
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "{name}"),
            Self::Group(name) if name.as_str() == PUBLIC => f.write_str(PUBLIC),
            Self::Group(name) => write!(f, "@{name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Subject;

    #[test]
    fn all_forms_are_read_and_shown_alike() {
        for text in ["alice", "@team", "public", "default", "a b"] {
            assert_eq!(Subject::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Subject::parse("@public"), Subject::parse("public"));
        assert_ne!(Subject::parse("@default"), Subject::parse("default"));
        for text in ["", "@", "@a b", "@a,b", "@a:b", "a/b", "@a/b"] {
            assert!(Subject::parse(text).is_err(), "{text}");
        }
    }
}
