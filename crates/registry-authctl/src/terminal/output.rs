//! Prints a result as lines for people or as JSON for programs. A reader that went away (`| head`) is no
//! error.
//!
//! Colours are for terminals only: anstream takes them out elsewhere, and where NO_COLOR is set.

use crate::error::Error;
pub(crate) use crate::terminal::printable::printable;
use anstyle::{AnsiColor, Style};
use serde_json::Value;
use std::fmt::Display;
use std::io::{ErrorKind, Write};

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();

pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints `json`, or else `text` (lines without the last newline; nothing for an empty text).
    pub(crate) fn print(&self, text: &str, json: &Value) -> Result<(), Error> {
        if self.json {
            return write(&format!("{json}\n"));
        }
        if text.is_empty() {
            return Ok(());
        }
        write(&format!("{text}\n"))
    }
}

/// Writes to standard output as it is. That nobody reads it is no error.
pub(crate) fn write(text: &str) -> Result<(), Error> {
    match write_all(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::Io(error)),
        _ => Ok(()),
    }
}

/// Writes to standard output what somebody must read.
pub(crate) fn write_all(text: &str) -> std::io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// A remark that is not the result: to standard error, so that scripts do not read it.
pub(crate) fn note(text: &str) {
    // A failure to write the remark cannot be reported anywhere.
    drop(writeln!(
        anstream::stderr(),
        "{}: {text}",
        styled(DOUBTFUL, "note")
    ));
}

/// The text in a colour.
pub(crate) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}
