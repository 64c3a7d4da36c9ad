//! Reads a file of htpasswd: `user:hash` lines, comments, empty lines.
//!
//! Called by `import-htpasswd`. Invariant: what is returned has a legal name and a hash that the module can
//! verify against, and no name twice: of several lines of one user the first holds, as with Apache and nginx.
//! No reason quotes a hash.

use crate::cli::is_reserved;
use crate::files::FileUser;
use registry_auth::password::{self, InvalidHash};
use registry_auth::{UserName, UserNameBuf};
use std::collections::HashMap;
use std::io::{BufRead, Error, ErrorKind};

/// A line that cannot be imported.
pub(crate) struct RefusedLine {
    pub(crate) line: usize,
    /// The user, if the line got so far.
    pub(crate) user: Option<String>,
    pub(crate) why: String,
}

pub(crate) fn read(mut file: impl BufRead) -> std::io::Result<(Vec<FileUser>, Vec<RefusedLine>)> {
    let (mut entries, mut refused) = (Vec::new(), Vec::new());
    let mut first: HashMap<UserNameBuf, usize> = HashMap::new();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        if file.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        if line == 1 {
            if [b"\xff\xfe", b"\xfe\xff"]
                .iter()
                .any(|mark| bytes.starts_with(*mark))
            {
                return Err(Error::new(
                    ErrorKind::InvalidData,
                    "this is UTF-16 (of a Windows editor): save it as UTF-8, or iconv -f UTF-16 -t UTF-8",
                ));
            }
            // The mark that some editors put in front of UTF-8.
            if bytes.starts_with(b"\xef\xbb\xbf") {
                bytes.drain(..3);
            }
        }
        let text = bytes.trim_ascii_end();
        if text.is_empty() || text.starts_with(b"#") {
            continue;
        }
        match parse(text) {
            Ok((user, _)) if first.contains_key(&user) => refused.push(RefusedLine {
                line,
                user: Some(user.to_string()),
                why: format!(
                    "the same user as line {}, which holds",
                    first.get(&user).copied().unwrap_or_default()
                ),
            }),
            Ok((user, hash)) => {
                first.insert(user.clone(), line);
                entries.push(FileUser {
                    line: Some(line),
                    user,
                    hash: hash.to_owned(),
                });
            }
            Err((user, why)) => refused.push(RefusedLine {
                line,
                user,
                why: why.to_owned(),
            }),
        }
    }
    Ok((entries, refused))
}

/// User and hash of a line, or the user if it is one, and what is wrong.
fn parse(line: &[u8]) -> Result<(UserNameBuf, &str), (Option<String>, &'static str)> {
    if line.first().is_some_and(u8::is_ascii_whitespace) {
        return Err((
            None,
            "blanks in front of the name, which Apache and nginx take for a part of it",
        ));
    }
    if line.first().is_some_and(|byte| b"\"'".contains(byte)) {
        return Err((
            None,
            "quotes in front of the name, which Apache and nginx take for a part of it",
        ));
    }
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
        return Err(why("this name is reserved: it never means a user"));
    }
    // What follows a second colon is a remark to Apache and nginx.
    let hash = hash.split(|byte| *byte == b':').nth(1).unwrap_or_default();
    let hash = std::str::from_utf8(hash).map_err(|_| why("the hash is not text"))?;
    password::check(hash).map_err(|invalid| match invalid {
        InvalidHash::Unknown => why(name_of(hash)),
        known => why(known.why()),
    })?;
    Ok((name.to_owned(), hash))
}

