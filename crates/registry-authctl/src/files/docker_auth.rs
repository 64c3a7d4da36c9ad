//! Reads the configuration of docker_auth (users and acl) as users, groups and grants.
//!
//! There the first entry of the acl that matches decides, here all grants together do. Invariant: what is
//! read allows nobody more than docker_auth does (the own namespace apart, which is nginx.conf's): an entry
//! that has no equal, or that an earlier one would have kept from deciding, is listed and left out. No reason
//! quotes a hash.

use crate::cli::is_reserved;
use crate::files::FileUser;
use registry_auth::grant::Grant;
use registry_auth::password;
use registry_auth::scope::{Action, Actions};
use registry_auth::{UserName, UserNameBuf};
use registry_auth_admin::{GroupName, PUBLIC, Subject};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use std::collections::{BTreeMap, BTreeSet};

/// The group of all imported users, for what every account may.
pub(crate) const ALL: &str = "docker-auth-users";

/// What the file says, in our terms.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) users: Vec<FileUser>,
    /// Group → members.
    pub(crate) groups: BTreeMap<GroupName, BTreeSet<UserNameBuf>>,
    /// Subject (`alice`, `@team`, `public`) and grant, in the order of the acl.
    pub(crate) grants: Vec<(Subject, Grant)>,
    /// What has no equal: where, and why.
    pub(crate) unequal: Vec<(String, String)>,
    /// Whether an entry gives every account its own namespace.
    pub(crate) own_namespace: bool,
}

/// To whom an entry of the acl gives rights.
#[derive(Clone, PartialEq, Eq)]
enum Whom {
    Everyone,
    Users,
    User(UserNameBuf),
    Group(String),
}

/// An entry of the acl so far as it decides: for whom, for which names, for which actions it allows.
struct Decided {
    whom: Whom,
    /// `None` for names that are unknown.
    pattern: Option<String>,
    allowed: Vec<Action>,
}

pub(crate) fn read(text: &str) -> Result<Plan, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    let root = documents.first().ok_or("the file is empty")?;
    if root.as_mapping().is_none() {
        return Err(
            "this is no configuration of docker_auth, which is a mapping with users and acl".to_owned(),
        );
    }
    let mut plan = Plan::default();
    let mut labels = Labels::default();
    read_users(root, &mut plan, &mut labels);
    for section in [
        "ldap_auth",
        "google_auth",
        "github_auth",
        "gitlab_auth",
        "oidc_auth",
        "mongo_auth",
        "xorm_auth",
        "ext_auth",
        "plugin_authn",
        "acl_mongo",
        "acl_xorm",
        "ext_authz",
        "plugin_authz",
        "casbin_authz",
    ] {
        if root.contains_mapping_key(section) {
            plan.unequal.push((
                section.to_owned(),
                "users or rules that are not in this file".to_owned(),
            ));
        }
    }
    let mut decided: Vec<Decided> = Vec::new();
    let acl = root.as_mapping_get("acl").and_then(Yaml::as_sequence);
    for (index, entry) in acl.into_iter().flatten().enumerate() {
        let place = format!("acl entry {}", index + 1);
        match rule(entry, &plan, &labels) {
            Ok(Rule::Nothing) => {}
            Ok(Rule::Own) => plan.own_namespace = true,
            Ok(Rule::Grants(grants)) => {
                for (whom, pattern, allowed) in grants {
                    if let Err(why) = add(&mut plan, &labels, &whom, &pattern, &allowed, &decided) {
                        plan.unequal.push((place.clone(), why));
                    }
                    decided.push(Decided {
                        whom,
                        pattern: Some(pattern),
                        allowed,
                    });
                }
            }
            Err(why) => {
                plan.unequal.push((place, why));
                // It may have decided about anything.
                decided.push(Decided {
                    whom: Whom::Everyone,
                    pattern: None,
                    allowed: actions(entry).unwrap_or_default(),
                });
            }
        }
    }
    Ok(plan)
}

/// Label, value → who has it.
#[derive(Default)]
struct Labels(BTreeMap<(String, String), BTreeSet<UserNameBuf>>);

impl Labels {
    fn group(label: &str, value: &str) -> String {
        match label {
            "group" | "groups" | "team" | "teams" => value.to_owned(),
            label => format!("{label}-{value}"),
        }
    }
}

