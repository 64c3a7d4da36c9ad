//! A block with an allocator like nginx's slab: pages, each for one power of 2 from 8 to 2048, or runs of
//! whole pages.
//!
//! Used by the tests and the example. It takes badly what nginx only logs: freeing twice, or what it never
//! gave.

use std::collections::{BTreeSet, HashMap};

use registry_auth_cache::Memory;

const PAGE: usize = 4096;
/// Offsets begin here, as in nginx's zone: 0 is none.
const FIRST: usize = 8;
/// What nginx needs for a page's own structure.
const PER_PAGE: usize = 24;

enum Page {
    Free,
    /// Items of one size: which are taken.
    Items(usize, Vec<bool>),
    /// First of so many pages.
    Run(usize),
    Rest,
}

/// The block.
pub struct Slab {
    bytes: Vec<u8>,
    pages: Vec<Page>,
    free: BTreeSet<usize>,
    /// By item size, the pages that have room.
    partial: HashMap<usize, BTreeSet<usize>>,
    root: u32,
    /// Whether to panic at what an undamaged cache never does.
    pub strict: bool,
}

impl Slab {
    /// A zone of so many bytes in all.
    pub fn new(size: usize) -> Slab {
        let pages = size / (PAGE + PER_PAGE);
        let bytes = vec![0xa5; FIRST + pages * PAGE];
        let mut slab = Slab {
            bytes,
            pages: Vec::new(),
            free: BTreeSet::new(),
            partial: HashMap::new(),
            root: 0,
            strict: true,
        };
        slab.clear(pages);
        slab
    }

    /// How many allocations there are.
    pub fn live(&self) -> usize {
        let of = |page: &Page| match page {
            Page::Items(_, taken) => taken.iter().filter(|taken| **taken).count(),
            Page::Run(_) => 1,
            Page::Free | Page::Rest => 0,
        };
        self.pages.iter().map(of).sum()
    }

    fn clear(&mut self, pages: usize) {
        self.pages = (0..pages).map(|_| Page::Free).collect();
        self.free = (0..pages).collect();
        self.partial.clear();
        self.root = 0;
    }

    fn item(&mut self, size: usize) -> Option<u32> {
        let partial = self.partial.entry(size).or_default();
        let index = match partial.first() {
            Some(index) => *index,
            None => {
                let index = self.free.pop_first()?;
                self.pages[index] = Page::Items(size, vec![false; PAGE / size]);
                partial.insert(index);
                index
            }
        };
        let Page::Items(_, taken) = &mut self.pages[index] else {
            panic!("no items there")
        };
        let item = taken.iter().position(|taken| !taken).unwrap();
        taken[item] = true;
        if taken.iter().all(|taken| *taken) {
            partial.remove(&index);
        }
        Some((FIRST + index * PAGE + item * size) as u32)
    }

    fn run(&mut self, count: usize) -> Option<u32> {
        let start = self
            .free
            .iter()
            .copied()
            .find(|start| (*start..start + count).all(|page| self.free.contains(&page)))?;
        for page in start..start + count {
            self.free.remove(&page);
            self.pages[page] = Page::Rest;
        }
        self.pages[start] = Page::Run(count);
        Some((FIRST + start * PAGE) as u32)
    }

    fn give_back(&mut self, at: usize) -> Result<(), &'static str> {
        let at = at.checked_sub(FIRST).ok_or("before the first page")?;
        let index = at / PAGE;
        match self.pages.get_mut(index).ok_or("behind the last page")? {
            Page::Items(size, taken) => {
                if !(at % PAGE).is_multiple_of(*size) {
                    return Err("inside an item");
                }
                if !std::mem::replace(&mut taken[at % PAGE / *size], false) {
                    return Err("freed twice");
                }
                let (size, empty) = (*size, taken.iter().all(|taken| !taken));
                let partial = self.partial.entry(size).or_default();
                partial.insert(index);
                if empty {
                    partial.remove(&index);
                    self.pages[index] = Page::Free;
                    self.free.insert(index);
                }
            }
            Page::Run(count) => {
                if at % PAGE != 0 {
                    return Err("inside a run");
                }
                let count = *count;
                for page in index..index + count {
                    self.pages[page] = Page::Free;
                    self.free.insert(page);
                }
            }
            Page::Free => return Err("a free page"),
            Page::Rest => return Err("the middle of a run"),
        }
        Ok(())
    }
}

impl Memory for Slab {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn allocate(&mut self, size: usize) -> Option<u32> {
        match size {
            0..=2048 => self.item(size.next_power_of_two().max(8)),
            _ => self.run(size.div_ceil(PAGE)),
        }
    }

    fn free(&mut self, at: u32) {
        let result = self.give_back(at as usize);
        assert!(!self.strict || result.is_ok(), "free({at}): {result:?}");
    }

    fn root(&self) -> u32 {
        self.root
    }

    fn set_root(&mut self, at: u32) {
        self.root = at;
    }

    fn reset(&mut self) {
        self.clear(self.pages.len());
    }
}
