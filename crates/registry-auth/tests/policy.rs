//! The decisions of `policy.txt`, what follows from them for requests, and properties of all grants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use registry_auth::codec::{self, Record, RecordRef};
use registry_auth::grant::Grant;
use registry_auth::policy::{self, Holder, MountDecision, Rule, Rules};
use registry_auth::resource::Resource;
use registry_auth::route::{self, Method, Request, RouteOptions};
use registry_auth::token::access_token::parse_scope;
use registry_auth::{
    Access, AccessToken, Action, Denial, Limits, Reason, RepositoryName, StoredToken, Subject, UserName,
};

fn encode(grants: Vec<Grant>, password: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let password = password.map(str::to_owned);
    codec::encode(
        &Record {
            password,
            grants,
            ..Record::default()
        },
        &mut bytes,
    )
    .unwrap();
    bytes
}

fn grants(text: &str) -> Vec<Grant> {
    let words = text.split(';').map(str::trim).filter(|grant| !grant.is_empty());
    words
        .map(|grant| {
            let (pattern, actions) = grant.split_once(' ').expect(grant);
            Grant::from_parts(pattern, actions).expect(grant)
        })
        .collect()
}

fn action(word: &str) -> Action {
    Action::ALL
        .into_iter()
        .find(|action| action.as_str() == word)
        .expect(word)
}

fn repository(name: &str) -> RepositoryName<'_> {
    RepositoryName::parse(name.as_bytes()).expect(name)
}

/// The records of one block of the table.
#[derive(Default)]
struct Block {
    own: bool,
    users: Vec<(String, Vec<u8>)>,
    groups: Vec<(String, Vec<u8>)>,
}

impl Block {
    fn read(&mut self, line: &str) -> bool {
        if let Some(value) = line.strip_prefix("own ") {
            self.own = value == "on";
            return true;
        }
        let (into, rest) = match (line.strip_prefix("user "), line.strip_prefix("group ")) {
            (Some(rest), _) => (&mut self.users, rest),
            (_, Some(rest)) => (&mut self.groups, rest),
            _ => return false,
        };
        let (name, list) = rest.split_once(':').expect(line);
        into.push((name.to_owned(), encode(grants(list), None)));
        true
    }

    fn ask(&self, line: &str) -> String {
        let words: Vec<_> = line.split_whitespace().collect();
        let (who, action, repository) = (words[0], action(words[1]), repository(words[2]));
        let groups = self
            .groups
            .iter()
            .filter(|(name, _)| who != "-" || name == "public");
        let groups: Vec<_> = groups.collect();
        let records: Vec<_> = groups
            .iter()
            .map(|(_, bytes)| RecordRef::decode(bytes).unwrap())
            .collect();
        let user = self.users.iter().find(|(name, _)| name == who);
        let subject = Subject {
            user: user.map(|(name, _)| UserName::parse(name.as_bytes()).unwrap()),
            record: user.map_or(RecordRef::EMPTY, |(_, bytes)| RecordRef::decode(bytes).unwrap()),
            groups: &records,
            limits: Limits::default(),
        };
        assert_eq!(user.is_none(), who == "-", "{line}");
        let rules = Rules {
            own_namespace: self.own,
            catalog: true,
            public_images: false,
        };
        let verdict = policy::judge(&subject, &repository, action, &rules).unwrap();
        let rule = match verdict.rule {
            Rule::Own => "own".to_owned(),
            Rule::None => "nothing".to_owned(),
            Rule::Grant { holder, grant } => {
                let holder = match holder {
                    Holder::User => "user",
                    Holder::Group(index) => groups[index].0.as_str(),
                };
                format!(
                    "{holder} {}{}",
                    if grant.deny { "!" } else { "" },
                    grant.pattern().unwrap()
                )
            }
            Rule::OutsideAccessToken | Rule::OutsideToken => panic!("a password has no limits"),
            Rule::Open | Rule::Verified => panic!("no rule of a scope"),
        };
        format!("{} {rule}", if verdict.allowed { "yes" } else { "no" })
    }
}

#[test]
fn each_line_of_the_table_holds() {
    let mut block = Block::default();
    let mut asked = 0;
    for line in include_str!("policy.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if line.starts_with("==") {
            block = Block::default();
        } else if !block.read(line) {
            let (question, answer) = line.split_once(" -> ").expect(line);
            assert_eq!(block.ask(question), answer, "{line}");
            asked += 1;
        }
    }
    assert!(asked >= 60, "the table was read: {asked}");
}