fn read_users(root: &Yaml<'_>, plan: &mut Plan, labels: &mut Labels) {
    let users = root.as_mapping_get("users").and_then(Yaml::as_mapping);
    for (name, settings) in users.into_iter().flatten() {
        let Some(name) = scalar(name) else { continue };
        // The anonymous, to whom entries of the acl give rights.
        if name.is_empty() {
            continue;
        }
        let place = format!("user {name}");
        let user = match UserName::parse(name.as_bytes()) {
            Ok(user) if !is_reserved(&name) => user.to_owned(),
            _ => {
                plan.unequal
                    .push((place, "the name is reserved or not legal here".to_owned()));
                continue;
            }
        };
        let label = settings.as_mapping_get("labels").and_then(Yaml::as_mapping);
        for (label, values) in label.into_iter().flatten() {
            let values = values
                .as_sequence()
                .map_or_else(|| vec![values], |values| values.iter().collect());
            for value in values.into_iter().filter_map(scalar) {
                let label = scalar(label).unwrap_or_default();
                labels.0.entry((label, value)).or_default().insert(user.clone());
            }
        }
        let Some(hash) = settings.as_mapping_get("password").and_then(scalar) else {
            plan.unequal.push((
                place,
                "no password: whoever names this user gets in there".to_owned(),
            ));
            continue;
        };
        match password::check(&hash) {
            Ok(()) => plan.users.push(FileUser {
                line: None,
                user,
                hash,
            }),
            Err(why) => plan.unequal.push((place, why.why().to_owned())),
        }
    }
}

enum Rule {
    /// It says what holds here anyway.
    Nothing,
    /// Every account may do everything below its name.
    Own,
    Grants(Vec<(Whom, String, Vec<Action>)>),
}

fn rule(entry: &Yaml<'_>, plan: &Plan, labels: &Labels) -> Result<Rule, String> {
    let allowed = actions(entry)?;
    let none = Yaml::Value(Scalar::Null);
    let matched = entry.as_mapping_get("match").unwrap_or(&none);
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut label = None;
    for (key, value) in matched.as_mapping().into_iter().flatten() {
        let key = scalar(key).unwrap_or_default();
        match (key.as_str(), scalar(value)) {
            ("account" | "name" | "type", Some(value)) => drop(names.insert(key, value)),
            ("labels", _) => {
                let wanted: Vec<_> = value.as_mapping().into_iter().flatten().collect();
                let [(name, value)] = wanted.as_slice() else {
                    return Err("several labels at once".to_owned());
                };
                label = scalar(name).zip(scalar(value));
                if label.is_none() {
                    return Err("a label of several values".to_owned());
                }
            }
            ("ip" | "service", _) => return Err(format!("match by {key}")),
            _ => return Err(format!("match by {key}, which is not known")),
        }
    }
    let name = names.get("name").map_or("**", String::as_str);
    match names.get("type").map(String::as_str) {
        None | Some("repository") => {}
        // Here everyone's catalogue holds what they may pull.
        Some("registry") => return Ok(Rule::Nothing),
        Some(other) => return Err(format!("type {other}")),
    }
    let whom = match (&label, names.get("account").map(String::as_str)) {
        (Some(_), Some(_)) => return Err("account and labels at once".to_owned()),
        (Some((label, value)), None) => {
            if is_expression(value) {
                return Err("a label by a pattern".to_owned());
            }
            vec![Whom::Group(Labels::group(label, value))]
        }
        (None, None) => vec![Whom::Everyone],
        (None, Some("")) => vec![Whom::Everyone],
        (None, Some(account)) => accounts(account, plan)?,
    };
    if let Some(own) = name.strip_prefix("${account}/") {
        let is_all = allowed.len() == Action::ALL.len();
        if whom == [Whom::Users] || whom == [Whom::Everyone] {
            return match is_all && own == "*" {
                true => Ok(Rule::Own),
                false => Err(
                    "a part of every account's own names; registry_auth_own_namespace is for all of them"
                        .to_owned(),
                ),
            };
        }
        let pattern = names_of(own)?;
        return Ok(Rule::Grants(
            whom.into_iter()
                .map(|whom| match &whom {
                    Whom::User(user) => {
                        let pattern = format!("{user}/{pattern}");
                        Ok((whom, pattern, allowed.clone()))
                    }
                    _ => Err("${account} of a group".to_owned()),
                })
                .collect::<Result<_, _>>()?,
        ));
    }
    if let Some((label, rest)) = name
        .strip_prefix("${labels:")
        .and_then(|name| name.split_once('}'))
    {
        let rest = names_of(rest.strip_prefix('/').unwrap_or(rest))?;
        let grant = |(of, value): &(String, String)| {
            let group = Whom::Group(Labels::group(of, value));
            (of == label).then(|| (group, format!("{value}/{rest}"), allowed.clone()))
        };
        return match whom.as_slice() {
            [Whom::Users | Whom::Everyone] => Ok(Rule::Grants(labels.0.keys().filter_map(grant).collect())),
            _ => Err("labels in names, of certain accounts".to_owned()),
        };
    }
    let pattern = names_of(name)?;
    Ok(Rule::Grants(
        whom.into_iter()
            .map(|whom| (whom, pattern.clone(), allowed.clone()))
            .collect(),
    ))
}

