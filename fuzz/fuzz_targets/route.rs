//! Any request line: no panic, and no route whose repository is not spelled out in the raw path, or whose
//! mount could be read in another way. Input: method byte, then raw path, decided path, query and content
//! type between newlines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_auth::route::mount;
use registry_auth::route::{self, Api, Method, Mount, RouteOptions, Request};
use registry_auth::RepositoryName;

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let mut fields = rest.splitn(4, |byte| *byte == b'\n');
    let raw_path = fields.next().unwrap_or_default();
    let decided_path = fields.next().filter(|path| !path.is_empty()).unwrap_or(raw_path);
    let args = fields.next().unwrap_or_default();
    let content_type = fields.next();
    let method = Method::ALL[usize::from(*first) % Method::ALL.len()];
    let request = Request {
        method,
        raw_path,
        decided_path,
        args,
        content_type,
    };
    let options = RouteOptions {
        v1_images: *first & 64 == 0,
    };

    check_strip(args);
    let Ok(route) = route::parse(&request, &options) else {
        return;
    };
    assert!(method != Method::Other, "an unknown method is on no route");
    assert!(!contains(raw_path, b"..") || !raw_path.split(|b| *b == b'/').any(|s| s == b"." || s == b".."));
    assert!(!contains(raw_path, b"//") && !raw_path.contains(&0));
    match raw_path.iter().filter(|byte| **byte == b'%').count() {
        0 => assert_eq!(raw_path, decided_path),
        1 => assert!(contains(raw_path, b"%3A") || contains(raw_path, b"%3a")),
        _ => panic!("one escape at most"),
    }
    if let Some(name) = route.repository() {
        match route.api {
            Api::V1 => assert!(RepositoryName::from_v1(name.as_bytes()).is_ok()),
            _ => assert!(RepositoryName::parse(name.as_bytes()).is_ok()),
        }
        let prefix = if route.api == Api::V1 {
            "/v1/repositories/"
        } else {
            "/v2/"
        };
        let spelled = format!("{prefix}{name}/");
        let short = name
            .as_str()
            .strip_prefix("library/")
            .map(|name| format!("{prefix}{name}/"));
        let starts = |text: &str| raw_path.starts_with(text.as_bytes());
        assert!(starts(&spelled) || route.api == Api::V1 && short.is_some_and(|short| starts(&short)));
    }
    if route.mount != Mount::Absent {
        assert_eq!(method, Method::Post);
        assert!(raw_path.ends_with(b"/blobs/uploads/"));
    }
});

/// What is left holds no mount, and nothing is left that was not there.
fn check_strip(args: &[u8]) {
    let mut left = Vec::new();
    mount::strip(args, mount::MOUNT, &mut left);
    assert_eq!(mount::classify(&left), Mount::Absent);
    assert!(left.len() <= args.len());
    if mount::classify(args) == Mount::Absent {
        assert_eq!(left, args);
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