const RULES: Rules = Rules {
    own_namespace: true,
    catalog: true,
    public_images: false,
};

/// What becomes of a request: the permit's mount and result, or the status of the denial and its message.
fn request(
    subject: &Subject<'_>,
    method: Method,
    target: &str,
) -> Result<(MountDecision, &'static str), Denial> {
    let path = target.split('?').next().unwrap();
    let request = Request::from_target(method, target.as_bytes(), path.as_bytes(), None);
    let route = route::parse(&request, &RouteOptions { v1_images: true }).unwrap();
    policy::decide(subject, &route, &RULES).map(|permit| (permit.mount(), permit.result().as_str()))
}

fn user<'a>(name: &'a str, record: &'a [u8]) -> Subject<'a> {
    Subject {
        user: Some(UserName::parse(name.as_bytes()).unwrap()),
        record: RecordRef::decode(record).unwrap(),
        groups: &[],
        limits: Limits::default(),
    }
}

const GRANTED: Result<(MountDecision, &str), Denial> = Ok((MountDecision::Keep, "granted"));

/// `registry_auth_v1_images public`: to read images takes no login; to write them does, and what a token may
/// not it may not.
#[test]
fn public_images_are_open_for_reading() {
    let record = encode(vec![], None);
    let image = b"/v1/images/0123abcd/layer";
    let decide = |subject: &Subject<'_>, method: Method, public_images: bool| {
        let rules = Rules {
            public_images,
            ..RULES
        };
        let request = Request::from_target(method, image, image, None);
        let route = route::parse(&request, &RouteOptions { v1_images: true }).unwrap();
        policy::decide(subject, &route, &rules).map_or_else(
            |denial| denial.status().to_string(),
            |permit| permit.result().as_str().into(),
        )
    };
    assert_eq!(decide(&Subject::ANONYMOUS, Method::Get, false), "401");
    assert_eq!(decide(&Subject::ANONYMOUS, Method::Get, true), "anonymous");
    assert_eq!(decide(&Subject::ANONYMOUS, Method::Head, true), "anonymous");
    assert_eq!(decide(&Subject::ANONYMOUS, Method::Put, true), "401");
    let alice = user("alice", &record);
    assert_eq!(decide(&alice, Method::Get, true), "granted");
    assert_eq!(decide(&alice, Method::Put, true), "granted");
    let nothing = Access::default();
    let limits = Limits {
        access_token: None,
        token: Some(&nothing),
    };
    assert_eq!(decide(&Subject { limits, ..alice }, Method::Get, true), "401");
}

#[test]
fn a_catalog_that_is_not_served_is_denied_to_the_verified() {
    let record = encode(vec![], None);
    let request = Request::from_target(Method::Get, b"/v2/_catalog", b"/v2/_catalog", None);
    let route = route::parse(&request, &RouteOptions { v1_images: true }).unwrap();
    let rules = Rules {
        catalog: false,
        ..RULES
    };
    let status = |subject: &Subject<'_>| policy::decide(subject, &route, &rules).unwrap_err().status();
    assert_eq!(status(&user("alice", &record)), 403);
    assert_eq!(status(&Subject::ANONYMOUS), 401);
}

#[test]
fn without_a_user_401_without_a_right_403() {
    let record = encode(vec![], None);
    let alice = user("alice", &record);
    let anonymous = Subject::ANONYMOUS;
    for path in [
        "/v2/",
        "/v2/_catalog",
        "/v1/users",
        "/v1/images/a/json",
        "/v2/alice/app/tags/list",
    ] {
        let denial = request(&anonymous, Method::Get, path).unwrap_err();
        assert_eq!((denial.status(), denial.challenges()), (401, true), "{path}");
        assert_eq!(request(&alice, Method::Get, path), GRANTED, "{path}");
    }
    assert_eq!(
        request(&anonymous, Method::Get, "/v1/_ping"),
        Ok((MountDecision::Keep, "anonymous"))
    );
    let denial = request(&alice, Method::Put, "/v2/bob/app/manifests/latest").unwrap_err();
    assert_eq!(
        (denial.status(), denial.code(), denial.challenges()),
        (403, "DENIED", false)
    );
    assert_eq!(denial.message, "alice may not push bob/app");
}