/// What a hash is that the module cannot verify against. Plain text has no form: it is what is left.
fn name_of(hash: &str) -> &'static str {
    let hash = hash.strip_prefix('!').unwrap_or(hash);
    let known = [
        (
            "$$",
            "each $ is doubled, as docker compose wants it: write $ for $$ (sed 's/\\$\\$/$/g')",
        ),
        (
            "{MD5}",
            "{MD5} (MD5 without salt) cannot be checked: set a new password",
        ),
        (
            "{SMD5}",
            "{SMD5} (LDAP's MD5) cannot be checked: set a new password",
        ),
        (
            "{CRYPT}",
            "{CRYPT} of LDAP: what follows it may be a form that can be checked",
        ),
        ("{PLAIN}", "{PLAIN} is plain text: set a new password"),
        (
            "$y$",
            "$y$ (yescrypt, of today's /etc/shadow) cannot be checked: set a new password",
        ),
        (
            "$gy$",
            "$gy$ (gost-yescrypt) cannot be checked: set a new password",
        ),
        (
            "$7$",
            "$7$ (crypt(3)'s scrypt) cannot be checked: set a new password",
        ),
        (
            "$1$",
            "$1$ (crypt(3)'s MD5) cannot be checked: set a new password",
        ),
        (
            "$2x$",
            "$2x$ (bcrypt with a known fault) cannot be checked: set a new password",
        ),
        (
            "$argon2d$",
            "$argon2d$ cannot be checked, only argon2id and argon2i: set a new password",
        ),
        (
            "$pbkdf2",
            "PBKDF2 as passlib writes it, or not of SHA-256, cannot be checked: set a new password",
        ),
    ];
    let quoted = hash.starts_with(['"', '\'']);
    let upper = |prefix: &str| {
        hash.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let is_des = hash.len() == 13
        && hash
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte));
    match known.into_iter().find(|(prefix, _)| upper(prefix)) {
        Some((_, why)) => why,
        None if hash.is_empty() => "there is no hash",
        None if quoted => "the hash is in quotes, which are taken for a part of it",
        None if is_des => {
            "crypt(3)'s DES (or plain text of 13 characters) cannot be checked: set a new password"
        }
        None => "this is no hash that can be checked (plain text?)",
    }
}

#[cfg(test)]
mod tests {
    use super::{password, read};

    const SHA: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

    #[test]
    fn lines_are_users_comments_or_refused_with_their_number() {
        let file = format!(
            "# comment\n\nalice:{SHA}\r\nbob:{SHA}:Bob B.\nplain:secret\nalice:{SHA}\nno colon\n\
             a/b:{SHA}\n:x\npublic:{SHA}\n@team:{SHA}\nodd:\nlast:!{SHA}"
        );
        let (entries, refused) = read(file.as_bytes()).unwrap();
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| (entry.line.unwrap(), entry.user.as_str(), entry.hash.as_str()))
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
            "good:$2y$10{bcrypt}\nweak:$2y$05{bcrypt}\nsha:{SHA}\nlocked:!$2y$05{bcrypt}\n\
             costly:$2y$31{bcrypt}\ndamaged:{{SHA}}x\nlockedcostly:!$2y$31{bcrypt}\nnothing:!\n"
        );
        let (entries, refused) = read(file.as_bytes()).unwrap();
        let weak: Vec<_> = entries
            .iter()
            .map(|entry| (entry.line.unwrap(), password::weakness(&entry.hash).is_some()))
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
                (8, "there is no hash")
            ]
        );
        assert!(refused.iter().all(|refused| !refused.why.contains("aky")));
    }

    #[test]
    fn what_cannot_be_imported_is_named_for_what_it_is() {
        for (line, said) in [
            ("a:$$2y$$10$$x", "$$"),
            ("a:{MD5}CY9rzUYh03PK3k6DJie09g==", "{MD5}"),
            ("a:{md5}CY9rzUYh03PK3k6DJie09g==", "{MD5}"),
            ("a:$y$j9T$x$y", "yescrypt"),
            ("a:!$y$j9T$x$y", "yescrypt"),
            ("a:$1$salt$x", "crypt(3)'s MD5"),
            ("a:rqXexS6ZhobKA", "DES"),
            ("a:\"$2y$10$x\"", "quotes"),
            ("\"a:$2y$10$x\"", "quotes"),
            ("  a:$2y$10$x", "blanks in front"),
            ("a:", "no hash"),
            ("a:hunter2", "plain text"),
        ] {
            let (entries, refused) = read(line.as_bytes()).unwrap();
            assert!(entries.is_empty() && refused.len() == 1, "{line}");
            assert!(refused[0].why.contains(said), "{line}: {}", refused[0].why);
        }
    }

    #[test]
    fn a_mark_of_the_encoding_is_no_part_of_a_name() {
        let (entries, refused) = read(format!("\u{feff}alice:{SHA}\n").as_bytes()).unwrap();
        assert!(refused.is_empty() && entries[0].user.as_str() == "alice");
        for bytes in [b"\xff\xfea\0:\0", b"\xfe\xff\0a\0:"] {
            let why = read(&bytes[..]).err().unwrap().to_string();
            assert!(why.contains("UTF-16") && why.contains("iconv"), "{why}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_and_nothing_else() {
        let mut file = b"\xff\xff:x\nalice:\xff\n".to_vec();
        file.extend_from_slice(format!("bob:{SHA}\n").as_bytes());
        let (entries, refused) = read(file.as_slice()).unwrap();
        assert_eq!((entries.len(), refused.len()), (1, 2));
        assert_eq!(entries[0].user.as_str(), "bob");
    }
}
