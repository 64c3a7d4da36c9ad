//! The decision: may this subject do what this route needs?
//!
//! Called by the nginx module once a request, and by `explain` of the tool. Invariants: only [`decide`] makes
//! a [`Permit`]; a denial wins over every right, also in the user's own namespace; a record that cannot be
//! read allows nothing.

use std::fmt;

use crate::codec::{GrantRef, InvalidRecord, RecordRef};
use crate::denial::{Denial, Reason};
use crate::name::{RepositoryName, UserName};
use crate::resource::{Access, Resource};
use crate::result::RequestResult;
use crate::route::need::{Api, Mount, Need, Route};
use crate::scope::{Action, Actions, Scope};
use crate::subject::{Limits, Subject};

/// The rules that nginx's configuration sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether a user has every right on `<user>/**` (`registry_auth_own_namespace`).
    pub own_namespace: bool,
    /// Whether `/v2/_catalog` is served. The caller must then filter its answer.
    pub catalog: bool,
    /// Whether V1's images may be read without a login (`registry_auth_v1_images public`).
    pub public_images: bool,
}

/// The record that holds a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The user's own record.
    User,
    /// The record of a group: its index in [`Subject::groups`], where `public` is the last one.
    Group(usize),
}

/// The rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule<'a> {
    /// The request needs no right.
    Open,
    /// Every verified user may do it.
    Verified,
    /// The repository is in the user's own namespace.
    Own,
    /// A grant. Where it denies, it is the reason of a refusal.
    Grant {
        /// The record that holds it.
        holder: Holder,
        /// The grant.
        grant: GrantRef<'a>,
    },
    /// The owner may do it, but the scopes of the access token do not include it.
    OutsideAccessToken,
    /// The owner may do it, but the token of the token endpoint was not issued for it.
    OutsideToken,
    /// Nothing allows it.
    None,
}

/// The rule in words, for logs. Behind that of a group its name is to be added: see [`Rule::group`].
impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open to everybody"),
            Self::Verified => f.write_str("every user"),
            Self::Own => f.write_str("own namespace"),
            Self::Grant { holder, grant } => {
                let of = match holder {
                    Holder::User => "the user",
                    Holder::Group(_) => "the group",
                };
                let kind = if grant.deny { "denial !" } else { "grant " };
                let pattern = grant.pattern().unwrap_or_default();
                write!(f, "{kind}{pattern} {} of {of}", grant.actions)
            }
            Self::OutsideAccessToken => f.write_str("its scopes"),
            Self::OutsideToken => f.write_str("what the token was issued for"),
            Self::None => f.write_str("no grant allows it"),
        }
    }
}

impl Rule<'_> {
    /// The group whose record has the grant: its index in [`Subject::groups`].
    #[must_use]
    pub fn group(&self) -> Option<usize> {
        match self {
            Self::Grant {
                holder: Holder::Group(index),
                ..
            } => Some(*index),
            _ => None,
        }
    }
}

/// Whether one scope is allowed, and by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decision<'a> {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rule that decided.
    pub rule: Rule<'a>,
}

/// What happens to the query of a request that starts an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountDecision {
    /// It is forwarded as it is.
    Keep,
    /// It must be rewritten with [`crate::route::mount::strip`].
    Strip,
}

/// The permission to forward a request. Only [`decide`] makes one.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Permit<'a> {
    rule: Rule<'a>,
    mount: MountDecision,
    anonymous: bool,
}

impl<'a> Permit<'a> {
    /// What happens to `mount` and `from` in the query.
    pub fn mount(&self) -> MountDecision {
        self.mount
    }

    /// The rule that allowed it.
    pub fn rule(&self) -> &Rule<'a> {
        &self.rule
    }

    /// How the request was decided: `$registry_auth_result`.
    pub fn result(&self) -> RequestResult {
        if self.anonymous {
            RequestResult::Anonymous
        } else {
            RequestResult::Granted
        }
    }
}

/// Decides a request.
///
/// ```
/// use registry_auth::codec::{encode, Record, RecordRef};
/// use registry_auth::grant::Grant;
/// use registry_auth::policy::{decide, Rules};
/// use registry_auth::route::{self, Method, RouteOptions, Request};
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
/// let pull = route::parse(&pull, &RouteOptions { v1_images: true })?;
/// assert_eq!(decide(&alice, &pull, &rules)?.result().as_str(), "granted");
///
/// let push = Request::from_target(Method::Put, path, path, None);
/// let push = route::parse(&push, &RouteOptions { v1_images: true })?;
/// let denial = decide(&alice, &push, &rules).unwrap_err();
/// assert_eq!((denial.status(), denial.code()), (403, "DENIED"));
/// assert_eq!(decide(&Subject::ANONYMOUS, &push, &rules).unwrap_err().status(), 401);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The refusal: 403 for a user without the right, 401 for the anonymous and for a locked account, 503 for a
/// record that cannot be read, 404 for what no registry can have.
#[inline]
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

