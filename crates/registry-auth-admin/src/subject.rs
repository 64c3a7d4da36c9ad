//! Who has grants and backends, as typed at the tool: `alice`, `@team`, `public`, `default`.
//!
//! Used by all of this crate, and parsed by the tool's command line. Invariant: a group's name holds no white
//! space, which separates the names in a user's `groups`.

use registry_auth::{InvalidName, UserName, UserNameBuf};
use registry_auth_redis::schema::keys::{KeyNames, PUBLIC};
use std::fmt;

/// The name of a group: a user name without white space and commas, which separate names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupName(UserNameBuf);

impl GroupName {
    /// Parses `team`.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.contains(|c: char| c.is_whitespace() || c == ',') {
            return Err(InvalidName);
        }
        UserName::parse(text.as_bytes()).map(|name| Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// A user may have this name, too.
    pub fn as_user_name(&self) -> UserName<'_> {
        self.0.as_name()
    }

    /// Whether this is the group that everyone is in, the anonymous included.
    pub fn is_public(&self) -> bool {
        self.as_str() == PUBLIC
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who has a grant or a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// `alice`.
    User(UserNameBuf),
    /// `@team`, or `public`.
    Group(GroupName),
    /// `default`: everybody who has none of their own. Has backends, but no grants.
    Default,
}

impl Subject {
    /// Parses `alice`, `@team`, `public` or `default`.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        match text.strip_prefix('@') {
            Some(group) => GroupName::parse(group).map(Self::Group),
            None if text == "default" => Ok(Self::Default),
            None if text == PUBLIC => GroupName::parse(text).map(Self::Group),
            None => UserName::parse(text.as_bytes()).map(|name| Self::User(name.to_owned())),
        }
    }

    /// As a group is named where a subject is: `@team`, `public`.
    pub(crate) fn label(group: &str) -> String {
        match group {
            PUBLIC => PUBLIC.to_owned(),
            group => format!("@{group}"),
        }
    }

    pub(crate) fn key(&self, keys: KeyNames<'_>) -> String {
        match self {
            Self::User(name) => keys.user(name.as_str()),
            Self::Group(name) => keys.group(name.as_str()),
            Self::Default => keys.backends(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "{name}"),
            Self::Group(name) if name.is_public() => f.write_str(PUBLIC),
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
