//! Reads a file of htpasswd: `user:hash` lines, comments, empty lines.
//!
//! Invariant: what is returned has a legal name and a hash that the module can verify against, and no name twice: of
//! several lines of one user the first holds, as with Apache and nginx. No reason quotes a hash.

use crate::cli::is_reserved;
use registry_auth::password::{self, InvalidHash};
use registry_auth::UserName;
use std::collections::HashMap;
use std::io::BufRead;

/// A user of the file.
pub(crate) struct Entry {
    pub(crate) line: usize,
    pub(crate) user: String,
    pub(crate) hash: String,
    /// Why the hash is guessed fast if it leaks.
    pub(crate) weak: Option<&'static str>,
}

/// A line that cannot be imported.
pub(crate) struct Refused {
    pub(crate) line: usize,
    /// The user, if the line got so far.
    pub(crate) user: Option<String>,
    pub(crate) why: String,
}

pub(crate) fn read(mut file: impl BufRead) -> std::io::Result<(Vec<Entry>, Vec<Refused>)> {
    let (mut entries, mut refused) = (Vec::new(), Vec::new());
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        if file.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let text = bytes.trim_ascii_end();
        if text.is_empty() || text.starts_with(b"#") {
            continue;
        }
        match parse(text) {
            Ok((user, _)) if first.contains_key(user) => refused.push(Refused {
                line,
                user: Some(user.to_owned()),
                why: format!(
                    "the same user as line {}, which holds",
                    first.get(user).copied().unwrap_or_default()
                ),
            }),
            Ok((user, hash)) => {
                first.insert(user.to_owned(), line);
                entries.push(Entry {
                    line,
                    user: user.to_owned(),
                    hash: hash.to_owned(),
                    weak: password::weakness(hash),
                });
            }
            Err((user, why)) => refused.push(Refused {
                line,
                user,
                why: why.to_owned(),
            }),
        }
    }
    Ok((entries, refused))
}

/// User and hash of a line, or the user if it is one, and what is wrong.
fn parse(line: &[u8]) -> Result<(&str, &str), (Option<String>, &'static str)> {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Err((None, "not user:hash"));
    };
    let (name, hash) = line.split_at(colon);
    let name = UserName::parse(name).map_err(|_| {
        (
            None,
            "not a user name: 1 to 255 bytes of UTF-8 without control characters or '/'",
        )
    })?;
    let why = |why| (Some(name.as_str().to_owned()), why);
    if is_reserved(name.as_str()) {
        return Err(why("this name is reserved: it stands for others than a user"));
    }
    // What follows a second colon is a remark to Apache and nginx.
    let hash = hash.split(|byte| *byte == b':').nth(1).unwrap_or_default();
    let hash = std::str::from_utf8(hash).map_err(|_| why("the hash is not text"))?;
    password::check(hash).map_err(|invalid| match invalid {
        InvalidHash::Unknown => {
            why("this is no hash that can be checked (plain text, crypt(3)'s DES or $1$)")
        }
        known => why(known.why()),
    })?;
    Ok((name.as_str(), hash))
}

#[cfg(test)]
mod tests {
    use super::read;

    const SHA: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

    #[test]
    fn lines_are_users_comments_or_refused_with_their_number() {
        let file = format!(
            "# comment\n\nalice:{SHA}\r\nbob:{SHA}:Bob B.\nplain:secret\nalice:{SHA}\nno colon\na/b:{SHA}\n:x\n\
             public:{SHA}\n@team:{SHA}\nodd:\nlast:!{SHA}"
        );
        let (entries, refused) = read(file.as_bytes()).unwrap();
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| (entry.line, entry.user.as_str(), entry.hash.as_str()))
            .collect();
        let locked = format!("!{SHA}");
        assert_eq!(
            entries,
            [(3, "alice", SHA), (4, "bob", SHA), (13, "last", locked.as_str())]
        );
        let lines: Vec<usize> = refused.iter().map(|refused| refused.line).collect();
        assert_eq!(lines, [5, 6, 7, 8, 9, 10, 11, 12]);
        assert!(refused[1].why.contains("line 3"), "{}", refused[1].why);
        assert!(refused.iter().all(|refused| !refused.why.contains("secret")));
    }

    #[test]
    fn hashes_that_the_module_refuses_are_refused_and_weak_ones_told() {
        let bcrypt = "$aky.GgNMbO/PJ//DTe9iTOaLL1mXsxQisCwzQ2w4fx.Pzn0i2OfHW";
        let file = format!(
            "good:$2y$10{bcrypt}\nweak:$2y$05{bcrypt}\nsha:{SHA}\nlocked:!$2y$05{bcrypt}\ncostly:$2y$31{bcrypt}\n\
             damaged:{{SHA}}x\nlockedcostly:!$2y$31{bcrypt}\nnothing:!\n"
        );
        let (entries, refused) = read(file.as_bytes()).unwrap();
        let weak: Vec<_> = entries
            .iter()
            .map(|entry| (entry.line, entry.weak.is_some()))
            .collect();
        assert_eq!(weak, [(1, false), (2, true), (3, true), (4, true)]);
        let whys: Vec<_> = refused
            .iter()
            .map(|refused| (refused.line, refused.why.as_str()))
            .collect();
        let whys = whys
            .iter()
            .map(|(line, why)| (*line, why.split(':').next().unwrap_or(why)));
        let costly = "the password hash is too costly";
        assert_eq!(
            whys.collect::<Vec<_>>(),
            [
                (5, costly),
                (6, "the password hash is damaged"),
                (7, costly),
                (
                    8,
                    "this is no hash that can be checked (plain text, crypt(3)'s DES or $1$)"
                )
            ]
        );
        assert!(refused.iter().all(|refused| !refused.why.contains("aky")));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_and_nothing_else() {
        let mut file = b"\xff\xfe:x\nalice:\xff\n".to_vec();
        file.extend_from_slice(format!("bob:{SHA}\n").as_bytes());
        let (entries, refused) = read(file.as_slice()).unwrap();
        assert_eq!((entries.len(), refused.len()), (1, 2));
        assert_eq!(entries[0].user, "bob");
    }
}