/// A request that names no namespace hears of its own; where there is none, or a denial, nothing is promised.
#[test]
fn a_denial_that_helps() {
    let record = encode(vec![], None);
    let denied = |who: &str, record: &[u8], path: &str, rules: &Rules| {
        let path = path.as_bytes();
        let request = Request {
            method: Method::Put,
            raw_path: path,
            decided_path: path,
            args: b"",
            content_type: None,
        };
        let route = route::parse(&request, &RouteOptions { v1_images: true }).unwrap();
        policy::decide(&user(who, record), &route, rules)
            .unwrap_err()
            .message
            .into_owned()
    };
    let app = "/v2/app/manifests/v1";
    assert_eq!(
        denied("alice", &record, app, &RULES),
        "alice may not push app: your own repositories are alice/…"
    );
    let foreign = denied("alice", &record, "/v2/bob/app/manifests/v1", &RULES);
    assert_eq!(foreign, "alice may not push bob/app");
    assert_eq!(denied("Alice", &record, app, &RULES), "Alice may not push app");
    let none = Rules {
        own_namespace: false,
        ..RULES
    };
    assert_eq!(denied("alice", &record, app, &none), "alice may not push app");
    let denial = encode(vec![Grant::parse("grant:!app", "*").unwrap()], None);
    assert_eq!(denied("alice", &denial, app, &RULES), "alice may not push app");
}

/// The 2014 gate let a user named `ubuntu` write `library/ubuntu`; we don't.
#[test]
fn a_v1_name_of_one_segment_is_librarys() {
    let record = encode(vec![], None);
    let denial = request(&user("ubuntu", &record), Method::Put, "/v1/repositories/ubuntu/").unwrap_err();
    assert_eq!(
        denial.message,
        "ubuntu may not push library/ubuntu: your own repositories are ubuntu/…"
    );
    let denial = request(
        &user("alice", &record),
        Method::Put,
        "/v1/repositories/library/x/y/",
    )
    .unwrap_err();
    assert_eq!(denial.message, "alice may not push library/x/y");
    assert_eq!(
        request(
            &user("ubuntu", &record),
            Method::Put,
            "/v1/repositories/ubuntu/x/"
        ),
        GRANTED
    );
}

/// end-11: a mount without pull on its source loses it; the upload goes on.
#[test]
fn a_mount_needs_both_rights() {
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let mount = |from: &str| format!("/v2/alice/app/blobs/uploads/?mount={digest}&from={from}");
    let none = encode(vec![], None);
    let some = encode(grants("bob/shared pull; bob/drop push; !alice/sealed pull"), None);
    for (record, from, decision) in [
        (&none, "alice/other", MountDecision::Keep),
        (&none, "alice%2Fother", MountDecision::Keep),
        (&none, "bob/app", MountDecision::Strip),
        (&some, "bob/shared", MountDecision::Keep),
        (&some, "bob/drop", MountDecision::Strip),
        (&some, "alice/sealed", MountDecision::Strip),
        (&some, "alice/other&from=alice/x", MountDecision::Strip),
    ] {
        let answer = request(&user("alice", record), Method::Post, &mount(from));
        assert_eq!(answer, Ok((decision, "granted")), "{from}");
    }
    let denial = request(&user("carol", &some), Method::Post, &mount("bob/shared")).unwrap_err();
    assert_eq!(
        denial.status(),
        403,
        "pull on the source does not replace push on the target"
    );
}

/// HEAD of a manifest or a blob needs pull or push: clients ask before they push. A pull is not granted by
/// that.
#[test]
fn who_may_push_learns_what_is_there() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let (manifest, blob) = ("/v2/ci/app/manifests/v1", format!("/v2/ci/app/blobs/{digest}"));
    let robot = |grants_of: &str| encode(grants(grants_of), None);
    for (grants_of, head, get) in [
        ("ci/** push", 200, 403),
        ("ci/** pull", 200, 200),
        ("ci/** delete", 403, 403),
        ("other/** *", 403, 403),
        ("ci/** *; !ci/app pull", 200, 403),
        ("ci/** *; !ci/app push", 200, 200),
        ("ci/** *; !ci/app pull,push", 403, 403),
    ] {
        let record = robot(grants_of);
        let status = |method, target: &str| match request(&user("robot", &record), method, target) {
            Ok(_) => 200,
            Err(denial) => denial.status(),
        };
        for target in [manifest, &blob] {
            assert_eq!(status(Method::Head, target), head, "HEAD {grants_of} {target}");
            assert_eq!(status(Method::Get, target), get, "GET {grants_of} {target}");
        }
        assert_eq!(status(Method::Get, "/v2/ci/app/tags/list"), get, "{grants_of}");
    }
    // The anonymous, and who is locked.
    let record = robot("ci/** push");
    let nobody = Subject {
        user: None,
        ..user("x", &record)
    };
    let public = [RecordRef::decode(&record).unwrap()];
    let nobody = Subject {
        record: RecordRef::EMPTY,
        groups: &public,
        ..nobody
    };
    assert_eq!(request(&nobody, Method::Head, manifest).unwrap().1, "anonymous");
    assert_eq!(request(&nobody, Method::Get, manifest).unwrap_err().status(), 401);
    let locked = encode(grants("** *"), Some("!$2y$05$x"));
    assert_eq!(
        request(&user("robot", &locked), Method::Head, manifest),
        Err(Denial::bad_credentials())
    );
}

