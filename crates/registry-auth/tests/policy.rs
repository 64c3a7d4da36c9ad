//! The decisions of `policy.txt`, what follows from them for requests, and properties of all grants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use registry_auth::codec::{self, Record, RecordRef};
use registry_auth::grant::Grant;
use registry_auth::policy::{self, MountDecision, Rule, Rules, Source};
use registry_auth::route::{self, Method, Options, Request};
use registry_auth::{Action, Denial, RepositoryName, Subject, UserName};

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
        };
        assert_eq!(user.is_none(), who == "-", "{line}");
        let rules = Rules {
            own_namespace: self.own,
            catalog: true,
        };
        let verdict = policy::judge(&subject, &repository, action, &rules).unwrap();
        let rule = match verdict.rule {
            Rule::Own => "own".to_owned(),
            Rule::None => "nothing".to_owned(),
            Rule::Grant { source, grant } => {
                let source = match source {
                    Source::User => "user",
                    Source::Group(index) => groups[index].0.as_str(),
                };
                format!(
                    "{source} {}{}",
                    if grant.deny { "!" } else { "" },
                    grant.pattern().unwrap()
                )
            }
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
};

/// What becomes of a request: the permit's mount and result, or the status of the denial and its message.
fn request(
    subject: &Subject<'_>,
    method: Method,
    target: &str,
) -> Result<(MountDecision, &'static str), Denial> {
    let path = target.split('?').next().unwrap();
    let request = Request::from_target(method, target.as_bytes(), path.as_bytes(), None);
    let route = route::parse(&request, &Options { v1_images: true }).unwrap();
    policy::decide(subject, &route, &RULES).map(|permit| (permit.mount(), permit.result()))
}

fn user<'a>(name: &'a str, record: &'a [u8]) -> Subject<'a> {
    Subject {
        user: Some(UserName::parse(name.as_bytes()).unwrap()),
        record: RecordRef::decode(record).unwrap(),
        groups: &[],
    }
}

const GRANTED: Result<(MountDecision, &str), Denial> = Ok((MountDecision::Keep, "granted"));

#[test]
fn a_catalog_that_is_not_served_is_denied_to_the_verified() {
    let record = encode(vec![], None);
    let request = Request::from_target(Method::Get, b"/v2/_catalog", b"/v2/_catalog", None);
    let route = route::parse(&request, &Options { v1_images: true }).unwrap();
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

/// The 2014 gate let a user named `ubuntu` write `library/ubuntu`; we don't.
#[test]
fn a_v1_name_of_one_segment_is_librarys() {
    let record = encode(vec![], None);
    let denial = request(&user("ubuntu", &record), Method::Put, "/v1/repositories/ubuntu/").unwrap_err();
    assert_eq!(denial.message, "ubuntu may not push library/ubuntu");
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
        "pull on the source does not stand for push on the target"
    );
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
        for (at, value) in [(20, 0), (20, 8), (21, 255), (22, 255)] {
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
            let covers = |grant: &&Grant| grant.deny == deny && grant.actions.contains(action) && grant.pattern.matches(name);
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
        let ask = |name| Action::ALL.map(|action| policy::judge(&subject, &repository(name), action, &RULES).unwrap().allowed);
        prop_assert_eq!(answers(&grants), NAMES.into_iter().flat_map(ask).collect::<Vec<_>>());
    }
}
