//! Is it this user's password? Fast forms are verified at once, slow ones on the hashing pool.
//!
//! Used by `lookup`. Invariants: whoever is refused has cost what a wrong password costs (rule 12 of the
//! security model: unknown, locked or without a password); a hash that cannot be used is a bad record, not a
//! wrong password; one password of one user is hashed once at a time, whoever waits for it.

use crate::last_use::LastUses;
use crate::lookup::questions_and_replies::hash_key;
use crate::lookup::reply_cache::{Familiar, Familiars};
use crate::messages::{By, Keyspace, Outcome};
use crate::queue::events::{Completions, Mark};
use crate::queue::pending::{Answer, Basis, GroupNames, Subject, Waiting};
use crate::rehash::{Renewal, Renewals};
use crate::single_flight::{Flight, Flights};
use crate::verify::decoy::{self, Dummies};
use crate::verify::pool::{Pool, Work};
use registry_auth::codec::{State, TokenRef};
use registry_auth::password::{self, InvalidHash};
use registry_auth::RecordRef;
use registry_auth_redis::log::{Level, Log};
use registry_auth_redis::Secret;
use std::sync::Arc;

/// How all jobs of one user are answered, but for the password that each brings.
pub(crate) struct Check {
    hash: Arc<Hash>,
    /// Whether the password is in `P:user:<name>`, so that `P:passwords` plays no role.
    own: bool,
    /// The record, encoded, and what else concerns the user; `None` for one who does not exist.
    known: Option<(Arc<[u8]>, Common)>,
    /// When all that was asked for.
    mark: Mark,
    /// Where all this was made before: a password that was right then is right now.
    familiar: Option<Arc<Familiar>>,
}

/// What concerns a user besides their own record.
pub(crate) struct Common {
    /// The user's groups: names, and records in the same order.
    pub(crate) names: GroupNames,
    pub(crate) groups: Arc<[Arc<[u8]>]>,
    pub(crate) public: Arc<[u8]>,
    /// `None` where they cannot be read, and the user has no need of them.
    pub(crate) defaults: Option<Arc<[u8]>>,
}

/// What a password is verified against.
pub(crate) enum Hash {
    /// The user's, without the `!` of a locked account.
    Stored { stored: Box<str>, locked: bool },
    /// There is none: some other hash is verified for its cost; `None` is the tool's argon2id.
    Dummy(Option<Arc<str>>),
}

impl Check {
    /// For a user who has a record, with this password hash.
    pub(crate) fn known(
        context: &Verifier,
        subject: &Subject,
        password: Option<String>,
        own: bool,
        record: Arc<[u8]>,
        common: Common,
        mark: Mark,
    ) -> Self {
        Self {
            hash: Arc::new(Hash::of(password, || context.like(subject))),
            own,
            known: Some((record, common)),
            mark,
            familiar: None,
        }
    }

    /// For a user whose data is what it was the last time.
    pub(crate) fn familiar(familiar: Arc<Familiar>, common: Common, mark: Mark) -> Self {
        Self {
            hash: Arc::clone(&familiar.hash),
            own: familiar.own,
            known: Some((Arc::clone(&familiar.record), common)),
            mark,
            familiar: Some(familiar),
        }
    }

    /// Record, whether the password is in it, and hash, of a user who has all of them.
    pub(crate) fn parts(&self) -> Option<(Arc<[u8]>, bool, Arc<Hash>)> {
        match (&self.known, &*self.hash) {
            (Some((record, _)), Hash::Stored { .. }) => {
                Some((Arc::clone(record), self.own, Arc::clone(&self.hash)))
            }
            _ => None,
        }
    }

    /// For a user who does not exist.
    pub(crate) fn nobody(context: &Verifier, subject: &Subject, mark: Mark) -> Self {
        Self {
            hash: Arc::new(Hash::Dummy(context.like(subject))),
            own: false,
            known: None,
            mark,
            familiar: None,
        }
    }

    /// The answer to this job, given whether its password is right.
    fn conclude(&self, waiting: Waiting, right: Result<bool, InvalidHash>, log: &Log) -> Answer {
        let outcome = match right {
            Ok(right) => self.found(right && matches!(*self.hash, Hash::Stored { locked: false, .. })),
            Err(why) => {
                let key = hash_key(&waiting.space.prefix, waiting.subject.name(), self.own);
                let message = format!("record {key} cannot be read: {why}");
                log.write_once(&key, Level::Error, &message);
                Outcome::BadRecord
            }
        };
        self.based(waiting, outcome)
    }