/// As for a request that changes something: what the token lacks is 401, what the user lacks is 403.
#[test]
fn a_token_that_lacks_what_a_head_needs_is_not_enough() {
    let target = "/v2/ci/app/manifests/v1";
    for (grants_of, scope, expected) in [
        ("ci/** push", "repository:ci/app:push", Ok("granted")),
        ("ci/** push", "repository:ci/app:pull", Err(401)),
        ("ci/** push", "repository:ci/other:push", Err(401)),
        ("ci/** pull", "repository:ci/app:push", Err(401)),
        ("ci/** pull,push", "repository:ci/app:push", Ok("granted")),
        ("ci/** pull,push", "repository:ci/other:pull", Err(401)),
        ("ci/** delete", "repository:ci/app:pull,push", Err(403)),
    ] {
        let record = encode(grants(grants_of), None);
        let limited = access(&[scope]);
        let subject = by_token(user("robot", &record), &limited);
        let answer = request(&subject, Method::Head, target);
        let answer = answer.map(|(_, result)| result).map_err(|denial| denial.status());
        assert_eq!(answer, expected, "{grants_of} {scope}");
    }
}

/// A mount that the owner may make, by a token that is not for its source: the client is to get a token that
/// is.
#[test]
fn a_mount_outside_the_token_asks_for_another_token() {
    let record = encode(grants("bob/shared pull"), None);
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let target = format!("/v2/alice/app/blobs/uploads/?mount={digest}&from=bob/shared");
    for (scopes, expected) in [
        (
            &["repository:alice/app:pull,push"][..],
            Err(Reason::InsufficientScope),
        ),
        (
            &["repository:alice/app:pull,push", "repository:bob/shared:push"],
            Err(Reason::InsufficientScope),
        ),
        (
            &["repository:alice/app:push", "repository:bob/shared:pull"],
            Ok(MountDecision::Keep),
        ),
        (&["repository:bob/shared:pull"], Err(Reason::InsufficientScope)),
    ] {
        let limited = access(scopes);
        let subject = by_token(user("alice", &record), &limited);
        let answer = request(&subject, Method::Post, &target);
        assert_eq!(
            answer.map(|(mount, _)| mount).map_err(|denial| denial.reason),
            expected,
            "{scopes:?}"
        );
    }
    // What the owner may not mount either goes on as an upload.
    let limited = access(&["repository:alice/app:pull,push"]);
    let subject = by_token(user("alice", &record), &limited);
    let target = format!("/v2/alice/app/blobs/uploads/?mount={digest}&from=bob/app");
    let answer = request(&subject, Method::Post, &target);
    assert_eq!(answer.map(|(mount, _)| mount), Ok(MountDecision::Strip));
}

/// A canonical path with an illegal name: 404 after the login, since no registry has such a thing.
#[test]
fn what_cannot_exist_is_unknown_to_who_has_logged_in() {
    let record = encode(grants("** *"), None);
    let nobody = Subject {
        user: None,
        ..user("x", &record)
    };
    for (target, code) in [
        ("/v2/Alice/app/manifests/v1", "NAME_UNKNOWN"),
        ("/v2/alice/app/manifests/.v1", "MANIFEST_UNKNOWN"),
        ("/v2/alice/app/blobs/v1", "BLOB_UNKNOWN"),
    ] {
        let denial = request(&user("alice", &record), Method::Get, target).unwrap_err();
        assert_eq!((denial.status(), denial.code()), (404, code), "{target}");
        assert_eq!(
            request(&nobody, Method::Get, target).unwrap_err().status(),
            401,
            "{target}"
        );
    }
}

#[test]
fn a_locked_account_has_no_right() {
    let record = encode(grants("** *"), Some("!$2y$05$x"));
    for path in ["/v2/", "/v2/alice/app/tags/list"] {
        assert_eq!(
            request(&user("alice", &record), Method::Get, path),
            Err(Denial::bad_credentials())
        );
    }
}

