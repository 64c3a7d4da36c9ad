//! Password forms of docs/reference/data-model.md, against what Debian's htpasswd, openssl, mkpasswd and
//! argon2 made (passwords.txt).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use registry_auth::password::{self, Form, InvalidHash};

const PASSWORD: &[u8] = b"correct horse";

struct Vector {
    form: Form,
    password: &'static str,
    stored: &'static str,
}

/// Those of passwords.txt.
fn vectors() -> Vec<Vector> {
    let mut password = "";
    let mut vectors = Vec::new();
    for line in include_str!("passwords.txt").lines() {
        match line.split_once(' ') {
            None => assert_eq!(line, ""),
            Some(("#", _)) => {}
            Some(("password", text)) => password = text,
            Some((form, stored)) => vectors.push(Vector {
                form: form_of(form),
                password,
                stored,
            }),
        }
    }
    vectors
}

fn form_of(name: &str) -> Form {
    match name {
        "legacy" => Form::Legacy,
        "sha" => Form::Sha,
        "ssha" => Form::SaltedSha,
        "bcrypt" => Form::Bcrypt,
        "argon2" => Form::Argon2,
        "scrypt" => Form::Scrypt,
        "pbkdf2" => Form::Pbkdf2,
        "sha-crypt" => Form::ShaCrypt,
        "apr1" => Form::Apr1,
        other => panic!("{other}"),
    }
}

/// What other programs made verifies, for each form with each of the three passwords.
#[test]
fn the_programs_hashes_verify() {
    let vectors = vectors();
    let mut of_a_form = std::collections::BTreeMap::<String, Vec<&str>>::new();
    for Vector {
        form,
        password,
        stored,
    } in &vectors
    {
        assert_eq!(Form::of(stored), Some(*form), "{stored}");
        assert_eq!(password::check(stored), Ok(()), "{stored}");
        assert_eq!(
            password::verify(stored, password.as_bytes(), b""),
            Ok(true),
            "{stored}"
        );
        of_a_form.entry(format!("{form:?}")).or_default().push(password);
    }
    assert_eq!(of_a_form.len(), 9);
    for (form, mut passwords) in of_a_form {
        passwords.sort_unstable();
        passwords.dedup();
        assert_eq!(passwords.len(), 3, "{form}");
    }
}

/// Neither none, nor a part, nor more, nor another case, nor the hash itself, nor another spelling of the
/// same characters.
#[test]
fn other_passwords_do_not() {
    for Vector {
        form,
        password,
        stored,
    } in vectors()
    {
        let right = password.as_bytes();
        // bcrypt reads 72 bytes: what is behind them does not count.
        let counts = if form == Form::Bcrypt {
            72.min(right.len())
        } else {
            right.len()
        };
        let mut flipped = right.to_vec();
        flipped[counts - 1] ^= 0x01;
        let mut doubled = right.to_vec();
        doubled.push(0);
        doubled.extend_from_slice(right);
        let mut wrongs = vec![
            Vec::new(),
            right[..counts - 1].to_vec(),
            right[1..].to_vec(),
            [b" ", right].concat(),
            [right, b"\0"].concat(),
            [right, b"\0x"].concat(),
            doubled,
            flipped,
            password.to_uppercase().into_bytes(),
            password.to_lowercase().into_bytes(),
            password.chars().map(|character| character as u8).collect(),
            stored.as_bytes().to_vec(),
        ];
        if counts == right.len() && counts < 72 {
            wrongs.push([right, b" "].concat());
        }
        for wrong in wrongs.iter().filter(|wrong| *wrong != right) {
            assert_eq!(
                password::verify(stored, wrong, b""),
                Ok(false),
                "{stored} {wrong:?}"
            );
        }
    }
}

/// A leading `!` locks the account.
#[test]
fn a_locked_account_verifies_nothing() {
    for Vector {
        form,
        password,
        stored,
    } in vectors()
    {
        let locked = format!("!{stored}");
        assert!(password::is_locked(&locked) && !password::is_locked(stored));
        assert_eq!(
            password::verify(&locked, password.as_bytes(), b""),
            Ok(false),
            "{locked}"
        );
        assert_eq!(Form::of(&locked), Some(form), "the form shows through the lock");
        assert_eq!(password::check(&locked), Ok(()), "{locked}");
        assert!(!password::is_slow(&locked), "a locked account costs nothing");
    }
    assert_eq!(password::verify("!", b"", b""), Ok(false));
}

