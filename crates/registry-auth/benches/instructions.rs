//! The instructions that the parts of a request take here: `cargo bench -p registry-auth`. Needs valgrind.
//!
//! An argument is the number of grants of the busy user, 1,000 if there is none: `cargo bench -p
//! registry-auth -- 10`.

mod callgrind;

use registry_auth::codec::{Record, RecordRef, encode};
use registry_auth::credentials::{self, Buffer};
use registry_auth::grant::Grant;
use registry_auth::policy::{Rules, decide};
use registry_auth::route::{self, Method, Request, Route, RouteOptions};
use registry_auth::{Denial, Limits, Subject, UserName};
use std::error::Error;
use std::hint::black_box;

const ROUNDS: u64 = 1000;
const FUNCTIONS: [&str; 6] = [
    "measured_route",
    "measured_mount",
    "measured_credentials",
    "measured_decode",
    "measured_own",
    "measured_grants",
];
const OPTIONS: RouteOptions = RouteOptions { v1_images: true };
const RULES: Rules = Rules {
    own_namespace: true,
    catalog: true,
    public_images: false,
};

#[inline(never)]
fn measured_route<'a>(request: &Request<'a>) -> bool {
    black_box(route::parse(request, &OPTIONS)).is_ok()
}

#[inline(never)]
fn measured_mount(request: &Request<'_>) -> bool {
    black_box(route::parse(request, black_box(&OPTIONS))).is_ok()
}

#[inline(never)]
fn measured_credentials(header: &[u8], buffer: &mut Buffer) -> bool {
    let found = black_box(credentials::parse(Some(header), buffer)).is_ok();
    buffer.wipe();
    found
}

#[inline(never)]
fn measured_decode(bytes: &[u8]) -> bool {
    black_box(RecordRef::decode(bytes)).is_ok()
}

#[inline(never)]
fn measured_own(subject: &Subject<'_>, route: &Route<'_>) -> bool {
    black_box(decide(subject, route, &RULES)).is_ok()
}

#[inline(never)]
fn measured_grants(subject: &Subject<'_>, route: &Route<'_>) -> bool {
    black_box(decide(subject, route, black_box(&RULES))).is_ok()
}

/// The encoded record of a user with this many grants, one of which is for `team/app`.
fn record(grants: usize) -> Vec<u8> {
    let many =
        (1..grants).filter_map(|index| Grant::from_parts(&format!("team/project-{index}/*"), "pull").ok());
    let last = Grant::from_parts("team/app", "pull").ok();
    let password = Some(
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQwMA$1CB7TWsCiDvsK0PwBxuxJijzR9L1KJh54Zl6dLxc6v0".into(),
    );
    let mut bytes = Vec::new();
    let written = encode(
        &Record {
            password,
            grants: many.chain(last).collect(),
            ..Record::default()
        },
        &mut bytes,
    );
    assert!(written.is_ok());
    bytes
}

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo bench` adds an argument of its own.
    let grants = std::env::args().skip(1).find_map(|text| text.parse().ok());
    match callgrind::is_counted() {
        true => Ok(work(grants.unwrap_or(1000))?),
        false => Ok(callgrind::report(&FUNCTIONS, ROUNDS)?),
    }
}

/// Calls each of the measured functions so often as [`ROUNDS`] says.
fn work(grants: usize) -> Result<(), Denial> {
    let get = |path: &'static [u8]| Request::from_target(Method::Get, path, path, None);
    let manifest = get(b"/v2/alice/app/manifests/latest");
    let team = get(b"/v2/team/app/manifests/latest");
    let mount = Request::from_target(
        Method::Post,
        b"/v2/alice/app/blobs/uploads/?mount=sha256%3A0123456789abcdef0123456789abcdef&from=alice%2Fother",
        b"/v2/alice/app/blobs/uploads/",
        None,
    );
    let (few, many) = (record(1), record(grants));
    let decode = |bytes| RecordRef::decode(bytes).map_err(|_| Denial::bad_record());
    let user = UserName::parse(b"alice").ok();
    let alice = Subject {
        user,
        record: decode(&few)?,
        groups: &[],
        limits: Limits::default(),
    };
    let busy = Subject {
        user,
        record: decode(&many)?,
        groups: &[],
        limits: Limits::default(),
    };
    let (own, other) = (route::parse(&manifest, &OPTIONS)?, route::parse(&team, &OPTIONS)?);
    let mut buffer = Buffer::new();
    for _ in 0..ROUNDS {
        let good = measured_route(black_box(&manifest))
            & measured_mount(black_box(&mount))
            & measured_credentials(black_box(b"Basic YWxpY2U6Y29ycmVjdCBob3JzZQ=="), &mut buffer)
            & measured_decode(black_box(&few))
            & measured_own(black_box(&alice), black_box(&own))
            & measured_grants(black_box(&busy), black_box(&other));
        assert!(good);
    }
    Ok(())
}