/// A damaged grant may have been a denial: no decision is made past it.
#[test]
fn a_damaged_record_allows_nothing() {
    for list in ["!x/y *", "x/y *", "!secret/** *; ** *"] {
        let whole = encode(grants(list), None);
        // Of the first grant: no action, an unknown one, a literal and a pattern longer than there is.
        for (at, value) in [(24, 0), (24, 8), (25, 255), (26, 255)] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            let answer = request(&user("bob", &damaged), Method::Get, "/v2/a/b/tags/list");
            assert_eq!(answer, Err(Denial::bad_record()), "{list} {at} {value}");
        }
    }
}

const NAMES: [&str; 8] = ["a", "a/b", "a/b/c", "b", "b/a", "ab/a", "a-b/a.b", "alice/a"];

fn any_grant() -> impl Strategy<Value = Grant> {
    let pattern = prop::sample::select(vec![
        "a", "a/*", "a/**", "**", "*", "b/a", "*/a", "**/a", "a*", "*b*/**", "alice/**", "alice/a",
    ]);
    let actions = prop::sample::select(vec!["pull", "push", "delete", "pull,push", "*"]);
    (pattern, any::<bool>(), actions).prop_map(|(pattern, deny, actions)| {
        let mut grant = Grant::from_parts(pattern, actions).unwrap();
        grant.deny = deny;
        grant
    })
}

/// Every answer that the grants give to `alice`.
fn answers(grants: &[Grant]) -> Vec<bool> {
    let record = encode(grants.to_vec(), None);
    let subject = user("alice", &record);
    let ask = |name| {
        Action::ALL.map(|action| {
            policy::judge(&subject, &repository(name), action, &RULES)
                .unwrap()
                .allowed
        })
    };
    NAMES.into_iter().flat_map(ask).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_grant_never_removes_a_right_and_a_denial_never_adds_one(
        grants in prop::collection::vec(any_grant(), 0..6), one in any_grant(),
    ) {
        let before = answers(&grants);
        let after = answers(&[grants, vec![one.clone()]].concat());
        for (before, after) in before.into_iter().zip(after) {
            let (more, less) = (after && !before, before && !after);
            let wrong = if one.deny { more } else { less };
            prop_assert!(!wrong);
        }
    }

    #[test]
    fn order_never_matters(
        (grants, shuffled) in prop::collection::vec(any_grant(), 0..6)
            .prop_flat_map(|grants| (Just(grants.clone()), Just(grants).prop_shuffle())),
    ) {
        prop_assert_eq!(answers(&grants), answers(&shuffled));
    }

    /// The encoded record finds what looking at one grant after the other finds.
    #[test]
    fn a_grant_is_found_among_many(grants in prop::collection::vec(any_grant(), 0..40)) {
        let covers = |deny, action, name: &RepositoryName<'_>| {
            let covers = |grant: &&Grant| {
                grant.deny == deny && grant.actions.contains(action) && grant.pattern.matches(name)
            };
            grants.iter().any(|grant| covers(&grant))
        };
        let one_by_one = |name| {
            let repository = repository(name);
            let is_own = name.starts_with("alice/");
            Action::ALL.map(|action| {
                !covers(true, action, &repository) && (is_own || covers(false, action, &repository))
            })
        };
        prop_assert_eq!(answers(&grants), NAMES.into_iter().flat_map(one_by_one).collect::<Vec<_>>());
    }

    /// It never matters either whose record a grant stands in.
    #[test]
    fn source_never_matters(grants in prop::collection::vec(any_grant(), 0..6), split in 0usize..6) {
        let split = split.min(grants.len());
        let records = [encode(grants[..split].to_vec(), None), encode(grants[split..].to_vec(), None)];
        let groups = [RecordRef::decode(&records[1]).unwrap()];
        let subject = Subject { groups: &groups, ..user("alice", &records[0]) };
        let ask = |name| Action::ALL.map(|action| {
            policy::judge(&subject, &repository(name), action, &RULES).unwrap().allowed
        });
        prop_assert_eq!(answers(&grants), NAMES.into_iter().flat_map(ask).collect::<Vec<_>>());
    }
}

