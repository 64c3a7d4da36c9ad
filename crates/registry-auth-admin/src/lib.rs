//! The administrator's side of the store: typed, atomic changes for the command-line tool.
//!
//! Invariants: a change is one command or one transaction, so that an interrupted tool leaves nothing
//! half-done; what depends on what was there before watches it (`WATCH`), so that two administrators cannot
//! undo each other's work unseen. The module's own connection writes nothing but the last use of access
//! tokens, where nginx.conf asks for that.
#![forbid(unsafe_code)]

mod access;
mod backends;
mod batch;
mod client;
mod edit;
mod error;
mod finding;
mod grants;
mod groups;
mod health;
mod inspect;
mod locks;
mod names;
mod owned;
mod rename;
mod reply;
mod seat;
mod strength;
mod subject;
mod token_owners;
mod tokens;
mod users;
mod walk;

pub use access::{AccessRecords, GroupRecord};
pub use backends::BackendName;
pub use batch::{Existing, NewPassword, Put};
pub use client::Admin;
pub use error::AdminError;
pub use finding::{Counts, Finding, Problem};
pub use grants::StoredGrant;
pub use groups::GroupEntry;
pub use health::Health;
pub use owned::ForeignGrant;
pub use registry_auth_redis::schema::keys::PUBLIC;
pub use subject::{GroupName, Subject};
pub use token_owners::OwnersMended;
pub use tokens::{LastUse, MOST_TOKENS, TokenEntry, UserTokens};
pub use users::{PasswordSet, Stored, UserEntry};
pub use walk::{Progress, UNSEEN};