/// A regular expression or a glob.
fn is_expression(text: &str) -> bool {
    text.starts_with('/') || text.contains(['*', '?', '[', '$', '\\'])
}

fn accounts(account: &str, plan: &Plan) -> Result<Vec<Whom>, String> {
    if ["/.+/", "/^.+$/", "/.*/", "/^.*$/", "*", "?*"].contains(&account) {
        return Ok(vec![Whom::Users]);
    }
    let list = account
        .strip_prefix("/^")
        .and_then(|text| text.strip_suffix("$/"))
        .map(|text| {
            text.strip_prefix('(')
                .and_then(|text| text.strip_suffix(')'))
                .unwrap_or(text)
        });
    let names: Vec<&str> = match list {
        Some(list) => list.split('|').collect(),
        None => vec![account],
    };
    let is_plain = |name: &&str| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    if list.is_some() && !names.iter().all(is_plain) || list.is_none() && is_expression(account) {
        return Err("accounts by a pattern".to_owned());
    }
    names
        .into_iter()
        .map(|name| {
            let mut users = plan.users.iter().map(|entry| &entry.user);
            match users.find(|user| user.as_str() == name) {
                Some(user) => Ok(Whom::User(user.clone())),
                None => Err(format!("account {name}, who is not among the users")),
            }
        })
        .collect()
}

/// Names as docker_auth's glob has them: there a star stays within a segment, and two are one.
fn names_of(name: &str) -> Result<String, String> {
    if name == "**" || ["/.*/", "/.+/", "/^.*$/", "/^.+$/"].contains(&name) {
        return Ok("**".to_owned());
    }
    if name.starts_with('/') || name.contains(['?', '[', '$', '\\']) {
        return Err("names by a regular expression, or by ? and []".to_owned());
    }
    let mut pattern = name.to_owned();
    while pattern.contains("**") {
        pattern = pattern.replace("**", "*");
    }
    match Grant::from_parts(&pattern, "*") {
        Ok(_) => Ok(pattern),
        Err(_) => Err("names that no repository has".to_owned()),
    }
}

fn actions(entry: &Yaml<'_>) -> Result<Vec<Action>, String> {
    let words = entry.as_mapping_get("actions").and_then(Yaml::as_sequence);
    let mut allowed = Vec::new();
    for word in words.into_iter().flatten().filter_map(scalar) {
        match word.as_str() {
            "*" => return Ok(Action::ALL.to_vec()),
            word => match Action::ALL.into_iter().find(|action| action.as_str() == word) {
                Some(action) => allowed.push(action),
                None => return Err(format!("action {word}")),
            },
        }
    }
    Ok(allowed)
}

/// Adds what an entry allows, or says why it cannot be.
fn add(
    plan: &mut Plan,
    labels: &Labels,
    whom: &Whom,
    pattern: &str,
    allowed: &[Action],
    before: &[Decided],
) -> Result<(), String> {
    let overlaps = |earlier: &&Decided| {
        may_be_same(&earlier.whom, whom)
            && earlier
                .pattern
                .as_deref()
                .is_none_or(|names| may_meet(names, pattern))
    };
    let lost = |earlier: &Decided| allowed.iter().any(|action| !earlier.allowed.contains(action));
    if before.iter().filter(overlaps).any(lost) {
        return Err(
            "an earlier entry allows less, and decides first where both match; grants only add up".to_owned(),
        );
    }
    if allowed.is_empty() {
        // Nothing is allowed that no grant allows; only the own namespace is, and what a later entry would
        // allow is left out.
        return Ok(());
    }
    let words: Vec<&str> = allowed.iter().map(|action| action.as_str()).collect();
    let actions = Actions::parse(&words.join(",")).map_err(|error| error.to_string())?;
    let grant = Grant::from_parts(pattern, &actions.to_string()).map_err(|error| error.to_string())?;
    let subject = match whom {
        Whom::Everyone => Subject::Group(legal_group(PUBLIC)?),
        Whom::User(user) => Subject::User(user.clone()),
        Whom::Users => {
            let all = plan.users.iter().map(|entry| entry.user.clone()).collect();
            let group = legal_group(ALL)?;
            plan.groups.insert(group.clone(), all);
            Subject::Group(group)
        }
        Whom::Group(group) => {
            let named = |((label, value), _): &(&(String, String), &BTreeSet<UserNameBuf>)| {
                Labels::group(label, value) == *group
            };
            let members = labels
                .0
                .iter()
                .filter(named)
                .flat_map(|(_, users)| users.iter().cloned());
            let members: BTreeSet<UserNameBuf> = members
                .filter(|user| plan.users.iter().any(|entry| entry.user == *user))
                .collect();
            let group = match is_reserved(group) {
                true => Err(no_group(group)),
                false => legal_group(group),
            }?;
            plan.groups.insert(group.clone(), members);
            Subject::Group(group)
        }
    };
    plan.grants.push((subject, grant));
    Ok(())
}