/// A record of these grants with one access token of these scopes.
fn with_token(grants_of: &str, scopes: &[&str]) -> Vec<u8> {
    let secret = AccessToken::generate(|bytes| {
        bytes.fill(0);
        Ok::<_, ()>(())
    });
    let token = StoredToken {
        id: "ci".into(),
        digest: secret.unwrap().digest(),
        expires: 1,
        created: 0,
        scopes: scopes.iter().map(|scope| parse_scope(scope).unwrap()).collect(),
    };
    let record = Record {
        grants: grants(grants_of),
        tokens: vec![token],
        ..Record::default()
    };
    let mut bytes = Vec::new();
    codec::encode(&record, &mut bytes).unwrap();
    bytes
}

fn by_access_token(record: &[u8]) -> Subject<'_> {
    let subject = user("alice", record);
    let token = subject.record.token_named("ci").unwrap().unwrap();
    Subject {
        limits: Limits {
            access_token: Some(token.scopes),
            token: None,
        },
        ..subject
    }
}

fn access(scopes: &[&str]) -> Access {
    let mut access = Access::default();
    for scope in scopes {
        match Resource::parse(scope).unwrap() {
            Resource::Repository(name, actions) => {
                actions.iter().for_each(|action| access.add(&name, action))
            }
            Resource::Catalog => access.catalog = true,
            Resource::Images(actions) => actions.iter().for_each(|action| access.add_images(action)),
        }
    }
    access
}

fn by_token<'a>(subject: Subject<'a>, access: &'a Access) -> Subject<'a> {
    let limits = Limits {
        token: Some(access),
        ..subject.limits
    };
    Subject { limits, ..subject }
}

/// (method, target, an access token of these scopes may, a token for these scopes may): alice's own rights
/// are `alice/**`, and `team/**` but for `team/secret`.
#[test]
fn a_credential_may_what_its_owner_and_its_scopes_allow() {
    const RIGHTS: &str = "team/** *; !team/secret *";
    let all = |record: &[u8], access: Option<&Access>, method, target: &str| {
        let subject = by_access_token(record);
        let subject = access.map_or(subject, |access| by_token(subject, access));
        request(&subject, method, target)
            .map(|(mount, _)| mount)
            .map_err(|denial| (denial.status(), denial.reason))
    };
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let record = with_token(RIGHTS, &["team/*:pull", "alice/app:*", "bob/**:*"]);
    let manifest = |name: &str| format!("/v2/{name}/manifests/latest");
    let upload = |name: &str, from: &str| format!("/v2/{name}/blobs/uploads/?mount={digest}&from={from}");
    let denied = Err((403, Reason::Denied));
    let keep = Ok(MountDecision::Keep);
    for (method, target, expected) in [
        (Method::Get, "/v2/".to_owned(), keep),
        (Method::Get, manifest("team/app"), keep),
        (Method::Put, manifest("team/app"), denied),
        (Method::Delete, manifest("team/app"), denied),
        (Method::Get, manifest("team/a/b"), denied),
        (Method::Get, manifest("team/secret"), denied),
        (Method::Put, manifest("alice/app"), keep),
        (Method::Delete, manifest("alice/app"), keep),
        (Method::Get, manifest("alice/other"), denied),
        (Method::Get, manifest("bob/app"), denied),
        (Method::Post, upload("alice/app", "team/app"), keep),
        (
            Method::Post,
            upload("alice/app", "alice/other"),
            Ok(MountDecision::Strip),
        ),
        (Method::Get, "/v2/_catalog".to_owned(), keep),
        (Method::Get, "/v1/images/abc/json".to_owned(), denied),
    ] {
        assert_eq!(
            all(&record, None, method, &target),
            expected,
            "{method:?} {target}"
        );
    }
    // A token that is issued for the access token: both limits, and the owner's own before either.
    let limited = access(&["repository:team/app:pull,push", "repository:alice/other:pull"]);
    let outside = Err((401, Reason::InsufficientScope));
    for (method, target, expected) in [
        (Method::Get, "/v2/".to_owned(), keep),
        (Method::Get, manifest("team/app"), keep),
        (Method::Put, manifest("team/app"), denied),
        (Method::Get, manifest("alice/app"), outside),
        (Method::Get, manifest("alice/other"), denied),
        (Method::Get, manifest("bob/app"), denied),
        (Method::Get, "/v2/_catalog".to_owned(), outside),
    ] {
        assert_eq!(
            all(&record, Some(&limited), method, &target),
            expected,
            "{method:?} {target}"
        );
    }
    // Every repository, and so every image.
    let record = with_token(RIGHTS, &["**:pull"]);
    assert_eq!(all(&record, None, Method::Get, "/v1/images/abc/json"), keep);
    assert_eq!(all(&record, None, Method::Put, "/v1/images/abc/json"), denied);
    let images = access(&["registry:images:pull"]);
    assert_eq!(
        all(&record, Some(&images), Method::Get, "/v1/images/abc/json"),
        keep
    );
    assert_eq!(
        all(&record, Some(&limited), Method::Get, "/v1/images/abc/json"),
        outside
    );
}

