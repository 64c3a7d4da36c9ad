// The simplest block: a vector whose allocator only moves forward. nginx's zone has a real allocator
// (`src/ffi/shm.rs`).

use registry_auth_cache::Memory;

/// A block of memory that is used by one process.
pub struct Block {
    bytes: Vec<u8>,
    used: usize,
    root: u32,
}

impl Block {
    /// A block of `size` bytes.
    pub fn new(size: usize) -> Self {
        Self {
            bytes: vec![0; size],
            // No allocation has the offset 0.
            used: 8,
            root: 0,
        }
    }
}

impl Memory for Block {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn allocate(&mut self, size: usize) -> Option<u32> {
        let end = self.used.checked_add(size.next_multiple_of(8))?;
        if end > self.bytes.len() {
            return None;
        }
        let at = u32::try_from(self.used).ok()?;
        self.used = end;
        Some(at)
    }

    fn free(&mut self, _: u32) {}

    fn root(&self) -> u32 {
        self.root
    }

    fn set_root(&mut self, at: u32) {
        self.root = at;
    }

    fn reset(&mut self) {
        (self.used, self.root) = (8, 0);
    }
}