#[test]
fn slow_forms_are_told() {
    for Vector { form, stored, .. } in vectors() {
        let slow = !matches!(form, Form::Legacy | Form::Sha | Form::SaltedSha);
        assert_eq!(password::is_slow(stored), slow, "{stored}");
    }
    assert!(!password::is_slow("plain"));
}

/// The 2014 gate: SHA1(salt ‖ password); printf 'saltcorrect horse' | sha1sum.
#[test]
fn the_salt_goes_before_the_password_of_a_bare_digest_only() {
    let stored = "619a8b7fb0e2b3f5d24ab3bc0b53ce167a50f893";
    assert_eq!(password::verify(stored, PASSWORD, b"salt"), Ok(true));
    assert_eq!(password::verify(stored, PASSWORD, b""), Ok(false));
    assert_eq!(password::verify(stored, PASSWORD, b"salt:"), Ok(false));
    for Vector {
        form,
        password,
        stored,
    } in vectors()
    {
        let right = password::verify(stored, password.as_bytes(), b"salt");
        assert_eq!(right, Ok(form != Form::Legacy), "{stored}");
    }
}

/// The 2014 gate's clients wrote either case.
#[test]
fn hex_digits_are_of_either_case() {
    let stored = "2F9E53523B62ABC141A2B4D6019D23CBA835DBD0";
    assert_eq!(password::verify(stored, PASSWORD, b""), Ok(true));
}

/// phc-winner-argon2's src/test.c: a hash of before version 1.3 does not say its version.
#[test]
fn argon2_without_a_version_is_version_1_0() {
    for stored in [
        "$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ",
        "$argon2i$v=16$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ",
        "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA",
    ] {
        assert_eq!(password::verify(stored, b"password", b""), Ok(true), "{stored}");
        assert_eq!(password::verify(stored, b"Password", b""), Ok(false), "{stored}");
    }
}