    /// Whether what is to prove who somebody is does so, where that stands in the record; `None` for a password. Nothing is hashed, for
    /// an unknown user either: what has 190 random bits is not guessed, whatever time tells. An access token that proves it goes to
    /// `used`.
    fn is_proven(&self, by: &By, used: impl FnOnce(TokenRef<'_>)) -> Option<bool> {
        let digest = match by {
            By::Password => return None,
            By::AccessToken(digest) => Some(digest),
            By::Vouched => None,
        };
        let record = self
            .known
            .as_ref()
            .and_then(|(record, _)| RecordRef::decode(record).ok());
        let Some(record) = record.filter(|record| !record.is_locked()) else {
            return Some(false);
        };
        let Some(digest) = digest else {
            return Some(true);
        };
        let token = record.token(**digest).ok().flatten();
        Some(token.map(used).is_some())
    }

    /// The answer, and what it was made of.
    fn based(&self, waiting: Waiting, outcome: Outcome) -> Answer {
        let basis = Basis {
            mark: self.mark,
            passwords: !self.own,
            groups: self
                .known
                .as_ref()
                .map_or_else(Arc::default, |(_, common)| Arc::clone(&common.names)),
        };
        Answer {
            waiting,
            outcome,
            basis: Some(basis),
        }
    }

    /// What a job comes to for which nothing had to be hashed.
    fn proven(&self, by: &By, proven: bool) -> Outcome {
        match by {
            By::AccessToken(_) if !proven => Outcome::NoToken,
            _ => self.found(proven),
        }
    }

    fn found(&self, verified: bool) -> Outcome {
        match &self.known {
            Some((user, common)) => Outcome::Known {
                user: Arc::clone(user),
                groups: Arc::clone(&common.groups),
                public: Arc::clone(&common.public),
                defaults: common.defaults.clone(),
                verified,
                from_passwords: !self.own,
            },
            None => Outcome::Unknown,
        }
    }
}

impl Hash {
    pub(crate) fn of(password: Option<String>, like: impl FnOnce() -> Option<Arc<str>>) -> Self {
        let Some(stored) = password else {
            return Self::Dummy(like());
        };
        let locked = password::is_locked(&stored);
        match stored.trim_start_matches('!') {
            // An empty text is a hash of no form, not 'no password': it must not fall back to anything.
            // Whatever stands behind the mark of a locked account, the account is locked rather than unreadable.
            bare if locked && password::check(bare).is_err() => Self::Dummy(like()),
            bare if bare.len() == stored.len() => Self::Stored {
                stored: stored.into(),
                locked,
            },
            bare => Self::Stored {
                stored: bare.into(),
                locked,
            },
        }
    }

    fn is_slow(&self) -> bool {
        match self {
            Self::Stored { stored, .. } => password::is_slow(stored),
            Self::Dummy(like) => decoy::is_slow(like.as_deref()),
        }
    }

    /// Whether a password need not be hashed again, as it was for `earlier`.
    fn is_settled_by(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Stored { stored, .. }, Self::Stored { stored: earlier, .. }) => stored == earlier,
            // A dummy is only for its cost, and that has been paid.
            (Self::Dummy(_), _) => true,
            (Self::Stored { .. }, Self::Dummy(_)) => false,
        }
    }

    /// Bytes of its text.
    pub(crate) fn len(&self) -> usize {
        self.text().1.map_or(0, str::len)
    }

    /// Whether it is the one that a password was found to be right for.
    fn is(&self, verified: State) -> bool {
        match self {
            Self::Stored { stored, .. } => State::of(stored.as_bytes()) == verified,
            Self::Dummy(_) => false,
        }
    }

    /// Its text, where it is that of an account that is not locked.
    pub(crate) fn unlocked(&self) -> Option<&str> {
        match self {
            Self::Stored {
                stored,
                locked: false,
            } => Some(stored),
            _ => None,
        }
    }

    fn text(&self) -> (bool, Option<&str>) {
        match self {
            Self::Stored { stored, .. } => (true, Some(stored)),
            Self::Dummy(like) => (false, like.as_deref()),
        }
    }
}

/// What a slow hash has told about a job's password; still true when the job has to be asked again and the stored hash is
/// the same.
pub(crate) struct Proof {
    check: Arc<Check>,
    right: bool,
}

