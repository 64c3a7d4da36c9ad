//! The decision: may this subject do what this route needs?
//!
//! Called once a request by the nginx module, and by the tool's `explain`. Invariants: only [`decide`] makes a
//! [`Permit`]; a denial wins over every right, the own namespace included; what cannot be read allows nothing.

use crate::codec::{GrantRef, InvalidRecord, RecordRef};
use crate::denial::{Denial, Reason};
use crate::name::{RepositoryName, UserName};
use crate::resource::{Access, Resource};
use crate::route::need::{Api, Mount, Need, Route};
use crate::scope::{Action, Actions, Scope};
use crate::subject::{Limits, Subject};

/// The rules that are configured rather than stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether a user has every right on `<user>/**` (`registry_auth_own_namespace`).
    pub own_namespace: bool,
    /// Whether `/v2/_catalog` is served: its answer must then be filtered.
    pub catalog: bool,
    /// Whether V1's images can be read without a login (`registry_auth_v1_images public`).
    pub public_images: bool,
}

/// Whose record a grant stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The user's own.
    User,
    /// A group's: its index in [`Subject::groups`], `public` being the last.
    Group(usize),
}

/// The rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule<'a> {
    /// The request needs no right.
    Open,
    /// Every verified user may.
    Verified,
    /// The repository is in the user's own namespace.
    Own,
    /// A grant; where it denies, the reason of a refusal.
    Grant {
        /// Whose.
        source: Source,
        /// The grant.
        grant: GrantRef<'a>,
    },
    /// The owner may, but the access token is not for it.
    OutsideAccessToken,
    /// The owner may, but the token of the token endpoint is not for it.
    OutsideToken,
    /// Nothing allows it.
    None,
}

/// The answer about one scope, with its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verdict<'a> {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub rule: Rule<'a>,
}

/// What becomes of the query of an upload's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountDecision {
    /// The query goes on as it is.
    Keep,
    /// The query must be rewritten with [`crate::route::mount::strip`].
    Strip,
}

/// Leave to pass the request on. Only [`decide`] makes one.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Permit<'a> {
    rule: Rule<'a>,
    mount: MountDecision,
    anonymous: bool,
}

impl<'a> Permit<'a> {
    /// What becomes of `mount` and `from`.
    pub fn mount(&self) -> MountDecision {
        self.mount
    }

    /// The rule that allowed it.
    pub fn rule(&self) -> &Rule<'a> {
        &self.rule
    }

    /// The value of `$registry_auth_result`: `granted`, or `anonymous` where no user was verified.
    pub fn result(&self) -> &'static str {
        if self.anonymous {
            "anonymous"
        } else {
            "granted"
        }
    }
}

/// Decides a request.
///
/// ```
/// use registry_auth::codec::{encode, Record, RecordRef};
/// use registry_auth::grant::Grant;
/// use registry_auth::policy::{decide, Rules};
/// use registry_auth::route::{self, Method, Options, Request};
/// use registry_auth::{Limits, Subject, UserName};
///
/// let mut record = Vec::new();
/// let grants = vec![Grant::from_parts("team/*", "pull")?];
/// encode(&Record { grants, ..Record::default() }, &mut record)?;
/// let alice = Subject {
///     user: Some(UserName::parse(b"alice")?), // whose password was verified
///     record: RecordRef::decode(&record)?,
///     groups: &[],
///     limits: Limits::default(),
/// };
/// let rules = Rules { own_namespace: true, catalog: true, public_images: false };
///
/// let path = b"/v2/team/app/manifests/latest";
/// let pull = Request::from_target(Method::Get, path, path, None);
/// let pull = route::parse(&pull, &Options { v1_images: true })?;
/// assert_eq!(decide(&alice, &pull, &rules)?.result(), "granted");
///
/// let push = Request::from_target(Method::Put, path, path, None);
/// let push = route::parse(&push, &Options { v1_images: true })?;
/// let denial = decide(&alice, &push, &rules).unwrap_err();
/// assert_eq!((denial.status(), denial.code()), (403, "DENIED"));
/// assert_eq!(decide(&Subject::ANONYMOUS, &push, &rules).unwrap_err().status(), 401);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The refusal: 403 for a user without the right, 401 for the anonymous and for a locked account, 503 for a record that
/// cannot be read, 404 for what no registry can have.
pub fn decide<'a>(subject: &Subject<'a>, route: &Route<'_>, rules: &Rules) -> Result<Permit<'a>, Denial> {
    let rule = match &route.need {
        Need::Nothing => Rule::Open,
        Need::Login => verified(subject)?,
        Need::Images(action) => images(subject, *action, rules)?,
        Need::Catalog => catalog(subject, rules)?,
        Need::Search => listing(subject)?,
        Need::Repository(scope) => repository(subject, scope, route.api, rules)?,
        Need::Existence(name) => existence(subject, name, rules)?,
        Need::Unknown(unknown) => {
            verified(subject)?;
            return Err(Denial::unknown(*unknown));
        }
    };
    let mount = mount(subject, &route.mount, rules)?;
    Ok(Permit {
        rule,
        mount,
        anonymous: subject.user.is_none(),
    })
}

