//! Asks on the terminal for what must not be seen there.
//!
//! Used by `password` and `token`. Invariant: whatever ends the tool while it asks, the terminal echoes
//! again: rpassword restores it where it returns, and a thread that waits for signals where one ends the
//! tool.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;
use zeroize::Zeroizing;

/// Why there is no answer.
pub(crate) enum NoAnswer {
    /// There is nobody to ask.
    NoTerminal,
    /// Ctrl-D.
    End,
}

/// One line, without echo.
pub(crate) fn ask(prompt: &str) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
    if !std::io::stdin().is_terminal() {
        return Err(NoAnswer::NoTerminal);
    }
    guard();
    match rpassword::prompt_password(prompt) {
        Ok(answer) => Ok(Zeroizing::new(answer.into_bytes())),
        Err(error) => {
            end_line();
            match error.kind() {
                // Ctrl-C, which is a character to rpassword: the shell must see that the tool was
                // interrupted.
                ErrorKind::Interrupted => {
                    drop(emulate_default_handler(SIGINT));
                    Err(NoAnswer::End)
                }
                ErrorKind::UnexpectedEof => Err(NoAnswer::End),
                _ => Err(NoAnswer::NoTerminal),
            }
        }
    }
}

/// What is printed next must not stand behind the prompt.
fn end_line() {
    if let Ok(mut terminal) = OpenOptions::new().write(true).open("/dev/tty") {
        // A failure to write this cannot be reported anywhere.
        drop(terminal.write_all(b"\n"));
    }
}

/// From the first question on, a signal restores the terminal before it ends the tool.
fn guard() {
    static GUARDED: OnceLock<()> = OnceLock::new();
    GUARDED.get_or_init(|| {
        let (Some((terminal, before)), Ok(mut signals)) =
            (settings(), Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]))
        else {
            return;
        };
        std::thread::spawn(move || {
            for signal in signals.forever() {
                // A terminal that is gone (SIGHUP) needs nothing.
                let _gone = tcsetattr(&terminal, OptionalActions::Now, &before);
                end_line();
                drop(emulate_default_handler(signal));
            }
        });
    });
}

/// The terminal, and how it is now.
fn settings() -> Option<(File, Termios)> {
    let terminal = File::open("/dev/tty").ok()?;
    let before = tcgetattr(&terminal).ok()?;
    Some((terminal, before))
}
