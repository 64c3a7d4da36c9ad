//! The verbs of access tokens.

use super::values::{TokenId, TokenIdParser, lifetime, note, scope, user};
use crate::cli::complete;
use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;
use registry_auth::UserNameBuf;
use registry_auth::grant::Grant;
use std::time::Duration;

#[derive(Subcommand)]
pub(crate) enum TokenVerb {
    /// Create an access token of a user and print it, once: only what it can be recognised by is stored.
    ///
    /// Clients log in with it as with a password, under the user's name. It may do what its scopes say and
    /// the user may, until it expires, is revoked, or the user is locked or removed; a new password of the
    /// user does not end it. Standard output has the token and nothing else.
    Create {
        /// The user.
        #[arg(value_parser = user, add = ArgValueCompleter::new(complete::users))]
        user: UserNameBuf,
        /// What it may do at most, PATTERN:ACTIONS as in a grant; may be given several times. Quote it for
        /// the shell.
        #[arg(long = "scope", required = true, value_name = "PATTERN:ACTIONS", value_parser = scope)]
        scopes: Vec<Grant>,
        /// For how long it is good: whole hours (12h), days (90d), weeks (4w) or years (1y), from 1h to 10y.
        #[arg(long, value_name = "TIME", default_value = "90d", value_parser = lifetime)]
        expires: Duration,
        /// What it is for; `token list` shows it.
        #[arg(long, value_name = "TEXT", value_parser = note)]
        note: Option<String>,
    },
    /// List the access tokens of a user or of all users, without the secrets, which nobody knows any more.
    #[command(visible_alias = "ls")]
    List {
        /// The user; without it, all.
        #[arg(value_parser = user, add = ArgValueCompleter::new(complete::users))]
        user: Option<UserNameBuf>,
        /// Only those that have expired or will within this time, for example 14d.
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        expiring: Option<Duration>,
    },
    /// Say whose an access token is that came to light, and revoke it.
    ///
    /// The secret is asked for on the terminal, or read from standard input; never from an argument. Exit
    /// status: 0 found, 1 not.
    Find {
        /// Revoke it.
        #[arg(long)]
        revoke: bool,
    },
    /// Revoke an access token.
    #[command(visible_alias = "rm")]
    Revoke {
        /// The user.
        #[arg(value_parser = user, add = ArgValueCompleter::new(complete::users))]
        user: UserNameBuf,
        /// As `token list` shows it.
        #[arg(value_parser = TokenIdParser)]
        id: TokenId,
    },
}