/// What a token may be issued for: of all that is `wanted`, what the subject may do. Refuses whom [`decide`] would refuse whatever
/// they want; the anonymous gets what is public.
pub fn grant(subject: &Subject<'_>, wanted: &[Resource<'_>], rules: &Rules) -> Result<Access, Denial> {
    let mut granting = Granting::default();
    granting.go_on(subject, wanted, rules, || true)?;
    Ok(granting.access)
}

/// What [`grant`] gives, in the making: there may be many resources, and many grants to look at for each.
#[derive(Debug, Default)]
pub struct Granting {
    access: Access,
    /// How many of the wanted actions were judged, in order.
    judged: usize,
}

impl Granting {
    /// Judges one action after the other, while `has_time` says so, and one at least. Whether all were
    /// judged. Subject and resources are to be the same each time.
    ///
    /// # Errors
    /// As of [`grant`].
    pub fn go_on(
        &mut self,
        subject: &Subject<'_>,
        wanted: &[Resource<'_>],
        rules: &Rules,
        mut has_time: impl FnMut() -> bool,
    ) -> Result<bool, Denial> {
        let subject = subject.beside_token();
        if subject.user.is_some() {
            verified(&subject)?;
        }
        let actions = wanted.iter().flat_map(|resource| {
            let actions = match resource {
                Resource::Repository(_, actions) | Resource::Images(actions) => *actions,
                Resource::Catalog => Actions::only(Action::Pull),
            };
            actions.iter().map(move |action| (resource, action))
        });
        let judged = self.judged;
        for (resource, action) in actions.skip(judged) {
            if self.judged > judged && !has_time() {
                return Ok(false);
            }
            self.judged += 1;
            match resource {
                Resource::Repository(name, _) => {
                    let verdict = judge(&subject, name, action, rules).map_err(|_| Denial::bad_record())?;
                    if verdict.allowed {
                        self.access.add(name, action);
                    }
                }
                Resource::Catalog => self.access.catalog |= catalog(&subject, rules).is_ok(),
                Resource::Images(_) => {
                    if images(&subject, action, rules).is_ok() {
                        self.access.add_images(action);
                    }
                }
            }
        }
        Ok(true)
    }

    /// What was granted.
    #[must_use]
    pub fn into_access(self) -> Access {
        self.access
    }
}

/// The verdict on one scope, for `explain`. Locked accounts are the caller's to see.
pub fn judge<'a>(
    subject: &Subject<'a>,
    repository: &RepositoryName<'_>,
    action: Action,
    rules: &Rules,
) -> Result<Verdict<'a>, InvalidRecord> {
    let name = repository.as_bytes();
    if let Some(rule) = find_denial(subject, name, action)? {
        return Ok(Verdict { allowed: false, rule });
    }
    let right = match rules.own_namespace && is_own(subject, name) {
        true => Some(Rule::Own),
        false => find_right(subject, name, action)?,
    };
    let Some(rule) = right else {
        return Ok(Verdict {
            allowed: false,
            rule: Rule::None,
        });
    };
    Ok(match outside(subject, name, action)? {
        Some(rule) => Verdict { allowed: false, rule },
        None => Verdict { allowed: true, rule },
    })
}

