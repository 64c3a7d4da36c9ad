//! Any text as a stored hash, any bytes as a password: no panic; what is read costs no more than the limits,
//! and is verified where that is cheap; what is not read is refused. Input: password, a newline, stored hash.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_auth::password::{check, is_locked, is_slow, verify, weakness, Form};

/// Of a hash that a fuzzer can afford: a few milliseconds.
const AFFORDABLE: u64 = 5000;

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (password, stored) = (&data[..end], &data[end + 1..]);
    let Ok(stored) = std::str::from_utf8(stored) else { return };
    if is_locked(stored) {
        assert_eq!(verify(stored, password, b"salt"), Ok(false));
        assert!(!is_slow(stored));
        return;
    }
    match check(stored) {
        Err(why) => {
            assert_eq!(verify(stored, password, b"salt"), Err(why));
            assert!(!is_slow(stored) && weakness(stored).is_none());
        }
        Ok(()) => {
            let form = Form::of(stored).expect("what is read is of a form");
            let cost = cost(form, stored);
            assert!(cost.is_some(), "beyond the limits: {stored}");
            if cost.is_some_and(|cost| cost <= AFFORDABLE) {
                let right = verify(stored, password, b"salt").expect("what is read can be verified against");
                assert!(!right || !password.contains(&0));
                assert_eq!(verify(stored, password, b"salt"), Ok(right));
            }
        }
    }
});

/// Roughly the microseconds, `None` for what is beyond the limits: by the largest number of each name
/// anywhere.
fn cost(form: Form, stored: &str) -> Option<u64> {
    let largest = |name: &str| {
        let values = stored.split(['$', ',']).filter_map(|field| field.strip_prefix(name));
        values.filter_map(|digits| digits.parse::<u64>().ok()).max()
    };
    let (cost, limit) = match form {
        Form::Legacy | Form::Sha | Form::SaltedSha => (stored.len() as u64, 512),
        Form::Apr1 => (1000, 1000),
        Form::Bcrypt => (50 << stored[4..6].parse::<u32>().ok()?.min(40), 50 << 15),
        Form::Argon2 => (largest("m=")?.checked_mul(largest("t=")?)?, 1 << 20),
        Form::Scrypt => {
            let blocks = largest("r=")?.checked_mul(largest("p=")?)?;
            (blocks.checked_mul(1 << largest("ln=")?.min(40))?, 512 << 13)
        }
        Form::Pbkdf2 => (largest("i=")?, 5_000_000),
        Form::ShaCrypt => (largest("rounds=").unwrap_or(5000), 1_000_000),
    };
    (cost <= limit).then_some(cost)
}
