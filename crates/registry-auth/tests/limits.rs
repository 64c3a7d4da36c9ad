//! What a stored hash may cost, and what counts as weak: both sides of each limit, and no text at all beyond
//! it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use registry_auth::password::{self, Form, InvalidHash};
use std::time::{Duration, Instant};

/// A salt of 10 bytes and a digest of 32.
const PHC: &str = "$c29tZXNhbHQwMA$1CB7TWsCiDvsK0PwBxuxJijzR9L1KJh54Zl6dLxc6v0";
const BCRYPT: &str = "$aky.GgNMbO/PJ//DTe9iTOaLL1mXsxQisCwzQ2w4fx.Pzn0i2OfHW";

fn base64(bytes: usize) -> String {
    "A".repeat((bytes * 4).div_ceil(3))
}

fn crypt(form: u8, settings: &str) -> String {
    let digits = if form == 5 { 43 } else { 86 };
    format!("${form}${settings}${}", "x".repeat(digits))
}

/// The first of each pair is the most that is taken, the second is refused. Nothing is computed: that takes
/// seconds.
#[test]
fn each_limit_has_two_sides() {
    let argon2 = |parameters: &str| format!("$argon2id$v=19${parameters}{PHC}");
    let scrypt = |parameters: &str| format!("$scrypt${parameters}{PHC}");
    let pbkdf2 =
        |rounds: u32, digest: usize| format!("$pbkdf2-sha256$i={rounds}$c29tZXNhbHQwMA${}", base64(digest));
    let ssha = |salt: usize| {
        format!("{{SSHA}}{}", {
            let text = base64(20 + salt);
            let padding = text.len().next_multiple_of(4) - text.len();
            text + &"=".repeat(padding)
        })
    };
    for (within, beyond) in [
        (argon2("m=262144,t=4,p=1"), argon2("m=262145,t=1,p=1")),
        (argon2("m=262144,t=4,p=1"), argon2("m=262144,t=5,p=1")),
        (argon2("m=16384,t=64,p=1"), argon2("m=16385,t=64,p=1")),
        (argon2("m=128,t=64,p=1"), argon2("m=128,t=65,p=1")),
        (argon2("m=128,t=1,p=16"), argon2("m=256,t=1,p=17")),
        (argon2("m=8,t=1,p=1"), argon2("m=4294967295,t=4294967295,p=1")),
        (argon2("m=8,t=1,p=1"), argon2("m=4294967295,t=1,p=4294967295")),
        (scrypt("ln=18,r=8,p=2"), scrypt("ln=19,r=8,p=1")),
        (scrypt("ln=18,r=8,p=2"), scrypt("ln=18,r=8,p=3")),
        (scrypt("ln=15,r=64,p=2"), scrypt("ln=4,r=65,p=1")),
        (scrypt("ln=15,r=8,p=16"), scrypt("ln=1,r=1,p=17")),
        (scrypt("ln=21,r=1,p=2"), scrypt("ln=22,r=1,p=1")),
        (scrypt("ln=1,r=1,p=1"), scrypt("ln=64,r=1,p=1")),
        (scrypt("ln=1,r=1,p=1"), scrypt("ln=4294967295,r=1,p=1")),
        // Not by what is mixed, but by what is mixed into: p × r × 128 bytes.
        (scrypt("ln=1,r=8,p=16"), scrypt("ln=1,r=8,p=2000000")),
        (scrypt("ln=1,r=8,p=16"), scrypt("ln=1,r=4294967295,p=4294967295")),
        (pbkdf2(5_000_000, 32), pbkdf2(5_000_001, 32)),
        (pbkdf2(5_000_000, 10), pbkdf2(u32::MAX, 10)),
        (pbkdf2(2_500_000, 64), pbkdf2(2_500_001, 64)),
        (pbkdf2(2_500_000, 33), pbkdf2(2_500_001, 33)),
        (format!("$2y$15{BCRYPT}"), format!("$2y$16{BCRYPT}")),
        (format!("$2b$04{BCRYPT}"), format!("$2b$31{BCRYPT}")),
        (crypt(5, "rounds=1000000$salt"), crypt(5, "rounds=1000001$salt")),
        (
            crypt(6, "rounds=1000000$salt"),
            crypt(6, "rounds=99999999999999$salt"),
        ),
        (crypt(5, "saltsaltsaltsalt"), crypt(5, "saltsaltsaltsalts")),
        (
            format!("$apr1$saltsalt${}", "x".repeat(22)),
            format!("$apr1$saltsalts${}", "x".repeat(22)),
        ),
        (ssha(64), ssha(65)),
        (ssha(0), ssha(4000)),
    ] {
        assert_eq!(password::check(&within), Ok(()), "{within}");
        let now = Instant::now();
        assert_eq!(password::check(&beyond), Err(InvalidHash::TooCostly), "{beyond}");
        assert_eq!(
            password::verify(&beyond, b"password", b""),
            Err(InvalidHash::TooCostly),
            "{beyond}"
        );
        assert!(
            !password::is_slow(&beyond),
            "it must not wait in the pool: {beyond}"
        );
        assert!(now.elapsed() < Duration::from_millis(100), "{beyond}");
    }
}