/// Which limit of the credential, if any, keeps it from what its owner may do.
fn outside<'a>(
    subject: &Subject<'_>,
    name: &[u8],
    action: Action,
) -> Result<Option<Rule<'a>>, InvalidRecord> {
    let Limits { access_token, token } = subject.limits;
    if let Some(scopes) = access_token {
        if !scopes.cover(name, action)? {
            return Ok(Some(Rule::OutsideAccessToken));
        }
    }
    Ok(match token {
        Some(access) if !access.covers(name, action) => Some(Rule::OutsideToken),
        _ => None,
    })
}

fn verified<'a>(subject: &Subject<'_>) -> Result<Rule<'a>, Denial> {
    match subject.user {
        Some(_) if subject.record.is_locked() => Err(Denial::bad_credentials()),
        Some(_) => Ok(Rule::Verified),
        None => Err(Denial::unauthenticated()),
    }
}

fn catalog<'a>(subject: &Subject<'_>, rules: &Rules) -> Result<Rule<'a>, Denial> {
    verified(subject)?;
    match rules.catalog {
        true => listing(subject),
        false => Err(Denial::new(Reason::Denied, "the catalog is not available")),
    }
}

/// What lists repositories of all names, but shows those only that may be pulled.
fn listing<'a>(subject: &Subject<'_>) -> Result<Rule<'a>, Denial> {
    match verified(subject)? {
        _ if subject.limits.token.is_some_and(|access| !access.catalog) => {
            Err(Denial::insufficient_scope("the catalog"))
        }
        rule => Ok(rule),
    }
}

/// Images of V1 belong to no repository: only what is good for all repositories is good for them.
fn images<'a>(subject: &Subject<'_>, action: Action, rules: &Rules) -> Result<Rule<'a>, Denial> {
    let rule = match subject.user {
        None if rules.public_images && action == Action::Pull => Rule::Open,
        _ => verified(subject)?,
    };
    let Limits { access_token, token } = subject.limits;
    if let Some(scopes) = access_token {
        if !scopes.cover_all(action).map_err(|_| Denial::bad_record())? {
            let message = format!("the access token may not {action} every repository");
            return Err(Denial::new(Reason::Denied, message));
        }
    }
    match token {
        Some(access) if !access.covers_images(action) => Err(Denial::insufficient_scope("images")),
        _ => Ok(rule),
    }
}

fn repository<'a>(
    subject: &Subject<'a>,
    scope: &Scope<'_>,
    api: Api,
    rules: &Rules,
) -> Result<Rule<'a>, Denial> {
    let verdict = verdict(subject, &scope.repository, scope.action, rules)?;
    match verdict.allowed {
        true => Ok(verdict.rule),
        false => Err(refusal(subject, scope, api, &verdict.rule, rules)),
    }
}

/// Whoever may push to a repository learns there what it has: clients ask before they send it, and a robot that may only
/// push could not push otherwise. The refusal is that of a pull, unless it is the token that lacks the right to push.
fn existence<'a>(
    subject: &Subject<'a>,
    name: &RepositoryName<'_>,
    rules: &Rules,
) -> Result<Rule<'a>, Denial> {
    let pull = verdict(subject, name, Action::Pull, rules)?;
    if pull.allowed {
        return Ok(pull.rule);
    }
    let push = verdict(subject, name, Action::Push, rules)?;
    if push.allowed {
        return Ok(push.rule);
    }
    let (action, rule) = match push.rule == Rule::OutsideToken && pull.rule != Rule::OutsideToken {
        true => (Action::Push, push.rule),
        false => (Action::Pull, pull.rule),
    };
    let repository = name.clone();
    let scope = Scope { repository, action };
    Err(refusal(subject, &scope, Api::V2, &rule, rules))
}

/// The verdict on what a user who is not locked, or the anonymous, wants to do to a repository.
fn verdict<'a>(
    subject: &Subject<'a>,
    name: &RepositoryName<'_>,
    action: Action,
    rules: &Rules,
) -> Result<Verdict<'a>, Denial> {
    if subject.user.is_some() {
        verified(subject)?;
    }
    judge(subject, name, action, rules).map_err(|_| Denial::bad_record())
}

