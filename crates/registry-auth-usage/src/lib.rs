//! Counters by user and by repository, for billing: who pulls and pushes how often, and how many bytes. As
//! many names as fit into a block of memory that the workers share, whatever names there are.
//!
//! The nginx module is the only caller; it gives the block, which it has locked, and the time. No I/O, no
//! clock, no pointers in the block, no unsafe code.
//!
//! Each of the two tables is a Space-Saving sketch (A. Metwally, D. Agrawal, A. El Abbadi: Efficient
//! Computation of Frequent and Top-k Elements in Data Streams, 2005), by requests. While there are no more
//! names than places, everything is exact. After that a new name takes the place of the one with the fewest
//! requests, and inherits their number as what it may have missed. So for a table of `m` places and `n`
//! requests: a name with more than `n / m` requests has a place; what is shown of a name is never too much,
//! and too little by no more than `missed` requests, of which there are `n / m` at most.
//!
//! A flag is set while names change places. If a process dies in the middle of that, the next one finds the
//! flag set and builds the index anew, from the names that are there.
#![forbid(unsafe_code)]

mod block;
mod table;
mod top;

pub use block::{InvalidBlock, Table, Usage, least_size};
pub use table::{Counts, MAX_NAME, Row};
pub use top::Top;
