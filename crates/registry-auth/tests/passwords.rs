//! Password forms of interface.md, against what Debian's htpasswd, argon2, mkpasswd and openssl made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use registry_auth::password::{self, Form, InvalidHash};

const PASSWORD: &[u8] = b"correct horse";

/// Hashes of `correct horse`, with the command that made each.
const HASHES: &[(Form, &str)] = &[
    // printf 'correct horse' | sha1sum
    (Form::Legacy, "2f9e53523b62abc141a2b4d6019d23cba835dbd0"),
    (Form::Legacy, "2F9E53523B62ABC141A2B4D6019D23CBA835DBD0"),
    // htpasswd -nbs u 'correct horse'
    (Form::Sha, "{SHA}L55TUjtiq8FBorTWAZ0jy6g129A="),
    // printf 'correct horsesalt' | openssl sha1 -binary, then `salt`, in base64
    (Form::SaltedSha, "{SSHA}LhKrkM9Fy+zlstjdD7Kv2s6QvhBzYWx0"),
    // htpasswd -nbBC 5 u 'correct horse'
    (
        Form::Bcrypt,
        "$2y$05$aky.GgNMbO/PJ//DTe9iTOaLL1mXsxQisCwzQ2w4fx.Pzn0i2OfHW",
    ),
    // mkpasswd -m bcrypt 'correct horse'
    (
        Form::Bcrypt,
        "$2b$05$9tHt/ep4WSfuParkN5NwoOOBk.9t1zDnr7lyA/M5ZtLQUt7LgYk4a",
    ),
    // mkpasswd -m bcrypt-a 'correct horse'
    (
        Form::Bcrypt,
        "$2a$05$irVuYhypWTGGdGpKMHXxh.Pdd7zMo8ufH1xifWzKEo8NOgmiQWD.2",
    ),
    // printf 'correct horse' | argon2 somesalt00 -id -t 2 -m 12 -p 1 -e
    (
        Form::Argon2,
        "$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHQwMA$1CB7TWsCiDvsK0PwBxuxJijzR9L1KJh54Zl6dLxc6v0",
    ),
    // printf 'correct horse' | argon2 somesalt00 -i -t 3 -m 12 -p 2 -e
    (
        Form::Argon2,
        "$argon2i$v=19$m=4096,t=3,p=2$c29tZXNhbHQwMA$cPvhigGKvdhARorPVy3Tcj+3w1tlqzShDR3FgWfCJgM",
    ),
    // printf 'correct horse' | argon2 somesalt00 -i -v 10 -t 3 -m 12 -p 2 -e
    (
        Form::Argon2,
        "$argon2i$v=16$m=4096,t=3,p=2$c29tZXNhbHQwMA$IO6cXzu1Dk8v+U2S99aqNaeeIsOoLlJqtEokItrIcXQ",
    ),
    // htpasswd -nbm u 'correct horse'
    (Form::Apr1, "$apr1$Eujhg.qt$SNovqTlY2KWIdRpx.Kthm0"),
    // openssl passwd -apr1 'correct horse'
    (Form::Apr1, "$apr1$a.vwwvRJ$QttwYbr9u4Lfo6fBSqszH."),
    // htpasswd -nb2 u 'correct horse'
    (Form::ShaCrypt, "$5$fvJXMSgxNBTvhejm$Xuq/gQ6qeRdF8uhpExF3sYjr8E1BQogSDlK.dHEo01A"),
    // mkpasswd -m sha-256 -R 1234 'correct horse'
    (Form::ShaCrypt, "$5$rounds=1234$BM0TR1f1r0gL.K0g$0NY03..d6QH.xdSx9.MGIdtUtPvpwmioCrHQMnDbfs8"),
    // htpasswd -nb5 u 'correct horse'
    (
        Form::ShaCrypt,
        "$6$qGn7zj5MshvE0CzL$vDUX76ALWXyszWj8Y46yxvAqftCn.66VQKJ17ueerZQSzuuj1/kT9Pmm/0ANuApz2FwGKQcrl.60ddqmJIlyC.",
    ),
    // openssl passwd -6 'correct horse'
    (
        Form::ShaCrypt,
        "$6$f7e6MvZkHGlKEX1I$/ZDbmK/XwYz8jwJaivwL7yFTBoyr.IB7wbGAeoZeFHVGJyt.aNP9GvjPyxRi7eA0lkbRXB6SK9.24Af00/WDM1",
    ),
    // openssl kdf -keylen 32 -kdfopt pass:'correct horse' -kdfopt salt:somesalt0000 -kdfopt n:1024 -kdfopt r:8 -kdfopt p:2 SCRYPT
    (Form::Scrypt, "$scrypt$ln=10,r=8,p=2$c29tZXNhbHQwMDAw$OlBoDfQHO8WTctUCBiUuNanMbs7cpaBFLDI0+iauH1c"),
    // openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt pass:'correct horse' -kdfopt salt:somesalt0000 -kdfopt iter:1000 PBKDF2
    (Form::Pbkdf2, "$pbkdf2-sha256$i=1000,l=32$c29tZXNhbHQwMDAw$yho+NSHYeG4KUT/nl2Bc+pG7ac+xKNG70PD0T+BW/lY"),
];

