//! The verbs of the tool: what each of them asks of Redis, changes there, and prints.
//!
//! Called by main.rs, with what `cli` has parsed.

pub(crate) mod backend;
pub(crate) mod check;
pub(crate) mod explain;
pub(crate) mod grant;
pub(crate) mod group;
pub(crate) mod import;
pub(crate) mod shell;
pub(crate) mod token;
pub(crate) mod user;
