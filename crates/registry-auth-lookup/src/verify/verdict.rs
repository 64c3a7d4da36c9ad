//! Is it this user's password? Fast forms are verified at once, slow ones on the hashing pool.
//!
//! Used by `lookup`. Invariants: whoever is refused has cost what a wrong password costs (rule 12 of the
//! security model: unknown, locked or without a password); a hash that cannot be used is a bad record, not a
//! wrong password; one password of one user is hashed once at a time, whoever waits for it.

use crate::last_use::LastUses;
use crate::messages::{Keyspace, Outcome, Proof};
use crate::queue::basis::{Basis, GroupNames, LookupKey, ReadMark};
use crate::queue::pending::{JobAnswer, Outbox, PendingJob};
use crate::rehash::{Renewal, Renewals};
use crate::single_flight::{Flight, SingleFlight};
use crate::unreadable::{hash_key, log_bad};
use crate::verify::decoy::Decoys;
use crate::verify::pool::{Pool, Work};
use crate::verify::stored_hash::{HashResult, PasswordTags, StoredHash};
use registry_auth::RecordRef;
use registry_auth::codec::TokenRef;
use registry_auth::password::{self, InvalidHash};
use registry_auth_redis::Secret;
use registry_auth_redis::log::{Level, Log};
use std::sync::Arc;

/// How all jobs of one user are answered, but for the password that each brings.
pub(crate) struct Verdict {
    hash: Arc<StoredHash>,
    /// Whether the password is in `P:user:<name>`, so that `P:passwords` plays no role.
    own: bool,
    /// The record, encoded, and what else concerns the user; `None` for one who does not exist.
    known: Option<(Arc<[u8]>, Common)>,
    /// When all that was asked for.
    mark: ReadMark,
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

impl Verdict {
    /// For a user who has this encoded record, and a password with this hash, which is in the record if
    /// `own`.
    pub(crate) fn known(
        record: Arc<[u8]>,
        own: bool,
        hash: Arc<StoredHash>,
        common: Common,
        mark: ReadMark,
    ) -> Self {
        Self {
            hash,
            own,
            known: Some((record, common)),
            mark,
        }
    }

    /// Record, whether the password is in it, and hash, of a user who has all of them.
    pub(crate) fn parts(&self) -> Option<(Arc<[u8]>, bool, Arc<StoredHash>)> {
        match (&self.known, &*self.hash) {
            (Some((record, _)), StoredHash::Own { .. }) => {
                Some((Arc::clone(record), self.own, Arc::clone(&self.hash)))
            }
            _ => None,
        }
    }

    /// For a user who does not exist.
    pub(crate) fn unknown(verifier: &Verifier, key: &LookupKey, mark: ReadMark) -> Self {
        Self {
            hash: verifier.hash(key, None),
            own: false,
            known: None,
            mark,
        }
    }

    /// The answer to this job, given whether its password is right.
    fn conclude(&self, job: PendingJob, right: Result<bool, InvalidHash>, log: &Log) -> JobAnswer {
        let outcome = match right {
            Ok(right) => self.found(right && matches!(*self.hash, StoredHash::Own { locked: false, .. })),
            Err(why) => {
                let key = hash_key(&job.space.prefix, job.key.name(), self.own);
                log_bad(log, &key, &why.to_string());
                Outcome::BadRecord
            }
        };
        self.based(job, outcome)
    }

