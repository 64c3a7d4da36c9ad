//! The manual pages, which `registry-authctl man` prints.

pub(crate) mod directives;
pub(crate) mod tool;
