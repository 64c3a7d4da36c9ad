//! Prints a result as lines for people or as JSON for programs. A reader that went away (`| head`) is no error.

use crate::error::Error;
use serde_json::Value;
use std::io::{ErrorKind, Write};

pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints `json`, or else `text` (lines without the last newline; nothing for an empty text).
    pub(crate) fn print(&self, text: &str, json: &Value) -> Result<(), Error> {
        let line = if self.json {
            json.to_string()
        } else {
            text.to_owned()
        };
        if line.is_empty() {
            return Ok(());
        }
        match writeln!(std::io::stdout().lock(), "{line}") {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::Io(error)),
            _ => Ok(()),
        }
    }
}

/// A remark that is not the result: to standard error, so that scripts do not read it.
pub(crate) fn note(text: &str) {
    // Nobody can be told that the remark could not be written.
    drop(writeln!(std::io::stderr(), "note: {text}"));
}

/// Names from Redis may hold anything: a terminal must not interpret it.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect::<String>()
            } else {
                c.to_string()
            }
            .chars()
            .collect::<Vec<_>>()
        })
        .collect()
}
