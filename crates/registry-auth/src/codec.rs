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
mod record;
mod tokens;
mod write;

pub use grants::{GrantRef, Grants};
pub use read::{Addresses, Groups, PeerRef, Peers, RecordRef};
pub use record::{InvalidRecord, Peer, Record, VERSION};
pub use tokens::{Scopes, State, TokenRef, Tokens};
pub use write::encode;
