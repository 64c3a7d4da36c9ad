//! Why the tool did not do it, and with which exit status it says so.

use crate::connector::Connector;
use crate::terminal::printable::printable;
use registry_auth_admin::{AdminError, ForeignGrant, GroupName};
use registry_auth_redis::{InvalidEndpoint, InvalidPrefix};
use std::fmt;
use std::path::PathBuf;

/// Anything that ends the tool.
#[derive(Debug)]
pub(crate) enum Error {
    /// `--redis` is no endpoint. (The URL is not repeated: it may hold a password.)
    Endpoint(InvalidEndpoint),
    /// A prefix that cannot be in the Cluster of the URL.
    Prefix {
        /// What it is.
        prefix: String,
        /// What is wrong.
        why: InvalidPrefix,
    },
    /// An option beside the URL.
    Setting {
        /// Its name without `--redis-`.
        option: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The store refused.
    Admin(AdminError),
    /// A password that cannot be used, or none.
    Password(&'static str),
    /// Something typed that is none of what it should be.
    Usage(&'static str),
    /// The result, already printed, is a refusal.
    Refused,
    /// A long work ended early.
    Partly {
        /// How many users were written.
        written: usize,
        /// What ended it.
        why: Box<Error>,
    },
    /// A new access token could not be shown.
    Unseen {
        /// Why not.
        why: std::io::Error,
        /// Why it could not be revoked either.
        left: Option<AdminError>,
    },
    /// There is no such user or group, with what can be done about it.
    Missing {
        /// What is missing.
        what: AdminError,
        /// The command to type.
        advice: String,
    },
    /// There is no such user, but a group of that name, or the reverse.
    OfTheOtherKind {
        /// What is missing.
        what: AdminError,
        /// What there is.
        hint: String,
    },
    /// A new user would own what others were granted.
    Owned {
        /// The user's name.
        user: String,
        /// What others were granted.
        foreign: Vec<ForeignGrant>,
    },
    /// Ctrl-C.
    Interrupted,
    /// A file that cannot be read or written.
    File(PathBuf, std::io::Error),
    /// Output, runtime or randomness.
    Io(std::io::Error),
}

impl Error {
    /// 2 for what was typed wrongly, 1 for what could not be done.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Endpoint(_) | Self::Prefix { .. } | Self::Setting { .. } | Self::Usage(_) => 2,
            Self::Admin(_)
            | Self::Password(_)
            | Self::Refused
            | Self::Missing { .. }
            | Self::OfTheOtherKind { .. }
            | Self::Owned { .. }
            | Self::Unseen { .. }
            | Self::Interrupted
            | Self::Partly { .. }
            | Self::File(..)
            | Self::Io(_) => 1,
        }
    }

    /// Whether there is something to be said that was not printed.
    pub(crate) fn is_message(&self) -> bool {
        !matches!(self, Self::Refused)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(error) => write!(f, "--redis (or REGISTRY_AUTH_REDIS): {error}"),
            Self::Prefix { prefix, why } => {
                write!(f, "--prefix {prefix} (or REGISTRY_AUTH_PREFIX): {why}")
            }
            Self::Setting { option, why } => {
                let variable = option.to_uppercase().replace('-', "_");
                write!(f, "--redis-{option} (or REGISTRY_AUTH_REDIS_{variable}): {why}")
            }
            Self::Admin(error) => error.fmt(f),
            Self::Password(why) | Self::Usage(why) => f.write_str(why),
            Self::Refused => f.write_str("refused"),
            Self::Unseen { why, left: None } => write!(
                f,
                "the token could not be printed, and was revoked: \
                {why}"
            ),
            Self::Unseen {
                why,
                left: Some(left),
            } => write!(
                f,
                "the token could not be printed ({why}), and is of use to nobody, but could not be revoked \
                 either: {left}"
            ),
            Self::Missing { what, advice } => write!(f, "{what}; {advice}"),
            Self::OfTheOtherKind { what, hint } => write!(f, "{what}, but {hint}"),
            Self::Owned { user, foreign } => {
                let shown = |grant: &ForeignGrant| {
                    printable(&format!(
                        "{} ({}) of {}",
                        grant.pattern, grant.actions, grant.subject
                    ))
                };
                let first: Vec<String> = foreign.iter().take(3).map(shown).collect();
                let more = if foreign.len() > first.len() {
                    ", and others"
                } else {
                    ""
                };
                write!(
                    f,
                    "a user {user} would have every right on {user}/**, which grants of others name: \
                     {}{more}; another name, or --own-namespace-anyway (with registry_auth_own_namespace \
                     off, no user has such rights)",
                    first.join(", ")
                )
            }
            Self::Interrupted => f.write_str("interrupted"),
            Self::Partly { written, why } => {
                let users = if *written == 1 {
                    "1 user was"
                } else {
                    &format!("{written} users were")
                };
                write!(
                    f,
                    "{why}; {users} written, each of them whole: the same command again does the rest"
                )
            }
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Says that what is missing as a user is there as a group, or the reverse. `takes_both`: the verb takes
    /// either, a group with `@`.
    pub(crate) async fn of_the_other_kind(self, takes_both: bool, connector: &Connector) -> Self {
        let (Self::Admin(AdminError::NoUser(name)) | Self::Admin(AdminError::NoGroup(name))) = &self else {
            return self;
        };
        let is_user = matches!(self, Self::Admin(AdminError::NoGroup(_)));
        // What is a user's name may be none of a group, as it may have blanks.
        let Ok(group) = GroupName::parse(name) else {
            return self;
        };
        let Ok(admin) = connector.connect().await else {
            return self;
        };
        let hint = if is_user {
            match (admin.user_find(group.as_user_name()).await, takes_both) {
                (Ok(Some(_)), true) => format!("there is a user {name}, who is written without @"),
                (Ok(Some(_)), false) => format!("there is a user {name}: registry-authctl user show {name}"),
                _ => return self,
            }
        } else {
            match (admin.group_show(&group).await, takes_both) {
                (Ok(_), true) => format!("there is a group {name}, which is written @{name}"),
                (Ok(_), false) => format!("there is a group {name}: registry-authctl group show {name}"),
                _ => return self,
            }
        };
        match self {
            Self::Admin(what) => Self::OfTheOtherKind { what, hint },
            other => other,
        }
    }

    /// Says of a missing user or group how to make it, where `gives` something to it, or else how to see
    /// those there are.
    pub(crate) fn advised(self, gives: bool) -> Self {
        let advice = match (&self, gives) {
            (Self::Admin(AdminError::NoUser(user)), true) => {
                format!("to create one: registry-authctl user add {user}")
            }
            (Self::Admin(AdminError::NoUser(_)), false) => {
                "to see those there are: registry-authctl user list".to_owned()
            }
            (Self::Admin(AdminError::NoGroup(group)), true) => {
                format!("to create one: registry-authctl group add {group}")
            }
            (Self::Admin(AdminError::NoGroup(_)), false) => {
                "to see those there are: registry-authctl group list".to_owned()
            }
            _ => return self,
        };
        match self {
            Self::Admin(what) => Self::Missing { what, advice },
            other => other,
        }
    }
}

impl From<AdminError> for Error {
    fn from(error: AdminError) -> Self {
        Self::Admin(error)
    }
}