/// Of salts and digests of PHC strings the lengths of the PHC specification are legal.
#[test]
fn lengths_of_phc_strings_have_two_sides() {
    for start in [
        "$argon2id$v=19$m=8,t=1,p=1",
        "$scrypt$ln=1,r=1,p=1",
        "$pbkdf2-sha256$i=1000",
    ] {
        for (salt, digest, legal) in [
            (8, 10, true),
            (48, 64, true),
            (7, 10, false),
            (49, 64, false),
            (8, 9, false),
            (48, 65, false),
            (4000, 32, false),
            (16, 4000, false),
        ] {
            let stored = format!("{start}${}${}", base64(salt), base64(digest));
            assert_eq!(password::check(&stored).is_ok(), legal, "{stored}");
            let right = password::verify(&stored, b"password", b"");
            assert_eq!(right.ok(), legal.then_some(false), "{stored}");
        }
    }
}

/// A password that no header can carry is wrong at once, whatever the hash; for crypt(3)'s forms one of over
/// 512 bytes.
#[test]
fn passwords_have_a_longest() {
    let at_once = |stored: &str, length: usize| {
        let now = Instant::now();
        let right = password::verify(stored, &vec![b'x'; length], b"");
        assert_eq!(right, Ok(false), "{stored}");
        now.elapsed() < Duration::from_millis(100)
    };
    for stored in [
        &format!("$2y$15{BCRYPT}"),
        &format!("$argon2id$v=19$m=262144,t=4,p=1{PHC}"),
        &format!("$scrypt$ln=18,r=8,p=2{PHC}"),
        &format!("$pbkdf2-sha256$i=5000000{PHC}"),
    ] {
        assert!(at_once(stored, 4097), "{stored}");
    }
    for stored in [crypt(5, "rounds=1000000$salt"), crypt(6, "rounds=1000000$salt")] {
        assert!(at_once(&stored, 513), "{stored}");
    }
    // sha1 of 512 times `x`, and `openssl passwd -apr1 -salt salt` of the same on standard input.
    let longest = vec![b'x'; 512];
    for stored in [SHA_512X, APR1_512X, SHA256_512X] {
        assert_eq!(password::verify(stored, &longest, b""), Ok(true), "{stored}");
    }
    assert_eq!(password::verify(SHA_4096X, &vec![b'x'; 4096], b""), Ok(true));
    assert_eq!(password::verify(SHA_4097X, &vec![b'x'; 4097], b""), Ok(false));
}

// printf 'x%.0s' {1..512} | sha1sum, and so on; python3-passlib's apr_md5_crypt and sha256_crypt for the
// rest.
const SHA_512X: &str = "8d58820c6672a8f168d7b53e707b8175de7345ab";
const SHA_4096X: &str = "0494dc592da04a1753223918ea73bcb86876372c";
const SHA_4097X: &str = "b5f4a6098b7341f8cd95b1b5320b1c50d1efe6fe";
const APR1_512X: &str = "$apr1$salt$xndVFYPc539egaxMrd9oL1";
const SHA256_512X: &str = "$5$rounds=1000$salt$J3Wum7J4O1iX25WQ55IRIjnA41IR7bH5R14CZqY5gGC";