#[test]
fn the_tools_hashes_verify() {
    for (form, stored) in HASHES {
        assert_eq!(Form::of(stored), Some(*form), "{stored}");
        assert_eq!(password::verify(stored, PASSWORD, b""), Ok(true), "{stored}");
    }
}

#[test]
fn other_passwords_do_not() {
    for (_, stored) in HASHES {
        for wrong in [
            "",
            "correct hors",
            "correct horse ",
            "Correct horse",
            "correct horse\0x",
            stored,
        ] {
            assert_eq!(
                password::verify(stored, wrong.as_bytes(), b""),
                Ok(false),
                "{stored} {wrong:?}"
            );
        }
    }
}

/// interface.md: a leading `!` locks the account.
#[test]
fn a_locked_account_verifies_nothing() {
    for (form, stored) in HASHES {
        let locked = format!("!{stored}");
        assert!(password::is_locked(&locked) && !password::is_locked(stored));
        assert_eq!(password::verify(&locked, PASSWORD, b""), Ok(false), "{locked}");
        assert_eq!(Form::of(&locked), Some(*form), "the form shows through the lock");
        assert!(!password::is_slow(&locked), "a locked account costs nothing");
    }
    assert_eq!(password::verify("!", b"", b""), Ok(false));
}

#[test]
fn slow_forms_are_told() {
    for (form, stored) in HASHES {
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
    for (form, stored) in HASHES {
        assert_eq!(
            password::verify(stored, PASSWORD, b"salt"),
            Ok(*form != Form::Legacy),
            "{stored}"
        );
    }
}

/// Unknown forms, damaged hashes and costs beyond the limits fail closed, and at once.
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
        "$apr1$Eujhg.qtx$SNovqTlY2KWIdRpx.Kthm0".into(),
        "$apr1$Eujhg:qt$SNovqTlY2KWIdRpx.Kthm0".into(),
        "$5$salt".into(),
        "$5$salt$".into(),
        "$6$rounds=1000001$salt$vDUX76ALWXyszWj8Y46yxv".into(),
        "$6$rounds=999999999$salt$vDUX76ALWXyszWj8Y46yxv".into(),
        "$6$rounds=99999999999999$salt$vDUX76ALWXyszWj8Y46yxv".into(),
        "$6$rounds=$salt$vDUX76ALWXyszWj8Y46yxv".into(),
        "$6$rounds=5000$salt$!".into(),
        "$6$a$b$c$d$e".into(),
        format!("$scrypt$ln=31,r=8,p=1{argon}"),
        format!("$scrypt$ln=64,r=8,p=1{argon}"),
        format!("$scrypt$ln=21,r=8,p=1{argon}"),
        format!("$scrypt$ln=10,r=4294967295,p=4294967295{argon}"),
        format!("$scrypt$ln=20,r=8,p=5{argon}"),
        format!("$scrypt$ln=4,r=0,p=1{argon}"),
        format!("$scrypt$ln=4,r=8{argon}"),
        "$scrypt$ln=4,r=8,p=1$c29tZXNhbHQwMDAw".into(),
        format!("$pbkdf2-sha256$i=5000001{argon}"),
        format!("$pbkdf2-sha256$i=4294967295,l=32{argon}"),
        format!("$pbkdf2-sha256$l=32{argon}"),
        format!("$pbkdf2-sha256$i=0,l=32{argon}"),
        "$pbkdf2-sha256$i=1000,l=32$c29tZXNhbHQwMDAw".into(),
        "$pbkdf2-sha256$1000$c29tZXNhbHQwMDAw$yho.NSHYeG4KUT/nl2Bc.pG7ac.xKNG70PD0T.BW/lY".into(),
        format!("$pbkdf2-sha512$i=1000,l=32{argon}"),
        "$y$j9T$Lwvsolqy2jNoDLs/Ecmzp/$0lGLj0VSAlNIeIws1arm.KJubS4FwH2e/dtXr/heVAC".into(),
        "$2x$05$aky.GgNMbO/PJ//DTe9iTOaLL1mXsxQisCwzQ2w4fx.Pzn0i2OfHW".into(),
        "$2y$05$short".into(),
        format!("$2y$17{bcrypt}"),
        format!("$2y$31{bcrypt}"),
        format!("$2y$99{bcrypt}"),
        format!("$2y$03{bcrypt}"),
        format!("$argon2d$v=19$m=4096,t=3,p=2{argon}"),
        format!("$argon2id$v=19$m=1048577,t=1,p=1{argon}"),
        format!("$argon2id$v=19$m=4294967295,t=1,p=1{argon}"),
        format!("$argon2id$v=19$m=1048576,t=5,p=1{argon}"),
        format!("$argon2id$v=19$m=4096,t=65,p=1{argon}"),
        format!("$argon2id$v=19$m=4096,t=4294967295,p=1{argon}"),
        format!("$argon2id$v=19$m=4096,t=2,p=17{argon}"),
        format!("$argon2id$v=19$m=4096,t=2{argon}"),
        format!("$argon2id$v=19{argon}"),
        format!("$argon2id$v=20$m=4096,t=2,p=1{argon}"),
        "$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHQwMA".into(),
        "$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHQwMA$".into(),
        "$argon2id$v=19$m=4096,t=2,p=1".into(),
        "$argon2id$".into(),
    ] {
        assert_eq!(
            password::verify(&stored, PASSWORD, b""),
            Err(InvalidHash),
            "{stored}"
        );
        assert_eq!(password::verify(&stored, b"", b""), Err(InvalidHash), "{stored}");
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

/// openssl passwd -apr1, -5 and -6 with -salt abcdefgh, of 40 times `x` and of `a`: longer and shorter than a digest.
#[test]
fn crypt_forms_take_passwords_of_any_length() {
    for (length, stored) in [
        (40, "$apr1$abcdefgh$7h4098paklNpzdB9KwCdh/"),
        (40, "$5$abcdefgh$HLZ6O0dRRXqn5FwX8L4CRpjjgi6f7zfZxDpGl9b0CJD"),
        (40, "$6$abcdefgh$ZJq9WpQ.Trbq8VAZQ28qDnYmkQtppl7hbRvukgOMDzw1sZifz4Ql/Gbz4yshs1YZFNpTc4IB6mg59Xuix1h9J/"),
    ] {
        assert_eq!(password::verify(stored, "x".repeat(length).as_bytes(), b""), Ok(true), "{stored}");
        assert_eq!(password::verify(stored, "x".repeat(length - 1).as_bytes(), b""), Ok(false), "{stored}");
        assert_eq!(password::verify(stored, "x".repeat(4000).as_bytes(), b""), Ok(false), "{stored}");
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
fn bcrypt_refuses_what_it_would_cut() {
    let salt = [7; 16];
    assert_eq!(password::hash_bcrypt(&[b'a'; 73], 5, &salt), Err(InvalidHash));
    assert_eq!(password::hash_bcrypt(b"a\0b", 5, &salt), Err(InvalidHash));
    assert_eq!(password::hash_bcrypt(PASSWORD, 3, &salt), Err(InvalidHash));
    assert_eq!(password::hash_bcrypt(PASSWORD, 17, &salt), Err(InvalidHash));
}

/// security.md row 12: the stand-in for an unknown user is a real hash of the form and cost of new users.
#[test]
fn the_dummy_hashes() {
    assert_eq!(password::verify(password::DUMMY, PASSWORD, b""), Ok(false));
    let parameters = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
    let new = password::hash_argon2id(PASSWORD, &[7; 16]).unwrap();
    assert_eq!(parameters(password::DUMMY), parameters(&new));
    for (_, stored) in HASHES {
        password::dummy(Some(stored), PASSWORD, b"");
        password::dummy(Some(&format!("!{stored}")), PASSWORD, b"");
    }
    password::dummy(None, PASSWORD, b"");
}
