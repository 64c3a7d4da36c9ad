//! The block of memory that a cache lives in, as its caller gives it: nginx's shared zone, or a plain vector in tests.

/// A locked block of memory with an allocator of its own. Offsets count from the block's start; 0 is never an allocation.
pub trait Memory {
    /// The whole block.
    fn bytes(&self) -> &[u8];
    /// The whole block, to write to what was allocated.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Room for `size` bytes, aligned to 8, of any content; `None` when the block is full.
    fn allocate(&mut self, size: usize) -> Option<u32>;
    /// Gives back what `allocate` gave.
    fn free(&mut self, at: u32);
    /// Where the root lies that was set last; 0 in a new block.
    fn root(&self) -> u32;
    /// Remembers the root.
    fn set_root(&mut self, at: u32);
    /// Forgets all allocations, and the root.
    fn reset(&mut self);
}

/// Numbers in bytes, in the machine's own byte order: the block never leaves the machine. What lies outside is 0.
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

/// Writing them: what lies outside is not written.
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