/// OWASP's Password Storage Cheat Sheet; for SHA-crypt crypt(3)'s default.
#[test]
fn weak_is_what_is_below_the_minimum() {
    let argon2 = |parameters: &str| format!("$argon2id$v=19${parameters}{PHC}");
    let scrypt = |parameters: &str| format!("$scrypt${parameters}{PHC}");
    for (good, weak) in [
        (argon2("m=19456,t=2,p=1"), argon2("m=19455,t=2,p=1")),
        (argon2("m=47104,t=1,p=1"), argon2("m=47103,t=1,p=1")),
        (argon2("m=12288,t=3,p=1"), argon2("m=12287,t=3,p=1")),
        (argon2("m=9216,t=4,p=1"), argon2("m=9215,t=4,p=1")),
        (argon2("m=7168,t=5,p=4"), argon2("m=7167,t=64,p=1")),
        (
            password::DUMMY.to_owned(),
            format!("$argon2i$m=4096,t=3,p=1{PHC}"),
        ),
        (scrypt("ln=17,r=8,p=1"), scrypt("ln=16,r=8,p=1")),
        (scrypt("ln=16,r=8,p=2"), scrypt("ln=15,r=8,p=2")),
        (scrypt("ln=15,r=8,p=3"), scrypt("ln=14,r=8,p=4")),
        (scrypt("ln=14,r=8,p=5"), scrypt("ln=13,r=8,p=9")),
        (scrypt("ln=13,r=8,p=10"), scrypt("ln=12,r=8,p=16")),
        (scrypt("ln=16,r=16,p=1"), scrypt("ln=20,r=1,p=2")),
        (
            format!("$pbkdf2-sha256$i=600000,l=32{PHC}"),
            format!("$pbkdf2-sha256$i=599999,l=32{PHC}"),
        ),
        (format!("$2y$10{BCRYPT}"), format!("$2y$09{BCRYPT}")),
        (crypt(5, "salt"), crypt(5, "rounds=4999$salt")),
        (crypt(6, "rounds=5000$salt"), crypt(6, "rounds=4999$salt")),
    ] {
        assert_eq!(password::weakness(&good), None, "{good}");
        assert_eq!(password::check(&weak), Ok(()), "{weak}");
        assert!(password::weakness(&weak).is_some(), "{weak}");
        assert_eq!(password::weakness(&format!("!{weak}")), password::weakness(&weak));
    }
    for weak in [
        SHA_512X,
        APR1_512X,
        "{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=",
        "{SSHA}LhKrkM9Fy+zlstjdD7Kv2s6QvhBzYWx0",
    ] {
        assert!(password::weakness(weak).is_some(), "{weak}");
    }
    for none in ["", "plain", "!", "$2y$31$", "{SHA}x"] {
        assert_eq!(password::weakness(none), None, "not weak but unusable: {none}");
    }
}

/// What verifying costs at most, read by itself and without mercy: the largest number of each name that
/// stands anywhere in the text. Memory in KiB, and in units of about a second.
fn at_most(stored: &str) -> (u64, f64) {
    let largest = |name: &str| {
        let values = stored
            .split(['$', ','])
            .filter_map(|field| field.strip_prefix(name));
        values
            .filter_map(|digits| digits.parse::<u64>().ok())
            .max()
            .unwrap_or(0)
    };
    match Form::of(stored).unwrap() {
        Form::Legacy | Form::Sha | Form::SaltedSha | Form::Apr1 => (0, stored.len() as f64 / 1e6),
        Form::Bcrypt => (4, 2f64.powi(stored[4..6].parse::<i32>().unwrap() - 14)),
        Form::Argon2 => (
            largest("m="),
            largest("m=") as f64 * largest("t=") as f64 / f64::from(1 << 20),
        ),
        Form::Scrypt => {
            let memory =
                largest("r=") as f64 * 2f64.powi(i32::try_from(largest("ln=")).unwrap_or(i32::MAX)) / 8.0;
            let beside = (largest("r=") * largest("p=")).div_ceil(8);
            (
                memory as u64 + beside,
                memory * largest("p=") as f64 / f64::from(512 << 10),
            )
        }
        Form::Pbkdf2 => (0, largest("i=") as f64 / 5e6),
        Form::ShaCrypt => (0, largest("rounds=").max(5000) as f64 / 1e6),
    }
}