/// What verification needs; one for the helper and the hashing threads.
pub(crate) struct Verifier {
    pub(crate) dummies: Dummies,
    pub(crate) log: Log,
    pub(crate) completions: Arc<Completions>,
}

impl Verifier {
    fn like(&self, subject: &Subject) -> Option<Arc<str>> {
        self.dummies.like(&subject.space.prefix)
    }

    fn verify(
        &self,
        hash: &Hash,
        space: &Keyspace,
        user: &str,
        password: &Secret,
    ) -> Result<bool, InvalidHash> {
        match hash {
            Hash::Stored { stored, .. } => {
                let right = password::verify(stored, password.expose(), &space.salt)?;
                self.dummies.saw(&space.prefix, user, stored);
                if !right {
                    self.hint_at_salt(stored, space, password);
                }
                Ok(right)
            }
            Hash::Dummy(like) => {
                password::dummy(like.as_deref(), password.expose(), &space.salt);
                // What a wrong password costs.
                let other = like
                    .as_ref()
                    .map(|like| password::other_salt(like, password.expose(), &space.salt));
                std::hint::black_box(other);
                Ok(false)
            }
        }
    }

    /// Data of the 2014 gate is in order, and its salt is not configured: all its users are refused, and nothing else tells why.
    fn hint_at_salt(&self, stored: &str, space: &Keyspace, password: &Secret) {
        if let Some(hint) = password::other_salt(stored, password.expose(), &space.salt) {
            let message = format!(
                "a password under {} that is wrong would be right, but: {hint}",
                space.prefix
            );
            self.log.write_once("salt", Level::Warn, &message);
        }
    }
}

/// Who waits for a slow hash. Each has a check of its own, as it may have been read later than the first's.
pub(crate) struct Checked {
    check: Arc<Check>,
    waiting: Waiting,
}

impl Checked {
    /// All that the result depends on, and the user.
    fn is_same(&self, other: &Self) -> bool {
        is_same_login(&self.waiting, &other.waiting) && self.check.hash.text() == other.check.hash.text()
    }
}

fn is_same_login(a: &Waiting, b: &Waiting) -> bool {
    (Arc::ptr_eq(&a.space, &b.space) || a.space == b.space)
        && a.subject.user == b.subject.user
        && a.password.is_same(&b.password)
}

/// The helper's end of verification.
pub(crate) struct Passwords {
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) pool: Pool<Task>,
    pub(crate) underway: Arc<Flights<Checked>>,
    pub(crate) familiars: Arc<Familiars>,
    /// `None`: nobody wants to know.
    pub(crate) last_uses: Option<Arc<LastUses>>,
    /// `None`: weak hashes stay.
    pub(crate) renewals: Option<Arc<Renewals>>,
}

impl Passwords {
    /// Answers all of `jobs` by `check`: into `answers`, or later from the pool.
    pub(crate) fn answer(
        &self,
        check: Check,
        jobs: impl Iterator<Item = Waiting>,
        answers: &mut Vec<Answer>,
    ) {
        if check.hash.is_slow() {
            let check = Arc::new(check);
            jobs.for_each(|waiting| self.slow(&check, waiting, answers));
            return;
        }
        let mut last = None;
        for waiting in jobs {
            if let Some(proven) = self.is_proven(&check, &waiting) {
                let outcome = check.proven(&waiting.by, proven);
                answers.push(check.based(waiting, outcome));
                continue;
            }
            // A client asks many times at once: only the first of equal passwords is hashed.
            let right = match last {
                Some(right)
                    if answers
                        .last()
                        .is_some_and(|last| is_same_login(&last.waiting, &waiting)) =>
                {
                    right
                }
                _ => self.fast(&check, &waiting),
            };
            last = Some(right);
            answers.push(check.conclude(waiting, right, &self.verifier.log));
        }
    }

    /// As [`Check::is_proven`], of a job. That a token was used is told to who wants to know.
    fn is_proven(&self, check: &Check, waiting: &Waiting) -> Option<bool> {
        check.is_proven(&waiting.by, |token| {
            if let Some(last_uses) = &self.last_uses {
                let prefix = &waiting.space.prefix;
                last_uses.used(prefix, waiting.subject.name(), token.id, token.expires);
            }
        })
    }

    /// Whether the password is right, by a form that is cheap to verify.
    fn fast(&self, check: &Check, waiting: &Waiting) -> Result<bool, InvalidHash> {
        let right = self.is_right(check, waiting)?;
        if right {
            self.renew(check, waiting);
        }
        Ok(right)
    }