/// Unknown forms and damaged hashes fail closed, and at once. (Costs beyond the limits: limits.rs.)
#[test]
fn what_is_no_hash_verifies_nothing() {
    let argon = "$c29tZXNhbHQwMA$1CB7TWsCiDvsK0PwBxuxJijzR9L1KJh54Zl6dLxc6v0";
    let bcrypt = "$aky.GgNMbO/PJ//DTe9iTOaLL1mXsxQisCwzQ2w4fx.Pzn0i2OfHW";
    for stored in [
        String::new(),
        "correct horse".into(),
        "2f9e53523b62abc141a2b4d6019d23cba835dbd".into(),
        "2f9e53523b62abc141a2b4d6019d23cba835dbd00".into(),
        "2f9e53523b62abc141a2b4d6019d23cba835dbdg".into(),
        "é2f9e53523b62abc141a2b4d6019d23cba835db".into(),
        "{SHA}".into(),
        "{SHA}L55TUjtiq8FBorTWAZ0jy6g129A".into(),
        "{SHA}LhKrkM9Fy+zlstjdD7Kv2s6QvhBzYWx0".into(),
        "{SSHA}c2hvcnQ=".into(),
        "{sha}L55TUjtiq8FBorTWAZ0jy6g129A=".into(),
        "{PLAIN}correct horse".into(),
        "$1$rqu6mNLl$/nIxepvvSDClkWIiK8IMG.".into(),
        "$7$CU..../....7GeYnsDNO/1Pl3QsoKw/i0$Gan085ONUfUqU3IoLLHVp92uR7mwppAuyburpTYGfT.".into(),
        "$apr1$Eujhg.qt".into(),
        "$apr1$Eujhg.qt$".into(),
        "$apr1$Eujhg.qt$SNovqTlY2KWIdRpx.Kthm".into(),
        "$apr1$Eujhg.qt$SNovqTlY2KWIdRpx.Kthm0x".into(),
        "$apr1$Eujhg:qt$SNovqTlY2KWIdRpx.Kthm0".into(),
        "$5$salt".into(),
        "$5$salt$".into(),
        "$6$rounds=$salt$vDUX76ALWXyszWj8Y46yxv".into(),
        "$6$rounds=5000$salt$!".into(),
        "$6$a$b$c$d$e".into(),
        format!("$scrypt$ln=4,r=0,p=1{argon}"),
        format!("$scrypt$ln=4,r=8{argon}"),
        "$scrypt$ln=4,r=8,p=1$c29tZXNhbHQwMDAw".into(),
        format!("$pbkdf2-sha256$l=32{argon}"),
        format!("$pbkdf2-sha256$i=0,l=32{argon}"),
        "$pbkdf2-sha256$i=1000,l=32$c29tZXNhbHQwMDAw".into(),
        "$pbkdf2-sha256$1000$c29tZXNhbHQwMDAw$yho.NSHYeG4KUT/nl2Bc.pG7ac.xKNG70PD0T.BW/lY".into(),
        format!("$pbkdf2-sha512$i=1000,l=32{argon}"),
        "$y$j9T$Lwvsolqy2jNoDLs/Ecmzp/$0lGLj0VSAlNIeIws1arm.KJubS4FwH2e/dtXr/heVAC".into(),
        "$2x$05$aky.GgNMbO/PJ//DTe9iTOaLL1mXsxQisCwzQ2w4fx.Pzn0i2OfHW".into(),
        "$2y$05$short".into(),
        format!("$2y$99{bcrypt}"),
        format!("$2y$03{bcrypt}"),
        format!("$argon2d$v=19$m=4096,t=3,p=2{argon}"),
        format!("$argon2id$v=19$m=4096,t=2{argon}"),
        format!("$argon2id$v=19{argon}"),
        format!("$argon2id$v=20$m=4096,t=2,p=1{argon}"),
        "$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHQwMA".into(),
        "$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHQwMA$".into(),
        "$argon2id$v=19$m=4096,t=2,p=1".into(),
        "$argon2id$".into(),
        // Twice, or what is no parameter of the form.
        format!("$argon2id$v=19$m=4096,t=2,p=1,m=8{argon}"),
        format!("$argon2id$v=19$m=4096,t=2,p=1,keyid=AAAA{argon}"),
        format!("$argon2id$v=19$m=4096,t=2,p=1,data=AAAA{argon}"),
        format!("$argon2id$v=19$m=04096,t=2,p=1{argon}"),
        format!("$argon2id$v=19$m=4096,t=0,p=1{argon}"),
        format!("$argon2id$v=19$m=4096,t=1,p=0{argon}"),
        format!("$argon2id$v=19$m=15,t=1,p=2{argon}"),
        format!("$argon2id$v=19$m=4096,t=2,p=1{argon}$"),
        format!("$scrypt$ln=4,r=8,p=1,ln=5{argon}"),
        format!("$scrypt$ln=0,r=8,p=1{argon}"),
        format!("$scrypt$ln=4,r=8,p=0{argon}"),
        format!("$scrypt$v=1$ln=4,r=8,p=1{argon}"),
        format!("$pbkdf2-sha256$i=1000,i=1000{argon}"),
        format!("$pbkdf2-sha256$i=999,l=32{argon}"),
        format!("$pbkdf2-sha256$i=1000,l=31{argon}"),
        format!("$pbkdf2-sha256$i=1000,l=x{argon}"),
        format!("$pbkdf2-sha256$v=1$i=1000,l=32{argon}"),
        format!("$2y$+5{bcrypt}"),
        format!("$2y$ 5{bcrypt}"),
        format!("$5$salt${}", "x".repeat(42)),
        format!("$5$salt${}", "x".repeat(44)),
        format!("$6$salt${}", "x".repeat(43)),
        format!("$5$${}", "x".repeat(43)),
        format!("$5$rounds=999$salt${}", "x".repeat(43)),
        format!("$5$rounds=999${}", "x".repeat(43)),
        format!("$5$rounds=+5000$salt${}", "x".repeat(43)),
        format!("$5$rounds=5000$rounds=5000$salt${}", "x".repeat(43)),
        format!("$5$s=lt${}", "x".repeat(43)),
        format!("$5$salt${}$", "x".repeat(43)),
    ] {
        let expected = match Form::of(&stored) {
            None => InvalidHash::Unknown,
            Some(_) => InvalidHash::Damaged,
        };
        assert_eq!(password::check(&stored), Err(expected), "{stored}");
        assert_eq!(
            password::verify(&stored, PASSWORD, b""),
            Err(expected),
            "{stored}"
        );
        assert_eq!(password::verify(&stored, b"", b""), Err(expected), "{stored}");
        assert!(!password::is_slow(&stored), "fails at once: {stored}");
    }
}

