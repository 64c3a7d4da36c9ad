//! Which right does a request to a container registry need, and does the user have it?
//!
//! Everything of the gate that can be decided without nginx and without Redis: no I/O, no clock, no
//! randomness, no environment. Called by the nginx module (routes, credentials, decisions, tokens), by the
//! store (records, passwords) and by the command-line tool. A request passes [`route::parse`],
//! [`credentials::parse`], [`password::verify`] (in the store) and [`policy::decide`], in this order.
//! Guarantee: whatever cannot be understood is refused; every error here is a refusal.
#![forbid(unsafe_code)]

pub mod backend;
pub mod blob;
pub mod catalog;
pub mod challenge;
pub mod codec;
pub mod credentials;
pub mod cursor;
pub mod denial;
pub mod directive;
pub mod grant;
pub mod heap;
pub mod listing;
pub mod name;
pub mod network;
pub mod outages;
pub mod password;
pub mod pattern;
pub mod policy;
pub mod redirect;
pub mod rendezvous;
pub mod repeats;
pub mod resource;
pub mod result;
pub mod route;
pub mod scope;
pub mod search;
pub mod share;
pub mod subject;
pub mod token;

pub use codec::{InvalidRecord, Peer, Record, RecordRef};
pub use credentials::Credentials;
pub use denial::{Denial, Reason};
pub use name::{InvalidName, RepositoryName, UserName, UserNameBuf};
pub use network::Network;
pub use policy::{Permit, Rules};
pub use resource::{Access, Resource};
pub use result::{RequestResult, Source};
pub use route::{Need, Request, Route};
pub use scope::{Action, Actions, Scope};
pub use subject::{Limits, Subject};
pub use token::access_token::{AccessToken, BearerToken, StoredToken, TokenDigest};
