//! The encoded form of a record: the store makes it, the cache keeps it, and the decision reads it in place.
//!
//! There is one form for users, groups and defaults. Its layout, with little-endian integers, is `version u8
//! | flags u8 | password u16 | groups u32 | peers u32 | denials u32 | grants u32 | tokens u32` (lengths in
//! bytes), then these six sections:
//!
//! - A text is `length u8 | bytes`, and a group is a text.
//! - A peer is a text, then `count u8` and that number of addresses, each `4 or 6 u8 | octets | port u16`.
//! - An access token is its id, a text, then `SHA-256 | expires u64 | scopes u32` and that number of bytes of
//!   grants.
//! - Grants are grouped in families that have the same actions, the same number of bytes before the first
//!   star of the pattern (the head), and the same rest of the pattern (the tail): `actions u8 | head u8 |
//!   tail u8 | count u32 | tail`, then `count` heads in order, so that one is found without reading the
//!   others.
//!
//! A sealed record ([`RecordRef::seal`]) has a digest in the place of the password. Guarantees:
//! [`RecordRef::decode`] checks that the lengths add up; items are checked as they are read, and a damaged
//! one is an error, because it might have been a denial; nothing here can panic.

mod bytes;
mod grants;
mod read;
mod record;
mod tokens;
mod write;

pub use grants::{GrantRef, Grants};
pub use read::{Addresses, Groups, PeerRef, Peers, RecordRef};
pub use record::{InvalidRecord, Peer, Record, VERSION};
pub use tokens::{AccountState, Scopes, TokenRef, Tokens};
pub use write::encode;