/// What a token may be issued for: the part of `wanted` that the subject may do. The anonymous gets what is
/// public.
///
/// # Errors
/// The refusal of a subject that [`decide`] would refuse whatever it asks for, such as a locked account, or
/// of a record that cannot be read.
pub fn grant(subject: &Subject<'_>, wanted: &[Resource<'_>], rules: &Rules) -> Result<Access, Denial> {
    let mut granting = PartialAccess::default();
    granting.go_on(subject, wanted, rules, || true)?;
    Ok(granting.access)
}

/// What [`grant`] gives, in the making: there may be many resources, and many grants to look at for each.
#[derive(Debug, Default)]
pub struct PartialAccess {
    access: Access,
    /// How many of the wanted actions were judged, in order.
    judged: usize,
}

impl PartialAccess {
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

/// The rule by which a request was allowed that [`decide`] has allowed, for a log. The request's repository
/// and action tell it, where they are given; `by_namespace` says whether it was the user's own namespace,
/// which the configuration decides on. `None` where the records do not allow it.
pub fn rule_of<'a>(
    subject: &Subject<'a>,
    wanted: Option<(&[u8], Action)>,
    by_namespace: bool,
) -> Option<Rule<'a>> {
    let Some((name, action)) = wanted else {
        return Some(if subject.user.is_some() {
            Rule::Verified
        } else {
            Rule::Open
        });
    };
    if by_namespace {
        return Some(Rule::Own);
    }
    let right = |action| find_right(subject, name, action).ok().flatten();
    match (right(action), action) {
        // Who may push may ask what there is, as `existence` has it.
        (None, Action::Pull) => right(Action::Push),
        (rule, _) => rule,
    }
}

/// The verdict on one scope, for `explain` of the tool. The caller must see for itself whether the account is
/// locked.
///
/// # Errors
/// [`InvalidRecord`] where a record is damaged.
pub fn judge<'a>(
    subject: &Subject<'a>,
    repository: &RepositoryName<'_>,
    action: Action,
    rules: &Rules,
) -> Result<Decision<'a>, InvalidRecord> {
    judge_here(subject, repository, action, rules)
}

/// The same in the place of its call, for the way of nearly every request.
#[inline(always)]
fn judge_here<'a>(
    subject: &Subject<'a>,
    repository: &RepositoryName<'_>,
    action: Action,
    rules: &Rules,
) -> Result<Decision<'a>, InvalidRecord> {
    let name = repository.as_bytes();
    if let Some(rule) = find_denial(subject, name, action)? {
        return Ok(Decision { allowed: false, rule });
    }
    let right = match rules.own_namespace && is_own(subject, name) {
        true => Some(Rule::Own),
        false => find_right(subject, name, action)?,
    };
    let Some(rule) = right else {
        return Ok(Decision {
            allowed: false,
            rule: Rule::None,
        });
    };
    Ok(match outside(subject, name, action)? {
        Some(rule) => Decision { allowed: false, rule },
        None => Decision { allowed: true, rule },
    })
}

/// The limit of the credential, if any, that excludes what its owner may do.
#[inline]
fn outside<'a>(
    subject: &Subject<'_>,
    name: &[u8],
    action: Action,
) -> Result<Option<Rule<'a>>, InvalidRecord> {
    let Limits { access_token, token } = subject.limits;
    if let Some(scopes) = access_token
        && !scopes.cover(name, action)?
    {
        return Ok(Some(Rule::OutsideAccessToken));
    }
    Ok(match token {
        Some(access) if !access.covers(name, action) => Some(Rule::OutsideToken),
        _ => None,
    })
}

#[inline]
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

/// The rule for a list of repositories. Every verified user may ask for one; it shows only what the user may
/// pull.
fn listing<'a>(subject: &Subject<'_>) -> Result<Rule<'a>, Denial> {
    match verified(subject)? {
        _ if subject.limits.token.is_some_and(|access| !access.catalog) => {
            Err(Denial::insufficient_scope("the catalog"))
        }
        rule => Ok(rule),
    }
}

/// Images of V1 belong to no repository, so an access token must include all repositories to include them.
fn images<'a>(subject: &Subject<'_>, action: Action, rules: &Rules) -> Result<Rule<'a>, Denial> {
    let rule = match subject.user {
        None if rules.public_images && action == Action::Pull => Rule::Open,
        _ => verified(subject)?,
    };
    let Limits { access_token, token } = subject.limits;
    if let Some(scopes) = access_token
        && !scopes.cover_all(action).map_err(|_| Denial::bad_record())?
    {
        let message = format!("the access token may not {action} every repository");
        return Err(Denial::new(Reason::Denied, message));
    }
    match token {
        Some(access) if !access.covers_images(action) => Err(Denial::insufficient_scope("images")),
        _ => Ok(rule),
    }
}