fn legal_group(name: &str) -> Result<GroupName, String> {
    GroupName::parse(name).map_err(|_| no_group(name))
}

fn no_group(name: &str) -> String {
    format!("the label {name} can be no group's name")
}

/// Whether somebody may be meant by both.
fn may_be_same(a: &Whom, b: &Whom) -> bool {
    match (a, b) {
        (Whom::User(a), Whom::User(b)) => a == b,
        _ => true,
    }
}

/// Whether a name may match both patterns, judged by what stands before their first stars.
fn may_meet(a: &str, b: &str) -> bool {
    let head = |pattern: &str| pattern.split('*').next().unwrap_or_default().to_owned();
    let (head_a, head_b) = (head(a), head(b));
    match (a.contains('*'), b.contains('*')) {
        (false, false) => a == b,
        (true, false) => b.starts_with(&head_a),
        (false, true) => a.starts_with(&head_b),
        (true, true) => head_a.starts_with(&head_b) || head_b.starts_with(&head_a),
    }
}

/// YAML takes some words for numbers and truth.
fn scalar(value: &Yaml<'_>) -> Option<String> {
    match value {
        Yaml::Value(Scalar::String(text)) => Some(text.to_string()),
        Yaml::Value(Scalar::Integer(number)) => Some(number.to_string()),
        Yaml::Value(Scalar::Boolean(truth)) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, read};

    const USERS: &str = r#"
users:
  "": {}
  alice:
    password: "$2y$10$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC"
    labels: { group: [team, ops], project: blue }
  bob:
    password: "$2y$10$n4Uf8cs1OT7Xhz94UJEdXuloZMyY4kBb0uLSW3Z/k8i65UNJh4rjC"
  plain:
    password: "secret"
  nobody: {}
"#;

    fn of(acl: &str) -> (Vec<String>, Vec<String>) {
        let plan = read(&format!("{USERS}acl:\n{acl}")).unwrap();
        let grants = plan
            .grants
            .iter()
            .map(|(subject, grant)| format!("{subject} {} {}", grant.pattern, grant.actions));
        let unequal = plan
            .unequal
            .iter()
            .skip(2)
            .map(|(place, why)| format!("{place}: {why}"));
        (grants.collect(), unequal.collect())
    }

    #[test]
    fn users_and_what_cannot_be_one() {
        let plan = read(USERS).unwrap();
        let users: Vec<&str> = plan.users.iter().map(|entry| entry.user.as_str()).collect();
        assert_eq!(users, ["alice", "bob"]);
        let unequal: Vec<&str> = plan.unequal.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(unequal, ["user plain", "user nobody"]);
        assert!(plan.unequal.iter().all(|(_, why)| !why.contains("secret")));
        for text in ["", "- a", "a: [", "just text"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_has_an_equal_becomes_a_grant() {
        for (entry, grant) in [
            ("{match: {account: alice}, actions: ['*']}", "alice ** *"),
            (
                "{match: {account: alice, name: 'base/*'}, actions: [pull]}",
                "alice base/* pull",
            ),
            (
                "{match: {account: alice, name: 'base/**'}, actions: [pull]}",
                "alice base/* pull",
            ),
            (
                "{match: {account: alice, name: '${account}/x'}, actions: [pull, push]}",
                "alice alice/x pull,push",
            ),
            (
                "{match: {account: '', name: 'library/*'}, actions: [pull]}",
                "public library/* pull",
            ),
            (
                "{match: {name: 'library/*'}, actions: [pull]}",
                "public library/* pull",
            ),
            (
                "{match: {labels: {group: team}, name: 'team/*'}, actions: [push]}",
                "@team team/* push",
            ),
            (
                "{match: {account: '/.+/', name: '/.*/'}, actions: [pull]}",
                "@docker-auth-users ** pull",
            ),
            (
                "{match: {account: '/^(alice)$/', name: 'x'}, actions: [pull]}",
                "alice x pull",
            ),
        ] {
            let (grants, unequal) = of(&format!("  - {entry}"));
            assert_eq!((grants, unequal), (vec![grant.to_owned()], vec![]), "{entry}");
        }
        let (grants, _) = of("  - {match: {name: '${labels:group}/*', account: '/.+/'}, actions: ['*']}");
        assert_eq!(grants, ["@ops ops/* *", "@team team/* *"]);
        let plan = read(&format!(
            "{USERS}acl:\n  - {{match: {{account: '/.+/', name: a}}, actions: [pull]}}"
        ))
        .unwrap();
        let group = super::GroupName::parse(ALL).unwrap();
        let all: Vec<&str> = plan.groups[&group].iter().map(|user| user.as_str()).collect();
        assert_eq!(all, ["alice", "bob"]);
    }

    #[test]
    fn what_has_none_is_listed_with_its_place() {
        for entry in [
            "{match: {account: '/^a/'}, actions: [pull]}",
            "{match: {account: 'a*'}, actions: [pull]}",
            "{match: {account: carol}, actions: [pull]}",
            "{match: {account: alice, name: '/^a.*$/'}, actions: [pull]}",
            "{match: {account: alice, name: 'a?'}, actions: [pull]}",
            "{match: {account: alice, ip: 10.0.0.0/8}, actions: [pull]}",
            "{match: {account: alice, service: x}, actions: [pull]}",
            "{match: {account: alice, labels: {group: team}}, actions: [pull]}",
            "{match: {labels: {group: '/t/'}}, actions: [pull]}",
            "{match: {labels: {group: a, project: b}}, actions: [pull]}",
            "{match: {account: alice, name: Team/x}, actions: [pull]}",
            "{match: {account: alice}, actions: [fly]}",
            "{match: {colour: blue}, actions: [pull]}",
        ] {
            let (grants, unequal) = of(&format!("  - {entry}"));
            assert!(grants.is_empty(), "{entry}: {grants:?}");
            assert!(
                unequal.len() == 1 && unequal[0].starts_with("acl entry 1: "),
                "{entry}: {unequal:?}"
            );
        }
    }

    /// There the first entry decides; grants add up. What would be more than there is left out.
    #[test]
    fn nobody_gets_more_than_the_first_entry_that_matches_gives() {
        let (grants, unequal) = of(
            "  - {match: {account: alice, name: 'base/*'}, actions: [pull]}\n  \
             - {match: {account: alice}, actions: ['*']}\n  - {match: {account: bob}, actions: ['*']}",
        );
        assert_eq!(grants, ["alice base/* pull", "bob ** *"]);
        assert!(
            unequal[0].starts_with("acl entry 2: an earlier entry allows less"),
            "{unequal:?}"
        );
        // A denial, and what cannot be read, keep all later ones that they may concern from being read.
        let (grants, unequal) = of("  - {match: {name: 'secret/*'}, actions: []}\n  \
             - {match: {account: alice, name: 'team/*'}, actions: [pull]}\n  - {match: {account: bob}, \
             actions: [pull]}");
        assert_eq!(grants, ["alice team/* pull"]);
        assert_eq!(unequal.len(), 1);
        let (grants, _) = of(
            "  - {match: {account: '/x/'}, actions: [pull]}\n  - {match: {account: alice}, \
             actions: [push]}\n  - {match: {account: bob, name: a}, actions: [pull]}",
        );
        assert_eq!(grants, ["bob a pull"]);
        // More first and less later is the same in both.
        let (grants, unequal) = of("  - {match: {account: alice, name: 'a/*'}, actions: ['*']}\n  \
             - {match: {account: '/.+/'}, actions: [pull]}");
        assert_eq!((grants.len(), unequal.len()), (2, 0));
    }

    #[test]
    fn the_own_namespace_is_not_granted_but_named() {
        let plan = read(&format!(
            "{USERS}acl:\n  - {{match: {{account: '/.+/', name: '${{account}}/*'}}, actions: ['*']}}"
        ))
        .unwrap();
        assert!(plan.own_namespace && plan.grants.is_empty());
        let (_, unequal) = of("  - {match: {account: '/.+/', name: '${account}/*'}, actions: [pull]}");
        assert_eq!(unequal.len(), 1);
    }
}
