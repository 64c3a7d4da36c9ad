//! The answers that the module makes itself, in place of a registry: tokens, lists of repositories, counters,
//! and whether it works.

pub mod catalog;
pub mod granting;
pub mod health;
pub mod status;
pub mod token;
pub mod usage_page;
