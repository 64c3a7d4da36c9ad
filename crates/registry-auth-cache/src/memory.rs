//! The block of memory that a cache lives in, as its caller gives it: nginx's shared zone, or a vector in
//! tests.
//!
//! Implemented by the nginx module (`src/ffi/shm.rs`); read and written by every file of this crate.
//! Guarantee: a read outside of the block gives 0 or nothing, a write outside of it does nothing, and neither
//! panics.

/// A locked block of memory with an allocator of its own. Offsets count bytes from the block's start; no
/// allocation has the offset 0.
pub trait Memory {
    /// The whole block.
    fn bytes(&self) -> &[u8];
    /// The whole block, to be written to where it was allocated.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// The offset of `size` bytes of any content, aligned to 8; `None` when the block is full.
    fn allocate(&mut self, size: usize) -> Option<u32>;
    /// Frees what [`Memory::allocate`] gave.
    fn free(&mut self, at: u32);
    /// The offset that was given to [`Memory::set_root`] last; 0 in a new block.
    fn root(&self) -> u32;
    /// Keeps the offset of the root.
    fn set_root(&mut self, at: u32);
    /// Frees all allocations, and sets the root to 0.
    fn reset(&mut self);
}

/// Reading numbers, in the machine's own byte order: the block never leaves the machine. Outside of the bytes
/// all is 0.
pub(crate) trait Numbers {
    fn get_u16(&self, at: usize) -> u16;
    fn get_u32(&self, at: usize) -> u32;
    fn get_u64(&self, at: usize) -> u64;
    fn slice(&self, at: usize, length: usize) -> &[u8];
}

impl Numbers for [u8] {
    #[inline]
    fn get_u16(&self, at: usize) -> u16 {
        let bytes = self.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u16::from_ne_bytes(*bytes))
    }

    #[inline]
    fn get_u32(&self, at: usize) -> u32 {
        let bytes = self.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    #[inline]
    fn get_u64(&self, at: usize) -> u64 {
        let bytes = self.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }

    #[inline]
    fn slice(&self, at: usize, length: usize) -> &[u8] {
        self.get(at..)
            .and_then(|rest| rest.get(..length))
            .unwrap_or_default()
    }
}

/// Writing numbers. A write that does not fit into the block is left out.
pub(crate) trait Write: Memory {
    fn put_u16(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_ne_bytes());
    }

    fn put_u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_ne_bytes());
    }

    fn put_u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_ne_bytes());
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        let to = self
            .bytes_mut()
            .get_mut(at..)
            .and_then(|rest| rest.get_mut(..bytes.len()));
        if let Some(to) = to {
            to.copy_from_slice(bytes);
        }
    }
}

impl<M: Memory> Write for M {}
