//! The grants of an encoded record, read in place: finding one among a thousand takes a few binary searches.
//!
//! Called by `policy` on every request. Guarantees: as in `read`.

use super::bytes::{next, slice, take};
use super::record::InvalidRecord;
use crate::grant::Grant;
use crate::pattern::{self, Pattern};
use crate::scope::{Action, Actions};
use std::cmp::Ordering;

/// The grants of a record that all allow, or all deny.
#[derive(Clone, Debug)]
pub struct Grants<'a> {
    rest: &'a [u8],
    /// The family that is being read, and what is left of it.
    family: Option<Family<'a>>,
    deny: bool,
}

impl<'a> Grants<'a> {
    pub(super) fn new(section: &'a [u8], deny: bool) -> Self {
        Self {
            rest: section,
            family: None,
            deny,
        }
    }

    /// A grant of this action on the repository of this name. A thousand grants in a few families take a few
    /// binary searches.
    ///
    /// # Errors
    /// [`InvalidRecord`] where a family before it is damaged: the grant might be in that one.
    #[inline]
    pub(crate) fn covering(
        &self,
        name: &[u8],
        action: Action,
    ) -> Result<Option<GrantRef<'a>>, InvalidRecord> {
        // Most records deny nothing.
        match self.rest.is_empty() {
            true => Ok(None),
            false => self.search(name, action),
        }
    }

    fn search(&self, name: &[u8], action: Action) -> Result<Option<GrantRef<'a>>, InvalidRecord> {
        let mut rest = self.rest;
        while !rest.is_empty() {
            let family = Family::read(&mut rest).ok_or(InvalidRecord)?;
            if !family.actions.contains(action) {
                continue;
            }
            let Some((head, after)) = name.split_at_checked(family.head) else {
                continue;
            };
            if family.tail.is_empty() && !after.is_empty() {
                continue;
            }
            if let Some(head) = family.find(head)
                && pattern::matches_tail(head, family.tail, after)
            {
                return Ok(Some(family.grant(head, self.deny)));
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Grants<'a> {
    type Item = Result<GrantRef<'a>, InvalidRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(family) = &mut self.family {
                if let Some(head) = family.next() {
                    return Some(Ok(family.grant(head, self.deny)));
                }
                self.family = None;
            }
            match next(&mut self.rest, Family::read)? {
                Ok(family) => self.family = Some(family),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Grants of the same actions, whose patterns differ only in their heads.
#[derive(Clone, Copy, Debug)]
struct Family<'a> {
    actions: Actions,
    tail: &'a [u8],
    /// The number of bytes of a head.
    head: usize,
    count: usize,
    /// All heads, in order.
    heads: &'a [u8],
}

impl<'a> Family<'a> {
    #[inline]
    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        let [bits, head, tail] = take(rest)?;
        let count = u32::from_le_bytes(take(rest)?) as usize;
        let head = usize::from(head);
        let tail = slice(rest, tail.into())?;
        let heads = slice(rest, count.checked_mul(head)?)?;
        // There is but one head of no bytes.
        let is_sound = count > 0 && (head > 0 || count == 1);
        is_sound.then_some(Self {
            actions: Actions::from_bits(bits)?,
            tail,
            head,
            count,
            heads,
        })
    }

    fn at(&self, index: usize) -> Option<&'a [u8]> {
        let start = index * self.head;
        self.heads.get(start..start + self.head)
    }

    fn find(&self, head: &[u8]) -> Option<&'a [u8]> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            let there = self.at(middle)?;
            match there.cmp(head) {
                Ordering::Equal => return Some(there),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Removes the first head, and gives it.
    fn next(&mut self) -> Option<&'a [u8]> {
        self.count = self.count.checked_sub(1)?;
        slice(&mut self.heads, self.head)
    }

    fn grant(&self, head: &'a [u8], deny: bool) -> GrantRef<'a> {
        GrantRef {
            head,
            tail: self.tail,
            deny,
            actions: self.actions,
        }
    }
}

/// A grant, in place. Its pattern was checked when it was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantRef<'a> {
    pub(super) head: &'a [u8],
    pub(super) tail: &'a [u8],
    /// Whether it denies.
    pub deny: bool,
    /// Its actions.
    pub actions: Actions,
}

impl GrantRef<'_> {
    /// The pattern as it is written.
    ///
    /// # Errors
    /// [`InvalidRecord`] where it is not text.
    pub fn pattern(&self) -> Result<String, InvalidRecord> {
        String::from_utf8([self.head, self.tail].concat()).map_err(|_| InvalidRecord)
    }

    /// An owned copy.
    ///
    /// # Errors
    /// [`InvalidRecord`] where it is not a legal grant.
    pub fn to_grant(&self) -> Result<Grant, InvalidRecord> {
        let pattern = Pattern::parse(&self.pattern()?).map_err(|_| InvalidRecord)?;
        Ok(Grant {
            pattern,
            deny: self.deny,
            actions: self.actions,
        })
    }
}