/// Rule 6 of the security model: a token for pull@a is good on no other route.
#[test]
fn a_token_is_good_for_its_own_repository_and_action_only() {
    let record = encode(grants("** *"), None);
    let limited = access(&["repository:a:pull"]);
    let subject = by_token(user("alice", &record), &limited);
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (method, target, allowed) in [
        (Method::Get, "/v2/a/manifests/x".to_owned(), true),
        (Method::Get, format!("/v2/a/blobs/{digest}"), true),
        (Method::Get, "/v2/a/tags/list".to_owned(), true),
        (Method::Put, "/v2/a/manifests/x".to_owned(), false),
        (Method::Delete, "/v2/a/manifests/x".to_owned(), false),
        (Method::Post, "/v2/a/blobs/uploads/".to_owned(), false),
        (Method::Patch, "/v2/a/blobs/uploads/id".to_owned(), false),
        (Method::Get, "/v2/a/b/manifests/x".to_owned(), false),
        (Method::Get, "/v2/b/manifests/x".to_owned(), false),
        (Method::Get, "/v2/_catalog".to_owned(), false),
        (Method::Get, "/v1/repositories/a/b/tags".to_owned(), false),
        (Method::Get, "/v1/images/abc/layer".to_owned(), false),
    ] {
        let answer = request(&subject, method, &target);
        assert_eq!(answer.is_ok(), allowed, "{method:?} {target}");
        if let Err(denial) = answer {
            assert_eq!(
                denial.challenge_error(),
                Some("insufficient_scope"),
                "{method:?} {target}"
            );
        }
    }
}

#[test]
fn a_token_is_issued_for_what_the_subject_may() {
    let record = encode(grants("team/** pull,push; !team/secret *"), None);
    let wanted = [
        "repository:team/app:pull,push,delete",
        "repository:team/secret:pull",
        "repository:bob/app:pull",
        "repository:alice/app:*",
        "registry:catalog:*",
        "registry:images:pull,push",
    ];
    let wanted: Vec<Resource<'_>> = wanted.iter().filter_map(|scope| Resource::parse(scope)).collect();
    let granted = policy::grant(&user("alice", &record), &wanted, &RULES).unwrap();
    let expected = access(&[
        "repository:team/app:pull,push",
        "repository:alice/app:pull,push,delete",
        "registry:catalog:*",
        "registry:images:pull,push",
    ]);
    assert_eq!(granted, expected);
    // Nobody gets what is public, and nothing that asks for a login.
    let public = encode(grants("team/app pull"), None);
    let groups = [RecordRef::decode(&public).unwrap()];
    let nobody = Subject {
        groups: &groups,
        ..Subject::ANONYMOUS
    };
    let granted = policy::grant(&nobody, &wanted, &RULES).unwrap();
    assert_eq!(granted, access(&["repository:team/app:pull"]));
    // An access token hands on no more than it has.
    let record = with_token("team/** *", &["team/app:pull"]);
    let granted = policy::grant(&by_access_token(&record), &wanted, &RULES).unwrap();
    assert_eq!(
        granted,
        access(&["repository:team/app:pull", "registry:catalog:*"])
    );
    // A token for less does not lessen what may be asked for.
    let little = access(&["repository:x:pull"]);
    let again = policy::grant(&by_token(by_access_token(&record), &little), &wanted, &RULES).unwrap();
    assert_eq!(again, granted);
    let locked = encode(vec![], Some("!x"));
    assert_eq!(
        policy::grant(&user("alice", &locked), &wanted, &RULES)
            .unwrap_err()
            .status(),
        401
    );
}