    /// Has the pool replace a weak hash for which this password is right; where the pool is full, a later login will do.
    fn renew(&self, check: &Check, waiting: &Waiting) {
        let Some(renewals) = &self.renewals else { return };
        let (space, user) = (&waiting.space, waiting.subject.name());
        if let Some(renewal) = renewals.begin(space, user, check.own, &check.hash, &waiting.password) {
            drop(self.pool.submit(waiting.from, Task::Renew(renewal)));
        }
    }

    fn is_right(&self, check: &Check, waiting: &Waiting) -> Result<bool, InvalidHash> {
        let user = waiting.subject.name();
        let verify = || {
            self.verifier
                .verify(&check.hash, &waiting.space, user, &waiting.password)
        };
        let Some(familiar) = &check.familiar else {
            return verify();
        };
        let tag = self.familiars.tag(&waiting.password, &waiting.space.salt);
        if familiar.is_right(tag) {
            return Ok(true);
        }
        verify().inspect(|right| {
            if *right {
                familiar.was_right(tag);
            }
        })
    }

    fn slow(&self, check: &Arc<Check>, waiting: Waiting, answers: &mut Vec<Answer>) {
        if let Some(proven) = self.is_proven(check, &waiting) {
            let outcome = check.proven(&waiting.by, proven);
            answers.push(check.based(waiting, outcome));
            return;
        }
        let proof = waiting.proof.as_ref();
        if let Some(proof) = proof.filter(|proof| check.hash.is_settled_by(&proof.check.hash)) {
            let right = Ok(proof.right);
            answers.push(check.conclude(waiting, right, &self.verifier.log));
            return;
        }
        if waiting.verified.is_some_and(|verified| check.hash.is(verified)) {
            if let Hash::Stored { stored, .. } = &*check.hash {
                let dummies = &self.verifier.dummies;
                dummies.saw(&waiting.space.prefix, waiting.subject.name(), stored);
            }
            self.renew(check, &waiting);
            answers.push(check.conclude(waiting, Ok(true), &self.verifier.log));
            return;
        }
        let (space, subject) = (Arc::clone(&waiting.space), waiting.subject.clone());
        let (password, from) = (waiting.password.clone(), waiting.from);
        let key = (subject.key(), password.expose(), check.hash.text());
        let checked = Checked {
            check: Arc::clone(check),
            waiting,
        };
        let Some(flight) = self.underway.board(key, checked, Checked::is_same) else {
            return;
        };
        let slow = Slow {
            flight,
            check: Arc::clone(check),
            space,
            subject,
            password,
            verifier: Arc::clone(&self.verifier),
            renewals: self.renewals.clone(),
        };
        if let Err(Task::Verify(slow)) = self.pool.submit(from, Task::Verify(slow)) {
            answers.extend(slow.flight.land().map(|Checked { waiting, .. }| Answer {
                waiting,
                outcome: Outcome::Busy,
                basis: None,
            }));
        }
    }
}

/// A password on its way through the hashing pool.
pub(crate) struct Slow {
    flight: Flight<Checked>,
    check: Arc<Check>,
    space: Arc<Keyspace>,
    subject: Subject,
    password: Secret,
    verifier: Arc<Verifier>,
    renewals: Option<Arc<Renewals>>,
}

/// What the hashing pool computes.
pub(crate) enum Task {
    /// Whether a password is right.
    Verify(Slow),
    /// A better hash for one that is.
    Renew(Renewal),
}

impl Work for Task {
    fn run(self) {
        match self {
            Self::Verify(slow) => slow.run(),
            Self::Renew(renewal) => renewal.run(),
        }
    }
}

impl Slow {
    fn run(self) {
        let Self { check, verifier, .. } = self;
        let right = verifier.verify(&check.hash, &self.space, self.subject.name(), &self.password);
        let conclude = |Checked {
                            check: own,
                            mut waiting,
                        }| {
            waiting.proof = right.ok().map(|right| Proof {
                check: Arc::clone(&check),
                right,
            });
            own.conclude(waiting, right, &verifier.log)
        };
        verifier
            .completions
            .post(self.flight.land().map(conclude).collect());
        // Nobody waits for it any more but who is next in the queue, behind which it would stand else.
        if let (Ok(true), Some(renewals)) = (right, &self.renewals) {
            let (space, user) = (&self.space, self.subject.name());
            if let Some(renewal) = renewals.begin(space, user, check.own, &check.hash, &self.password) {
                renewal.run();
            }
        }
    }
}