    /// Whether the proof is right, which for an access token the record decides; `None` for a password.
    /// Nothing is hashed, for an unknown user either: an access token has 190 random bits, and no measured
    /// time helps to guess them. A right access token goes to `used`.
    fn is_proven(&self, proof: &Proof, used: impl FnOnce(TokenRef<'_>)) -> Option<bool> {
        let digest = match proof {
            Proof::Password => return None,
            Proof::AccessToken(digest) => Some(digest),
            Proof::PreVerified => None,
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
    fn based(&self, job: PendingJob, outcome: Outcome) -> JobAnswer {
        let basis = Basis {
            mark: self.mark,
            passwords: !self.own,
            groups: self
                .known
                .as_ref()
                .map_or_else(Arc::default, |(_, common)| Arc::clone(&common.names)),
        };
        JobAnswer {
            job,
            outcome,
            basis: Some(basis),
        }
    }

    /// What a job comes to for which nothing had to be hashed.
    fn proven(&self, proof: &Proof, proven: bool) -> Outcome {
        match proof {
            Proof::AccessToken(_) if !proven => Outcome::NoToken,
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

/// What verification needs; one for the helper and the hashing threads.
pub(crate) struct Verifier {
    pub(crate) decoys: Decoys,
    pub(crate) log: Log,
    pub(crate) outbox: Arc<Outbox>,
}

impl Verifier {
    /// What this user's password is verified against, given what is stored.
    pub(crate) fn hash(&self, key: &LookupKey, stored: Option<String>) -> Arc<StoredHash> {
        Arc::new(StoredHash::of(stored, || self.decoys.like(&key.space.prefix)))
    }

    fn verify(
        &self,
        hash: &StoredHash,
        space: &Keyspace,
        user: &str,
        password: &Secret,
    ) -> Result<bool, InvalidHash> {
        match hash {
            StoredHash::Own { text, .. } => {
                let right = password::verify(text, password.expose(), &space.salt)?;
                self.decoys.saw(&space.prefix, user, text);
                if !right {
                    self.hint_at_salt(text, space, password);
                }
                Ok(right)
            }
            StoredHash::Decoy(like) => {
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

    /// Data of the 2014 gate is in order, and its salt is not configured: all its users are refused, and
    /// nothing else tells why.
    fn hint_at_salt(&self, stored: &str, space: &Keyspace, password: &Secret) {
        if let Some(hint) = password::other_salt(stored, password.expose(), &space.salt) {
            let message = format!(
                "a wrong password under {} would be right with another salt: {hint}",
                space.prefix
            );
            self.log.write_once("salt", Level::Warn, &message);
        }
    }
}

/// Who waits for a slow hash. Each has a verdict of its own, as it may have been read later than the first's.
pub(crate) struct Checked {
    verdict: Arc<Verdict>,
    job: PendingJob,
}

impl Checked {
    /// All that the result depends on, and the user.
    fn is_same(&self, other: &Self) -> bool {
        is_same_login(&self.job, &other.job) && self.verdict.hash.text() == other.verdict.hash.text()
    }
}

fn is_same_login(a: &PendingJob, b: &PendingJob) -> bool {
    (Arc::ptr_eq(&a.space, &b.space) || a.space == b.space)
        && a.key.user == b.key.user
        && a.password.is_same(&b.password)
}

/// The helper's end of verification.
pub(crate) struct Passwords {
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) pool: Pool<Task>,
    pub(crate) under_way: Arc<SingleFlight<Checked>>,
    pub(crate) tags: PasswordTags,
    /// `None`: nobody wants to know.
    pub(crate) last_uses: Option<Arc<LastUses>>,
    /// `None`: weak hashes stay.
    pub(crate) renewals: Option<Arc<Renewals>>,
}

impl Passwords {
    /// Answers all of `jobs` by `verdict`: into `answers`, or later from the pool.
    pub(crate) fn answer(
        &self,
        verdict: Verdict,
        jobs: impl Iterator<Item = PendingJob>,
        answers: &mut Vec<JobAnswer>,
    ) {
        if verdict.hash.is_slow() {
            let verdict = Arc::new(verdict);
            jobs.for_each(|job| self.slow(&verdict, job, answers));
            return;
        }
        let mut last = None;
        for job in jobs {
            if let Some(proven) = self.is_proven(&verdict, &job) {
                let outcome = verdict.proven(&job.proof, proven);
                answers.push(verdict.based(job, outcome));
                continue;
            }
            // A client asks many times at once: only the first of equal passwords is hashed.
            let right = match last {
                Some(right) if answers.last().is_some_and(|last| is_same_login(&last.job, &job)) => right,
                _ => self.fast(&verdict, &job),
            };
            last = Some(right);
            answers.push(verdict.conclude(job, right, &self.verifier.log));
        }
    }

    /// As [`Verdict::is_proven`], of a job. The use of a token is reported where the options ask for it.
    fn is_proven(&self, verdict: &Verdict, job: &PendingJob) -> Option<bool> {
        verdict.is_proven(&job.proof, |token| {
            if let Some(last_uses) = &self.last_uses {
                let prefix = &job.space.prefix;
                last_uses.used(prefix, job.key.name(), token.id, token.expires);
            }
        })
    }

    /// Whether the password is right, by a form that is cheap to verify.
    fn fast(&self, verdict: &Verdict, job: &PendingJob) -> Result<bool, InvalidHash> {
        let right = self.is_right(verdict, job)?;
        if right {
            self.renew(verdict, job);
        }
        Ok(right)
    }

    /// Has the pool replace a weak hash for which this password is right, when no login waits for it.
    fn renew(&self, verdict: &Verdict, job: &PendingJob) {
        let Some(renewals) = &self.renewals else { return };
        let (space, user) = (&job.space, job.key.name());
        if let Some(renewal) = renewals.begin(space, user, verdict.own, &verdict.hash, &job.password) {
            self.pool.submit_later(Task::Renew(renewal));
        }
    }

    fn is_right(&self, verdict: &Verdict, job: &PendingJob) -> Result<bool, InvalidHash> {
        let user = job.key.name();
        let tag = self.tags.tag(&job.password, &job.space.salt);
        if verdict.hash.is_right(tag) {
            return Ok(true);
        }
        let right = self
            .verifier
            .verify(&verdict.hash, &job.space, user, &job.password)?;
        if right {
            verdict.hash.was_right(tag);
        }
        Ok(right)
    }

    fn slow(&self, verdict: &Arc<Verdict>, job: PendingJob, answers: &mut Vec<JobAnswer>) {
        if let Some(proven) = self.is_proven(verdict, &job) {
            let outcome = verdict.proven(&job.proof, proven);
            answers.push(verdict.based(job, outcome));
            return;
        }
        let earlier = job.hash_result.as_ref();
        if let Some(earlier) = earlier.filter(|earlier| verdict.hash.is_settled_by(&earlier.hash)) {
            let right = Ok(earlier.is_right);
            answers.push(verdict.conclude(job, right, &self.verifier.log));
            return;
        }
        if job
            .verified
            .is_some_and(|verified| verdict.hash.matches(verified))
        {
            if let StoredHash::Own { text, .. } = &*verdict.hash {
                let decoys = &self.verifier.decoys;
                decoys.saw(&job.space.prefix, job.key.name(), text);
            }
            self.renew(verdict, &job);
            answers.push(verdict.conclude(job, Ok(true), &self.verifier.log));
            return;
        }
        let (space, whom) = (Arc::clone(&job.space), job.key.clone());
        let (password, from) = (job.password.clone(), job.from);
        let key = (whom.names(), password.expose(), verdict.hash.text());
        let checked = Checked {
            verdict: Arc::clone(verdict),
            job,
        };
        let Some(flight) = self.under_way.join(key, checked, Checked::is_same) else {
            return;
        };
        let slow = Slow {
            flight,
            verdict: Arc::clone(verdict),
            space,
            key: whom,
            password,
            verifier: Arc::clone(&self.verifier),
            renewals: self.renewals.clone(),
        };
        if let Err(Task::Verify(slow)) = self.pool.submit(from, Task::Verify(slow)) {
            answers.extend(slow.flight.finish().map(|Checked { job, .. }| JobAnswer {
                job,
                outcome: Outcome::Busy,
                basis: None,
            }));
        }
    }
}

/// A password on its way through the hashing pool.
pub(crate) struct Slow {
    flight: Flight<Checked>,
    verdict: Arc<Verdict>,
    space: Arc<Keyspace>,
    key: LookupKey,
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
    fn run(self) -> Option<Self> {
        match self {
            Self::Verify(slow) => slow.run().map(Self::Renew),
            Self::Renew(renewal) => {
                renewal.run();
                None
            }
        }
    }

    /// A better hash is wanted by nobody who waits, and is computed nevertheless.
    fn is_wanted(&self) -> bool {
        match self {
            Self::Verify(slow) => !slow.flight.all(|checked| !checked.job.is_wanted()),
            Self::Renew(_) => true,
        }
    }
}

impl Slow {
    /// Answers the login; the weak hash that is to be replaced, if it is right.
    fn run(self) -> Option<Renewal> {
        let Self {
            verdict, verifier, ..
        } = self;
        let right = verifier.verify(&verdict.hash, &self.space, self.key.name(), &self.password);
        let conclude = |Checked {
                            verdict: own,
                            mut job,
                        }| {
            job.hash_result = right.ok().map(|is_right| HashResult {
                hash: Arc::clone(&verdict.hash),
                is_right,
            });
            own.conclude(job, right, &verifier.log)
        };
        verifier.outbox.post(self.flight.finish().map(conclude).collect());
        let renewals = self.renewals.filter(|_| right == Ok(true))?;
        let (space, user) = (&self.space, self.key.name());
        renewals.begin(space, user, verdict.own, &verdict.hash, &self.password)
    }
}
