//! One request: what it wants, who sends it, whether that is permitted, and what is answered in place of a
//! registry.

pub mod access;
pub mod authenticate;
pub mod by_digest;
pub mod context;
pub mod credential;
pub mod foreign_addresses;
pub mod identity;
pub mod operation;
pub mod refusal;
pub mod response;
pub mod route;
pub mod stored;
pub mod subrequest;
pub mod usage;