/// htpasswd -nbBC 4 u with 80 times `a`: crypt(3) reads 72 bytes.
#[test]
fn bcrypt_reads_72_bytes_as_htpasswd_does() {
    let stored = "$2y$04$5vlJ6DY0wGNvqOVMFcMkg.mgMjpjwr7l9esxbGDhI3q.bkEfBszPG";
    for (length, verifies) in [(71, false), (72, true), (73, true), (80, true), (200, true)] {
        assert_eq!(
            password::verify(stored, "a".repeat(length).as_bytes(), b""),
            Ok(verifies),
            "{length}"
        );
    }
}

/// openssl passwd -apr1, -5 and -6 with -salt abcdefgh, of 40 times `x` and of `a`: longer and shorter than a
/// digest.
#[test]
fn crypt_forms_take_passwords_of_any_length() {
    for (length, stored) in [
        (40, "$apr1$abcdefgh$7h4098paklNpzdB9KwCdh/"),
        (40, "$5$abcdefgh$HLZ6O0dRRXqn5FwX8L4CRpjjgi6f7zfZxDpGl9b0CJD"),
        (
            40,
            "$6$abcdefgh$ZJq9WpQ.Trbq8VAZQ28qDnYmkQtppl7hbRvukgOMDzw1sZifz4Ql/Gbz4yshs1YZFNpTc4IB6mg59Xuix1h9\
             J/",
        ),
    ] {
        assert_eq!(
            password::verify(stored, "x".repeat(length).as_bytes(), b""),
            Ok(true),
            "{stored}"
        );
        assert_eq!(
            password::verify(stored, "x".repeat(length - 1).as_bytes(), b""),
            Ok(false),
            "{stored}"
        );
        assert_eq!(
            password::verify(stored, "x".repeat(4000).as_bytes(), b""),
            Ok(false),
            "{stored}"
        );
    }
    for stored in [
        "$apr1$abcdefgh$G8IsPsylW5ROvIKsQMRG61",
        "$5$abcdefgh$GzAL/HPD/MYJIjVUUnvBTiqueLrt/LVxJEZtz0qaNX2",
        "$6$abcdefgh$GjMgmmowSihU3X8xhdMxaCaEziO5NUh/IZqYnnZhN1j7.JYnm2e5BnPfWNUdj17OlEroBdrPtMnfsmwWCrkw70",
    ] {
        assert_eq!(password::verify(stored, b"a", b""), Ok(true), "{stored}");
    }
    assert_eq!(
        password::verify("$apr1$abcdefgh$L.PT565ESX4Tp2bqNs7Ie.", b"", b""),
        Ok(true)
    );
}

/// htpasswd -nbBC 4 u ééé
#[test]
fn bytes_beyond_ascii_are_the_passwords_own() {
    let stored = "$2y$04$rOsiN6RDkHn07wAc1oxpR.gQ29u3VIxZb5/wSyJKwhqtfG47tKvE.";
    assert_eq!(password::verify(stored, "ééé".as_bytes(), b""), Ok(true));
    assert_eq!(password::verify(stored, b"\xe9\xe9\xe9", b""), Ok(false));
}