/// Numbers around and far beyond the limits.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..20,
        0_u64..100_000,
        any::<u32>().prop_map(u64::from),
        any::<u64>(),
        (0_u32..64).prop_map(|bit| 1 << bit)
    ]
}

fn parameters(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    let one = (prop::sample::select(names), number()).prop_map(|(name, number)| format!("{name}={number}"));
    prop::collection::vec(one, 0..6).prop_map(|all| all.join(","))
}

/// Texts that are nearly, or quite, stored hashes.
fn stored() -> impl Strategy<Value = String> {
    let tail = || {
        prop_oneof![
            8 => Just(PHC.to_owned()),
            1 => "\\$[A-Za-z0-9+/]{0,70}\\$[A-Za-z0-9+/]{0,90}",
            1 => "\\PC{0,40}",
        ]
    };
    let argon2 = (
        prop::sample::select(
            &[
                "$argon2id$v=19$",
                "$argon2i$v=16$",
                "$argon2id$",
                "$argon2id$v=4294967296$",
            ][..],
        ),
        parameters(&["m", "t", "p", "keyid", "v"]),
        tail(),
    );
    let scrypt = (Just("$scrypt$"), parameters(&["ln", "r", "p"]), tail());
    let pbkdf2 = (Just("$pbkdf2-sha256$"), parameters(&["i", "l"]), tail());
    let join = |(start, middle, end): (&'static str, String, String)| format!("{start}{middle}{end}");
    let rounds = prop_oneof![
        Just(String::new()),
        number().prop_map(|rounds| format!("rounds={rounds}$"))
    ];
    let shacrypt = (
        prop::sample::select(&["$5$", "$6$"][..]),
        rounds,
        "[a-z./=$]{0,20}",
        40_usize..90,
    )
        .prop_map(|(start, rounds, salt, digest)| format!("{start}{rounds}{salt}${}", "x".repeat(digest)));
    let bcrypt = ("\\$2[aby]\\$[0-9+ ]{2}", Just(BCRYPT)).prop_map(|(start, end)| start + end);
    let other = prop::sample::select(&["", "$apr1$", "{SHA}", "{SSHA}", "$2y$10$", "$5$", "$argon2id$"][..]);
    let other = (other, "\\PC{0,80}").prop_map(|(start, end)| format!("{start}{end}"));
    prop_oneof![
        argon2.prop_map(join),
        scrypt.prop_map(join),
        pbkdf2.prop_map(join),
        shacrypt,
        bcrypt,
        other
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 20_000,
        ..ProptestConfig::default()
    })]

    /// Whatever is let through costs no more than the limits say, by every reading of it; the rest fails at
    /// once. What is cheap is verified too, and does not panic.
    #[test]
    fn no_text_is_beyond_the_limits(stored in stored()) {
        prop_assume!(!password::is_locked(&stored));
        let now = Instant::now();
        match password::check(&stored) {
            Ok(()) => {
                let (memory, time) = at_most(&stored);
                prop_assert!(memory <= (256 << 10) + 1024 && time <= 2.0, "{stored}: {memory} KiB, {time}");
                if memory < 1024 && time < 0.002 {
                    prop_assert_eq!(password::verify(&stored, b"\x00", b""), Ok(false));
                    prop_assert!(password::verify(&stored, b"password", b"salt").is_ok(), "{stored}");
                }
            }
            Err(why) => {
                prop_assert_eq!(password::verify(&stored, b"password", b"salt"), Err(why));
                prop_assert!(!password::is_slow(&stored) && password::weakness(&stored).is_none());
                prop_assert!(now.elapsed() < Duration::from_secs(1), "{stored}");
            }
        }
    }

    /// Any text at all, NUL bytes and line breaks included.
    #[test]
    fn no_text_panics(stored in any::<String>(), password in any::<Vec<u8>>()) {
        let _ = (password::check(&stored), password::weakness(&stored), Form::of(&stored));
        if !password::is_slow(&stored) {
            let _ = password::verify(&stored, &password, b"salt");
        }
    }
}
