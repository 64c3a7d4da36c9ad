//! Asks for a password, without echo or from standard input, and hashes it with a fresh salt.
//!
//! Used by `user add` and `user passwd`. Invariant: what is accepted here can be sent by a client: the
//! module's own parser of credentials is asked.

use crate::cli::{Hash, PasswordArgs};
use crate::error::Error;
use crate::terminal::prompt::{self, NoAnswer};
use base64::prelude::{BASE64_STANDARD, Engine};
use registry_auth::{Credentials, TokenDigest, UserName, credentials, password};
use std::io::Read;
use zeroize::Zeroizing;

/// As htpasswd's default grows with the years; about 0.2 s.
const BCRYPT_COST: u32 = 12;
/// More than any Authorization header can carry.
const INPUT: u64 = 8192;

/// Characters of a password: NIST's and OWASP's minimum.
const SHORTEST: usize = 8;

/// The hash to store for a new password of `user`.
pub(crate) fn ask(user: UserName<'_>, args: &PasswordArgs) -> Result<String, Error> {
    let password = if args.password_stdin {
        from_stdin()?
    } else {
        from_terminal(user)?
    };
    check(user, &password, args.allow_weak)?;
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| Error::Io(std::io::Error::other(error)))?;
    let hash = match args.hash {
        Hash::Argon2id => password::hash_argon2id(&password, &salt),
        Hash::Bcrypt => password::hash_bcrypt(&password, BCRYPT_COST, &salt),
    };
    hash.map_err(|_| Error::Password("bcrypt takes passwords of at most 72 bytes; use --hash argon2id"))
}

/// Standard input up to its end, without the newline that `echo` puts there.
fn from_stdin() -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut input = Zeroizing::new(Vec::with_capacity(INPUT as usize + 1));
    std::io::stdin()
        .lock()
        .take(INPUT)
        .read_to_end(&mut input)
        .map_err(Error::Io)?;
    for end in [b'\n', b'\r'] {
        if input.last() == Some(&end) {
            input.pop();
        }
    }
    Ok(input)
}

fn from_terminal(user: UserName<'_>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let prompt = |text: &str| {
        prompt::ask(text).map_err(|why| {
            Error::Password(match why {
                NoAnswer::NoTerminal => "there is no terminal to ask for the password: use --password-stdin",
                NoAnswer::End => "no password was typed; nothing was changed",
            })
        })
    };
    let password = prompt(&format!("Password of {user}: "))?;
    if password != prompt("Again: ")? {
        return Err(Error::Password("the passwords differ; nothing was changed"));
    }
    Ok(password)
}

fn check(user: UserName<'_>, password: &[u8], allow_weak: bool) -> Result<(), Error> {
    if password.is_empty() {
        return Err(Error::Password(
            "an empty password is refused at login: nothing was changed",
        ));
    }
    if password.iter().any(u8::is_ascii_control) {
        return Err(Error::Password(
            "a password with line breaks or control characters is refused at login",
        ));
    }
    if TokenDigest::of(password).is_some() {
        return Err(Error::Password(
            "this is an access token, which is never taken for a password: nothing was changed",
        ));
    }
    // Characters, as people count them: what is not UTF-8 is refused below.
    let characters = std::str::from_utf8(password).map_or(usize::MAX, |text| text.chars().count());
    if characters < SHORTEST && !allow_weak {
        return Err(Error::Password(
            "a password of fewer than 8 characters is soon guessed, and was not taken; --allow-weak takes it",
        ));
    }
    let pair = Zeroizing::new([user.as_str().as_bytes(), b":", password].concat());
    let header = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(&*pair)));
    let mut buffer = credentials::Buffer::new();
    match credentials::parse(Some(header.as_bytes()), &mut buffer) {
        Ok(Credentials::Basic { .. }) => Ok(()),
        _ => Err(Error::Password(
            "no client could log in with this password: it is too long, or not text",
        )),
    }
}
