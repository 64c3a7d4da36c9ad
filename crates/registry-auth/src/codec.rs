//! The encoded form of a record: what the store makes, the cache holds and the decision reads in place.
//!
//! One form for users, groups and defaults. Layout, integers little-endian:
//! `version u8 | flags u8 | password u16 | groups u32 | peers u32 | denials u32 | grants u32 | tokens u32` (lengths in bytes),
//! then those six sections. A text is `length u8 | bytes`; a group is a text; a peer is a text, `count u8` and so many
//! addresses (`4 or 6 u8 | octets | port u16`); an access token is its id, a text, then `SHA-256 | expires u64 | scopes u32` and so
//! many bytes of grants. In a sealed record ([`RecordRef::seal`]) a digest stands for the password. Grants stand in families of the same actions, whose patterns begin with as many
//! bytes before the first star, and are alike from there on: `actions u8 | head u8 | tail u8 | count u32 | tail`, then `count` heads
//! in order, so that one is found without reading the others. Invariant: [`RecordRef::decode`] checks that the lengths add up; items
//! are checked as they are read, and a damaged one is an error, never skipped, as it might have been a denial. Nothing here can panic.

mod bytes;
mod grants;
mod read;
mod tokens;
mod write;

pub use grants::{GrantRef, Grants};
pub use read::{Addresses, Groups, PeerRef, Peers, RecordRef};
pub use tokens::{Scopes, State, TokenRef, Tokens};
pub use write::encode;

use crate::grant::Grant;
use crate::token::access_token::StoredToken;
use std::fmt;
use std::net::SocketAddr;

/// The layout's version, the first byte of a record. Raise it with every change of the layout.
pub const VERSION: u8 = 3;

/// Bytes before the sections.
const HEADER: usize = 24;

/// Flag: there is a password.
const HAS_PASSWORD: u8 = 1;

/// Flag: in place of the password stands whether it is locked (`!`, or a space), and its digest.
const SEALED: u8 = 2;

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
    /// Its addresses; none if the name could not be resolved.
    pub addresses: Vec<SocketAddr>,
}

/// The bytes are no record of this layout, or the record is too large for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRecord;

impl fmt::Display for InvalidRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("record is damaged, too large or of another version")
    }
}

impl std::error::Error for InvalidRecord {}