#[inline]
fn repository<'a>(
    subject: &Subject<'a>,
    scope: &Scope<'_>,
    api: Api,
    rules: &Rules,
) -> Result<Rule<'a>, Denial> {
    if subject.user.is_some() {
        verified(subject)?;
    }
    let verdict = judge_here(subject, &scope.repository, scope.action, rules);
    let verdict = verdict.map_err(|_| Denial::bad_record())?;
    match verdict.allowed {
        true => Ok(verdict.rule),
        false => Err(refusal(subject, scope, api, &verdict.rule, rules)),
    }
}

/// Who may push to a repository may also ask what it has: clients ask before they push, and a robot that may
/// only push could not push otherwise. The refusal is that of a pull, unless it is the token that lacks the
/// right to push.
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

/// The verdict on one scope, for a user whose account is not locked, or for the anonymous.
fn verdict<'a>(
    subject: &Subject<'a>,
    name: &RepositoryName<'_>,
    action: Action,
    rules: &Rules,
) -> Result<Decision<'a>, Denial> {
    if subject.user.is_some() {
        verified(subject)?;
    }
    judge(subject, name, action, rules).map_err(|_| Denial::bad_record())
}

/// The refusal of a scope, by the rule that does not allow it.
#[cold]
fn refusal(subject: &Subject<'_>, scope: &Scope<'_>, api: Api, rule: &Rule<'_>, rules: &Rules) -> Denial {
    let lacks = |who| Denial::lacks(who, scope, rule.to_string(), rule.group());
    match (rule, subject.user) {
        (Rule::OutsideToken, _) => Denial::insufficient_scope(&scope.to_string()),
        (_, None) => Denial::unauthenticated(),
        (Rule::OutsideAccessToken, Some(_)) => lacks("the access token"),
        (rule, Some(user)) => {
            let denial = lacks(user.as_str());
            match *rule == Rule::None && rules.own_namespace {
                true => without_namespace(denial, user, &scope.repository, api),
                false => denial,
            }
        }
    }
}

/// Adds a hint where the repository has no namespace, which people forget at first: their own namespace.
fn without_namespace(
    denial: Denial,
    user: UserName<'_>,
    repository: &RepositoryName<'_>,
    api: Api,
) -> Denial {
    let name = repository.as_bytes();
    // Clients of V1 put no namespace into the path; the name then begins with `library`.
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

#[inline]
fn mount(subject: &Subject<'_>, mount: &Mount<'_>, rules: &Rules) -> Result<MountDecision, Denial> {
    match mount {
        Mount::Absent => Ok(MountDecision::Keep),
        Mount::Strip => Ok(MountDecision::Strip),
        Mount::From(other) => mount_from(subject, other, rules),
    }
}

#[inline(never)]
fn mount_from(
    subject: &Subject<'_>,
    other: &RepositoryName<'_>,
    rules: &Rules,
) -> Result<MountDecision, Denial> {
    let verdict = judge(subject, other, Action::Pull, rules).map_err(|_| Denial::bad_record())?;
    match verdict.rule {
        _ if verdict.allowed => Ok(MountDecision::Keep),
        // The owner may mount: if the client gets a token for both repositories, it need not send the blob.
        Rule::OutsideToken => Err(Denial::insufficient_scope(&format!("pull {other}"))),
        _ => Ok(MountDecision::Strip),
    }
}

/// Whether the name lies in the namespace of the user. No user name contains a `/`, so the name that is
/// compared is the first segment of a legal repository name. A user name that is not a legal segment
/// therefore owns nothing, and need not be checked.
#[inline]
fn is_own(subject: &Subject<'_>, name: &[u8]) -> bool {
    let Some(user) = subject.user else { return false };
    matches!(name.strip_prefix(user.as_str().as_bytes()), Some([b'/', ..]))
}

#[inline]
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
#[inline]
fn find<'a>(
    subject: &Subject<'a>,
    covering: impl Fn(&RecordRef<'a>) -> Result<Option<GrantRef<'a>>, InvalidRecord>,
) -> Result<Option<Rule<'a>>, InvalidRecord> {
    if let Some(grant) = covering(&subject.record)? {
        return Ok(Some(Rule::Grant {
            holder: Holder::User,
            grant,
        }));
    }
    for (index, group) in subject.groups.iter().enumerate() {
        if let Some(grant) = covering(group)? {
            return Ok(Some(Rule::Grant {
                holder: Holder::Group(index),
                grant,
            }));
        }
    }
    Ok(None)
}
