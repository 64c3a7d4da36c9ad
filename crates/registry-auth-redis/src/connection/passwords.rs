//! The passwords for Redis: one of a URL, or those of a file, which is read again for each connection.
//!
//! Used by `open` through [`crate::Endpoint`]. Invariant: a file that cannot be read any more, or is being
//! written, leaves what was read before: the master process may read files that its workers may not.

use super::files::read;
use crate::secret::Secret;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Lines of a file that are passwords: while one is being replaced, there are two.
const LINES: usize = 2;

/// What may be logged in with, in the order in which it is tried.
#[derive(Clone, Default)]
pub struct Passwords {
    file: Option<PathBuf>,
    known: Vec<Secret>,
}

impl Passwords {
    /// This one.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn one(password: Secret) -> Result<Self, String> {
        Ok(Self {
            file: None,
            known: vec![text(password)?],
        })
    }

    /// The first line of a file, and the second where there is one.
    ///
    /// # Errors
    /// What is wrong with the file, in words that need its name before them.
    pub fn in_file(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        Ok(Self {
            known: of(&file)?,
            file: Some(path.to_owned()),
        })
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What to try now, the file's content included as far as it can be read.
    pub(crate) fn now(&self) -> Vec<Secret> {
        self.read_again().unwrap_or_else(|| self.known.clone())
    }

    fn read_again(&self) -> Option<Vec<Secret>> {
        let path = self.file.as_ref()?;
        // To open a pipe would wait for whoever writes to it.
        if !path.metadata().ok()?.is_file() {
            return None;
        }
        of(&File::open(path).ok()?).ok()
    }
}

fn of(file: &File) -> Result<Vec<Secret>, String> {
    let content = read(file)?;
    let mut lines = content
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    if first.is_empty() {
        return Err("its first line is empty".to_owned());
    }
    let others = lines.take_while(|line| !line.is_empty());
    std::iter::once(first)
        .chain(others)
        .take(LINES)
        .map(|line| text(Secret::new(line)))
        .collect()
}

fn text(password: Secret) -> Result<Secret, String> {
    match std::str::from_utf8(password.expose()) {
        Ok(_) => Ok(password),
        Err(_) => Err("the password is not UTF-8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::Passwords;
    use std::fs;
    use tempfile::TempDir;

    fn shown(passwords: &Passwords) -> Vec<String> {
        let now = passwords.now();
        now.iter()
            .map(|secret| String::from_utf8(secret.expose().to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn the_first_two_lines_are_passwords() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("password");
        for (content, passwords) in [
            ("one", &["one"][..]),
            ("one\n", &["one"]),
            ("one\r\ntwo\r\n", &["one", "two"]),
            ("one\ntwo\nthree\n", &["one", "two"]),
            ("one\n\nnote\n", &["one"]),
        ] {
            fs::write(&path, content).unwrap();
            assert_eq!(
                shown(&Passwords::in_file(&path).unwrap()),
                passwords,
                "{content:?}"
            );
        }
        for content in [&b""[..], b"\n", b"\ntwo", b"\xff\n"] {
            fs::write(&path, content).unwrap();
            assert!(Passwords::in_file(&path).is_err(), "{content:?}");
        }
        assert!(Passwords::in_file(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_file_is_read_again_as_far_as_it_can_be() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "old\n").unwrap();
        let passwords = Passwords::in_file(&path).unwrap();
        fs::write(&path, "new\nold\n").unwrap();
        assert_eq!(shown(&passwords), ["new", "old"]);
        fs::write(&path, "").unwrap();
        assert_eq!(shown(&passwords), ["old"]);
        fs::remove_file(&path).unwrap();
        assert_eq!(shown(&passwords), ["old"]);
        make_fifo(&path);
        assert_eq!(shown(&passwords), ["old"]);
    }

    fn make_fifo(path: &std::path::Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    }
}