#[test]
fn new_hashes_verify() {
    let salt = [7; 16];
    let argon = password::hash_argon2id(PASSWORD, &salt).unwrap();
    assert!(argon.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{argon}");
    let bcrypt = password::hash_bcrypt(PASSWORD, 5, &salt).unwrap();
    assert!(bcrypt.starts_with("$2y$05$"), "{bcrypt}");
    for stored in [argon, bcrypt] {
        assert_eq!(password::verify(&stored, PASSWORD, b""), Ok(true), "{stored}");
        assert_eq!(password::verify(&stored, b"wrong", b""), Ok(false), "{stored}");
    }
}

#[test]
fn a_hash_in_place_of_another_verifies() {
    let new = password::rehash_argon2id(PASSWORD, [7; 8], [9; 16]).unwrap();
    assert!(new.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new}");
    assert_eq!(password::verify(&new, PASSWORD, b""), Ok(true));
    assert_eq!(password::verify(&new, b"wrong", b""), Ok(false));
    assert!(!password::is_to_be_renewed(&new, PASSWORD));
}

#[test]
fn bcrypt_refuses_what_it_would_cut() {
    let salt = [7; 16];
    assert_eq!(
        password::hash_bcrypt(&[b'a'; 73], 5, &salt),
        Err(InvalidHash::TooCostly)
    );
    assert_eq!(
        password::hash_bcrypt(b"a\0b", 5, &salt),
        Err(InvalidHash::Damaged)
    );
    assert_eq!(
        password::hash_bcrypt(PASSWORD, 3, &salt),
        Err(InvalidHash::Damaged)
    );
    assert_eq!(
        password::hash_bcrypt(PASSWORD, 16, &salt),
        Err(InvalidHash::TooCostly)
    );
}

/// Rule 12 of the security model: the stand-in for an unknown user is a real hash of the form and cost of new
/// users.
#[test]
fn the_dummy_hashes() {
    assert_eq!(password::verify(password::DUMMY, PASSWORD, b""), Ok(false));
    let parameters = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
    let new = password::hash_argon2id(PASSWORD, &[7; 16]).unwrap();
    assert_eq!(parameters(password::DUMMY), parameters(&new));
    for Vector { stored, .. } in vectors() {
        password::dummy(Some(stored), PASSWORD, b"");
        password::dummy(Some(&format!("!{stored}")), PASSWORD, b"");
    }
    password::dummy(None, PASSWORD, b"");
}

#[test]
fn a_password_that_is_right_with_the_other_salt_of_the_2014_gate_is_told_from_a_wrong_one() {
    // SHA-1 of `deadbeaf:secret`, `pepper:secret` and `peppersecret`.
    let (default, colon, none) = (
        "45ecaf382a5e63e836ff2e9b1b873d7e888da74f",
        "b7d984a49bf04676f05a92a52f777052a3f554ea",
        "4f2a9862378c29783ab305c0aea53c1f1cb67b1d",
    );
    let other = |stored, salt: &str| password::other_salt(stored, b"secret", salt.as_bytes());
    for (stored, salt, hint) in [
        (default, "", "\"deadbeaf:\""),
        (colon, "pepper", "lacks a colon"),
        (none, "pepper:", "too much"),
    ] {
        assert!(
            other(stored, salt).is_some_and(|said| said.contains(hint)),
            "{salt}"
        );
        assert_eq!(
            password::other_salt(stored, b"wrong", salt.as_bytes()),
            None,
            "{salt}"
        );
    }
    for (stored, salt) in [
        (colon, ""),
        (default, "pepper"),
        (none, "pepper"),
        ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "x"),
    ] {
        assert_eq!(other(stored, salt), None, "{stored} {salt}");
    }
}

#[test]
fn what_is_weak_is_to_be_renewed_but_for_what_bcrypt_has_cut() {
    let weak = password::hash_bcrypt(&[b'a'; 72], 4, &[7; 16]).unwrap();
    assert!(password::is_to_be_renewed(&weak, &[b'a'; 72]));
    assert!(!password::is_to_be_renewed(&weak, &[b'a'; 73]));
    let good = password::hash_bcrypt(&[b'a'; 72], 10, &[7; 16]).unwrap();
    assert!(!password::is_to_be_renewed(&good, &[b'a'; 72]));
    assert!(!password::is_to_be_renewed("$y$j9T$unknown", b"a"));
    for Vector { stored, .. } in vectors() {
        assert_eq!(
            password::is_to_be_renewed(stored, PASSWORD),
            password::weakness(stored).is_some(),
            "{stored}"
        );
    }
}
