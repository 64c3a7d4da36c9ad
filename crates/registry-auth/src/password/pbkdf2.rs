//! PBKDF2 as PHC strings: `$pbkdf2-sha256$i=600000,l=32$salt$digest`.
//!
//! Invariant: more rounds than the limit are refused before the first one. Each 32 bytes of the digest take
//! them anew.

use super::hash::{Hash, InvalidHash, sound, within};
use super::phc::Phc;
use pbkdf2::{Algorithm, Params, pbkdf2_hmac_with_params};

/// Most rounds, all blocks of the digest together: a second, three where the processor has no instructions
/// for SHA-256.
const MAX_ROUNDS: u64 = 5_000_000;
/// Fewest rounds, as NIST has it in SP 800-132.
const MIN_ROUNDS: u32 = 1000;
/// Bytes that the rounds yield.
const BLOCK: usize = 32;

/// OWASP's minimum.
const GOOD_ROUNDS: u32 = 600_000;

pub(super) struct Pbkdf2 {
    phc: Phc,
    params: Params,
}

impl Pbkdf2 {
    pub(super) fn read(stored: &str) -> Result<Self, InvalidHash> {
        let phc = Phc::read(stored, &["i", "l"])?;
        let rounds = phc.number("i")?;
        let length = phc.digest().len();
        sound(phc.version().is_none() && rounds >= MIN_ROUNDS)?;
        sound(!phc.has("l") || usize::try_from(phc.number("l")?).is_ok_and(|stated| stated == length))?;
        within(u64::from(rounds) * length.div_ceil(BLOCK) as u64 <= MAX_ROUNDS)?;
        let params = Params::new_with_output_len(rounds, length).map_err(|_| InvalidHash::Damaged)?;
        Ok(Self { phc, params })
    }
}

impl Hash for Pbkdf2 {
    fn verify(&self, password: &[u8], _: &[u8]) -> Result<bool, InvalidHash> {
        self.phc.verify(|digest| {
            pbkdf2_hmac_with_params(
                password,
                self.phc.salt(),
                Algorithm::Pbkdf2Sha256,
                self.params,
                digest,
            );
            Ok::<(), InvalidHash>(())
        })
    }

    fn weakness(&self) -> Option<&'static str> {
        (self.params.rounds() < GOOD_ROUNDS).then_some("PBKDF2 of fewer than 600,000 rounds")
    }
}