/// The refusal of a scope that this rule does not allow.
#[cold]
fn refusal(subject: &Subject<'_>, scope: &Scope<'_>, api: Api, rule: &Rule<'_>, rules: &Rules) -> Denial {
    match (rule, subject.user) {
        (Rule::OutsideToken, _) => Denial::insufficient_scope(&scope.to_string()),
        (_, None) => Denial::unauthenticated(),
        (Rule::OutsideAccessToken, Some(_)) => {
            Denial::lacks("the access token", scope, "its scopes".to_owned())
        }
        (rule, Some(user)) => {
            let denial = Denial::lacks(user.as_str(), scope, describe(rule));
            match *rule == Rule::None && rules.own_namespace {
                true => without_namespace(denial, user, &scope.repository, api),
                false => denial,
            }
        }
    }
}

/// Tells who has named a repository without a namespace, as people do at first, which one is theirs.
fn without_namespace(
    denial: Denial,
    user: UserName<'_>,
    repository: &RepositoryName<'_>,
    api: Api,
) -> Denial {
    let name = repository.as_bytes();
    // V1's clients put none into the path, which is `library` then.
    let typed = match api {
        Api::V1 => name.strip_prefix(b"library/").unwrap_or(name),
        _ => name,
    };
    let is_in_one = typed.contains(&b'/');
    let own = format!("{user}/");
    let is_legal = || RepositoryName::parse_owned(format!("{own}x")).is_ok();
    match !is_in_one && is_legal() {
        true => denial.with_hint(&format!("your own repositories are {own}…")),
        false => denial,
    }
}

/// A rule that refuses, in words.
fn describe(rule: &Rule<'_>) -> String {
    let Rule::Grant { source, grant } = rule else {
        return "no grant allows it".to_owned();
    };
    let of = match source {
        Source::User => "the user",
        Source::Group(_) => "a group",
    };
    let pattern = grant.pattern().unwrap_or_default();
    format!("denial !{pattern} {} of {of}", grant.actions)
}

fn mount(subject: &Subject<'_>, mount: &Mount<'_>, rules: &Rules) -> Result<MountDecision, Denial> {
    let other = match mount {
        Mount::Absent => return Ok(MountDecision::Keep),
        Mount::Strip => return Ok(MountDecision::Strip),
        Mount::From(other) => other,
    };
    let verdict = judge(subject, other, Action::Pull, rules).map_err(|_| Denial::bad_record())?;
    match verdict.rule {
        _ if verdict.allowed => Ok(MountDecision::Keep),
        // The owner may mount: a client that gets a token for both repositories need not send the blob.
        Rule::OutsideToken => Err(Denial::insufficient_scope(&format!("pull {other}"))),
        _ => Ok(MountDecision::Strip),
    }
}

/// Whether the name lies in the namespace of the user. A user name holds no `/`, so what equals it here is the first
/// segment of a legal name: a user name that is no legal segment owns nothing, without being parsed as one.
fn is_own(subject: &Subject<'_>, name: &[u8]) -> bool {
    let Some(user) = subject.user else { return false };
    matches!(name.strip_prefix(user.as_str().as_bytes()), Some([b'/', ..]))
}

fn find_denial<'a>(
    subject: &Subject<'a>,
    name: &[u8],
    action: Action,
) -> Result<Option<Rule<'a>>, InvalidRecord> {
    find(subject, |record| record.denials().covering(name, action))
}

fn find_right<'a>(
    subject: &Subject<'a>,
    name: &[u8],
    action: Action,
) -> Result<Option<Rule<'a>>, InvalidRecord> {
    find(subject, |record| record.rights().covering(name, action))
}

/// The first grant that is found, in the user's own record and then in those of its groups.
fn find<'a>(
    subject: &Subject<'a>,
    covering: impl Fn(&RecordRef<'a>) -> Result<Option<GrantRef<'a>>, InvalidRecord>,
) -> Result<Option<Rule<'a>>, InvalidRecord> {
    if let Some(grant) = covering(&subject.record)? {
        return Ok(Some(Rule::Grant {
            source: Source::User,
            grant,
        }));
    }
    for (index, group) in subject.groups.iter().enumerate() {
        if let Some(grant) = covering(group)? {
            return Ok(Some(Rule::Grant {
                source: Source::Group(index),
                grant,
            }));
        }
    }
    Ok(None)
}
