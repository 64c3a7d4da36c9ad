//! The verbs of access tokens.

use super::values::{lifetime, scope, user};
use crate::complete;
use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;
use registry_auth::grant::Grant;

#[derive(Subcommand)]
pub(crate) enum TokenVerb {
    /// Create an access token of a user and print it, once: only what it can be recognised by is stored.
    ///
    /// Clients log in with it as with a password, under the user's name. It may do what its scopes say and the user may,
    /// until it expires, is revoked, or the user is locked or removed; a new password of the user does not end it.
    /// Standard output has the token and nothing else.
    Create {
        #[arg(value_parser = user, add = ArgValueCompleter::new(complete::users))]
        user: String,
        /// What it may do at most, PATTERN:ACTIONS as in a grant; may be given several times. Quote it for the shell.
        #[arg(long = "scope", required = true, value_name = "PATTERN:ACTIONS", value_parser = scope)]
        scopes: Vec<Grant>,
        /// For how long it is good: whole hours (12h), days (90d), weeks (4w) or years (1y), from 1h to 10y.
        #[arg(long, value_name = "TIME", default_value = "90d", value_parser = lifetime)]
        expires: u64,
    },
    /// List a user's access tokens, without the secrets, which nobody knows any more.
    List {
        #[arg(value_parser = user, add = ArgValueCompleter::new(complete::users))]
        user: String,
    },
    /// Revoke an access token.
    Revoke {
        #[arg(value_parser = user, add = ArgValueCompleter::new(complete::users))]
        user: String,
        /// As `token list` shows it.
        id: String,
    },
}
