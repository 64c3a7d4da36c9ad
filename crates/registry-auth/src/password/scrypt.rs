//! scrypt as PHC strings: `$scrypt$ln=17,r=8,p=1$salt$digest`. (mkpasswd's `$7$` is another form, not read.)
//!
//! Invariant: parameters beyond the limits are refused before any memory is taken.

use super::hash::{Hash, InvalidHash, sound, within};
use super::phc::Phc;
use scrypt::Params;

/// Most memory in bytes, 2^ln × r × 128: 256 MiB.
const MAX_MEMORY: u64 = 256 << 20;
/// Most memory × p in bytes: a second and a half.
const MAX_WORK: u64 = 512 << 20;
/// Most r and p: beside the above, r × p × 128 bytes are taken.
const MAX_BLOCK: u32 = 64;
const MAX_LANES: u32 = 16;

/// OWASP's minimum, memory in bytes and p: each of them is as good as the others.
const MINIMUM: [(u64, u32); 5] = [
    (128 << 20, 1),
    (64 << 20, 2),
    (32 << 20, 3),
    (16 << 20, 5),
    (8 << 20, 10),
];

pub(super) struct Scrypt {
    phc: Phc,
    params: Params,
    memory: u64,
}

impl Scrypt {
    pub(super) fn read(stored: &str) -> Result<Self, InvalidHash> {
        let phc = Phc::read(stored, &["ln", "r", "p"])?;
        let (log_n, block, lanes) = (phc.number("ln")?, phc.number("r")?, phc.number("p")?);
        sound(phc.version().is_none() && log_n > 0 && block > 0 && lanes > 0)?;
        within(log_n < 32 && block <= MAX_BLOCK && lanes <= MAX_LANES)?;
        let memory = (u64::from(block) * 128) << log_n;
        within(memory <= MAX_MEMORY && memory * u64::from(lanes) <= MAX_WORK)?;
        let log_n = u8::try_from(log_n).map_err(|_| InvalidHash::TooCostly)?;
        let params = Params::new(log_n, block, lanes).map_err(|_| InvalidHash::Damaged)?;
        Ok(Self { phc, params, memory })
    }
}

impl Hash for Scrypt {
    fn verify(&self, password: &[u8], _: &[u8]) -> Result<bool, InvalidHash> {
        self.phc
            .verify(|digest| scrypt::scrypt(password, self.phc.salt(), &self.params, digest))
    }

    fn weakness(&self) -> Option<&'static str> {
        let is_enough = |(memory, lanes)| self.memory >= memory && self.params.p() >= lanes;
        let is_weak = self.params.r() < 8 || !MINIMUM.into_iter().any(is_enough);
        is_weak.then_some("scrypt of less than ln=17, r=8, p=1, or its equivalent")
    }
}
