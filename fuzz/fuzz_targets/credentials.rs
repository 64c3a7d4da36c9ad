//! Any `Authorization` header: no panic; what is accepted is a whole user and password, and anonymous is
//! `Og==` only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_auth::credentials::{parse, Buffer, Credentials};
use registry_auth::UserName;

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
});
