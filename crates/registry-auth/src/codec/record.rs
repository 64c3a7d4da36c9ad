//! A record before it is encoded, and the constants of the layout.
//!
//! Made by the store and the tool, encoded by `write`, read back by `read`.

use crate::grant::Grant;
use crate::token::access_token::StoredToken;
use std::net::SocketAddr;

/// The version of the layout, the first byte of a record. It must be raised with every change of the layout.
pub const VERSION: u8 = 3;

/// Bytes before the sections.
pub(super) const HEADER: usize = 24;

/// The flag that says that there is a password.
pub(super) const HAS_PASSWORD: u8 = 1;

/// The flag that says that the record is sealed: in the place of the password it has `!` or a space (whether
/// the account is locked), and a digest.
pub(super) const SEALED: u8 = 2;

/// The data of a user, of a group, or of everybody (only `backends`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The stored password hash, `!` in front where the account is locked. Groups have none.
    pub password: Option<String>,
    /// The user's groups, in order.
    pub groups: Vec<String>,
    /// The backends, in order.
    pub backends: Vec<Peer>,
    /// The grants. Their order has no meaning, and is not kept.
    pub grants: Vec<Grant>,
    /// The user's access tokens. Groups have none.
    pub tokens: Vec<StoredToken>,
}

/// A backend with the addresses its name had when it was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `host:port` as stored.
    pub name: String,
    /// Its addresses; empty where it is written as a name that is not resolved yet, or cannot be.
    pub addresses: Vec<SocketAddr>,
}

/// The bytes are not a record of this layout, or the record is too large for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record is damaged, too large or of another version")]
pub struct InvalidRecord;