/// A slice of time is one action at least, and what comes of many slices is what comes of one.
#[test]
fn a_token_may_be_granted_piece_by_piece() {
    let record = encode(grants("team/** pull,push; !team/secret *"), None);
    let subject = user("alice", &record);
    let wanted = [
        "repository:team/app:pull,push,delete",
        "registry:catalog:*",
        "repository:team/secret:pull",
        "registry:images:pull,push",
        "repository:alice/app:*",
    ];
    let wanted: Vec<Resource<'_>> = wanted.iter().filter_map(|scope| Resource::parse(scope)).collect();
    let whole = policy::grant(&subject, &wanted, &RULES).unwrap();
    for (in_a_slice, slices) in [(1, 10), (3, 4), (4, 3), (10, 1), (11, 1)] {
        let (mut granting, mut count) = (policy::PartialAccess::default(), 0);
        loop {
            count += 1;
            let mut left = in_a_slice;
            let has_time = || {
                left -= 1;
                left > 0
            };
            if granting.go_on(&subject, &wanted, &RULES, has_time).unwrap() {
                break;
            }
        }
        assert_eq!(
            (granting.into_access(), count),
            (whole.clone(), slices),
            "{in_a_slice}"
        );
    }
    // Nothing is whole at once.
    let mut nothing = policy::PartialAccess::default();
    assert!(nothing.go_on(&subject, &[], &RULES, || false).unwrap());
    // Who is locked meanwhile gets nothing more.
    let locked = encode(vec![], Some("!x"));
    let mut granting = policy::PartialAccess::default();
    assert!(!granting.go_on(&subject, &wanted, &RULES, || false).unwrap());
    assert!(
        granting
            .go_on(&user("alice", &locked), &wanted, &RULES, || true)
            .is_err()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is issued is allowed, and what is allowed of the wanted is issued.
    #[test]
    fn tokens_carry_rights_exactly(
        rights in "(team/\\*\\* (pull|push|\\*)|a pull|\\*\\* delete|!a \\*)(; (team/b \\*|!team/a pull))?",
        name in prop::sample::select(vec!["a", "team/a", "team/b", "team/a/c", "alice/x", "bob/x"]),
        action in prop::sample::select(Action::ALL.to_vec()),
    ) {
        let record = encode(grants(&rights), None);
        let subject = user("alice", &record);
        let repository = RepositoryName::parse(name.as_bytes()).unwrap();
        let wanted = [Resource::Repository(repository.clone(), registry_auth::Actions::ALL)];
        let access = policy::grant(&subject, &wanted, &RULES).unwrap();
        let allowed = policy::judge(&subject, &repository, action, &RULES).unwrap().allowed;
        prop_assert_eq!(access.covers(name.as_bytes(), action), allowed);
        let limited = policy::judge(&by_token(subject, &access), &repository, action, &RULES).unwrap();
        prop_assert_eq!(limited.allowed, allowed);
    }
}

#[test]
fn the_rule_of_a_permit_is_found_again_for_a_log() {
    let record = encode(grants("team/* pull,push; !team/secret *; robots/* push"), None);
    let public = encode(grants("public/** pull"), None);
    let public = [RecordRef::decode(&public).unwrap()];
    let bob = Subject {
        user: Some(UserName::parse(b"bob").unwrap()),
        record: RecordRef::decode(&record).unwrap(),
        groups: &public,
        limits: Limits::default(),
    };
    let anonymous = Subject {
        groups: &public,
        ..Subject::ANONYMOUS
    };
    let rules = Rules {
        own_namespace: true,
        catalog: true,
        public_images: false,
    };
    for (subject, method, path, words) in [
        (&bob, Method::Get, "/v2/", "every user"),
        (&bob, Method::Get, "/v2/_catalog", "every user"),
        (&bob, Method::Put, "/v2/bob/app/manifests/v1", "own namespace"),
        (
            &bob,
            Method::Put,
            "/v2/team/app/manifests/v1",
            "grant team/* pull,push of the user",
        ),
        (
            &bob,
            Method::Head,
            "/v2/robots/app/manifests/v1",
            "grant robots/* push of the user",
        ),
        (
            &bob,
            Method::Get,
            "/v2/public/app/manifests/v1",
            "grant public/** pull of the group",
        ),
        (
            &anonymous,
            Method::Get,
            "/v2/public/app/tags/list",
            "grant public/** pull of the group",
        ),
        (&anonymous, Method::Get, "/v1/_ping", "open to everybody"),
    ] {
        let request = Request::from_target(method, path.as_bytes(), path.as_bytes(), None);
        let route = route::parse(&request, &RouteOptions { v1_images: true }).unwrap();
        let permit = policy::decide(subject, &route, &rules).unwrap();
        let wanted = route.repository().map(|name| name.as_bytes()).zip(route.action());
        let found = policy::rule_of(subject, wanted, matches!(permit.rule(), Rule::Own));
        assert_eq!(found, Some(*permit.rule()), "{path}");
        assert_eq!(found.unwrap().to_string(), words, "{path}");
    }
}
