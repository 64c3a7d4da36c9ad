//! What the tool shows on a terminal, and what it asks there.

pub(crate) mod output;
pub(crate) mod printable;
pub(crate) mod progress;
pub(crate) mod prompt;
