//! A registry's list of repositories in JSON, read piece by piece as it arrives: the one of the catalogue,
//! and the one of V1's search.
//!
//! Used by `catalog` and `search`. It is read in small steps, between which the caller may serve other
//! requests: a registry decides how long its list is. Guarantees: what is not a list of the expected form is
//! an error; what has arrived and is not read yet takes at most [`PAGE_BYTES`], and each text at most
//! [`TEXT_BYTES`].

use actson::feeder::JsonFeeder;
use actson::options::JsonParserOptionsBuilder;
use actson::{JsonEvent, JsonParser};

/// Bytes of a registry's page at most.
pub const PAGE_BYTES: usize = 1 << 20;
/// Bytes of a text in it at most, as it is written: of a name, a description, or what is skipped.
pub const TEXT_BYTES: usize = 64 << 10;
/// Bytes that are read between two looks at whether to go on.
const STEP: usize = 2_048;
/// Nesting of what is skipped.
const DEPTH: usize = 32;

/// A registry's answer is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub(crate) &'static str);

impl Malformed {
    /// It began to list, and does not go on.
    pub const REFUSED: Self = Self("a page after the first was refused");

    /// What is wrong with it.
    pub fn why(&self) -> &'static str {
        self.0
    }
}

/// How far a list has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// All that has come is read.
    Dry,
    /// There is more to read, and the caller wanted to pause.
    Paused,
    /// The list is read to its end.
    End,
}

/// What a list is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{"repositories": ["name", …]}`
    Names,
    /// `{"query": "…", "results": [{"name": "…", "description": "…"}, …]}`
    Results,
}

impl Shape {
    fn key(self) -> &'static str {
        match self {
            Self::Names => "repositories",
            Self::Results => "results",
        }
    }

    fn malformed(self) -> Malformed {
        Malformed(match self {
            Self::Names => "it is no list of repositories in JSON",
            Self::Results => "it is no list of results in JSON",
        })
    }
}

/// One entry of a list.
pub(crate) struct ListEntry<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: Option<&'a str>,
}

/// What was expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParseState {
    Start,
    /// A member of the outermost object.
    Member,
    /// The list itself.
    List,
    /// An entry.
    Entry,
    /// A member of an entry.
    EntryMember,
    /// The value of one of the members that are known.
    Value(Known),
    /// The rest of a value that is of no interest, so deep, and where it goes on after that.
    Skip(usize, Outside),
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Query,
    Name,
    Description,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outside {
    Object,
    Entry,
}

impl Outside {
    fn state(self) -> ParseState {
        match self {
            Self::Object => ParseState::Member,
            Self::Entry => ParseState::EntryMember,
        }
    }
}

/// What has come and is not read yet.
#[derive(Default)]
struct Backlog {
    bytes: Vec<u8>,
    at: usize,
    /// How many bytes may be read before the next look.
    allowed: usize,
    /// Bytes of what is being read now.
    current: usize,
    is_complete: bool,
}

impl Backlog {
    fn take(&mut self, piece: &[u8]) {
        // What was read makes room, where it is so much that moving the rest costs less than reading it did.
        if self.at > self.bytes.len() / 2 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        let length = self.bytes.len() + piece.len();
        if length > self.bytes.capacity() {
            // Twice as much, as vectors grow by themselves, but no more than may come.
            let room = (2 * length).min(PAGE_BYTES).max(length);
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
    }

    /// Allows another step; false where nothing is left.
    fn allow(&mut self) -> bool {
        if !self.has_input() {
            self.bytes.clear();
            self.at = 0;
            return false;
        }
        self.allowed = STEP;
        true
    }
}

impl JsonFeeder for Backlog {
    fn has_input(&self) -> bool {
        self.at < self.bytes.len()
    }

    fn is_done(&self) -> bool {
        self.is_complete && !self.has_input()
    }

    fn next_input(&mut self) -> Option<u8> {
        self.allowed = self.allowed.checked_sub(1)?;
        let byte = self.bytes.get(self.at)?;
        self.at += 1;
        self.current += 1;
        Some(*byte)
    }
}

/// A list that is being read.
pub(crate) struct Listing {
    shape: Shape,
    parser: JsonParser<Backlog>,
    state: ParseState,
    /// Whether the list has come.
    has_list: bool,
    /// Of the entry that is being read.
    name: Option<String>,
    description: Option<String>,
    /// What was searched for.
    query: Option<String>,
    /// Bytes that came.
    size: usize,
}

impl Listing {
    pub(crate) fn new(shape: Shape) -> Self {
        let options = JsonParserOptionsBuilder::default().with_max_depth(DEPTH).build();
        Self {
            shape,
            parser: JsonParser::new_with_options(Backlog::default(), options),
            state: ParseState::Start,
            has_list: false,
            name: None,
            description: None,
            query: None,
            size: 0,
        }
    }

    /// Takes a piece, to be read later: copying is all that is done with it.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        self.size += piece.len();
        if self.size > PAGE_BYTES {
            return Err(Malformed("a page is too long"));
        }
        self.parser.feeder.take(piece);
        Ok(())
    }

    /// All of it has come.
    pub(crate) fn complete(&mut self) {
        self.parser.feeder.is_complete = true;
    }

    /// What was searched for, as the registry says.
    pub(crate) fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Reads what has come. Each entry goes to `visit`; after each, and now and then, `go_on` is asked.
    pub(crate) fn read(
        &mut self,
        mut visit: impl FnMut(ListEntry<'_>),
        mut go_on: impl FnMut() -> bool,
    ) -> Result<Reading, Malformed> {
        let malformed = self.shape.malformed();
        loop {
            match self.parser.next_event().map_err(|_| malformed)? {
                Some(JsonEvent::NeedMoreInput) if self.parser.feeder.current > TEXT_BYTES => {
                    return Err(Malformed("a text in it is too long"));
                }
                Some(JsonEvent::NeedMoreInput) if !self.parser.feeder.allow() => return Ok(Reading::Dry),
                Some(JsonEvent::NeedMoreInput) => {
                    if !go_on() {
                        return Ok(Reading::Paused);
                    }
                }
                Some(event) => {
                    self.parser.feeder.current = 0;
                    if self.step(event, &mut visit).ok_or(malformed)? && !go_on() {
                        return Ok(Reading::Paused);
                    }
                }
                None if self.state == ParseState::After => return Ok(Reading::End),
                None => return Err(malformed),
            }
        }
    }

    /// Goes on by one event: whether that was an entry's end. `None` where it was not to be expected.
    fn step(&mut self, event: JsonEvent, visit: &mut impl FnMut(ListEntry<'_>)) -> Option<bool> {
        let mut is_entry = false;
        self.state = match (self.state, event) {
            (ParseState::Start, JsonEvent::StartObject) => ParseState::Member,
            (ParseState::Member, JsonEvent::FieldName) => match self.text()? {
                name if name == self.shape.key() => ParseState::List,
                "query" if self.shape == Shape::Results => ParseState::Value(Known::Query),
                _ => ParseState::Skip(0, Outside::Object),
            },
            (ParseState::Member, JsonEvent::EndObject) => ParseState::After,
            (ParseState::List, JsonEvent::StartArray | JsonEvent::ValueNull) => {
                // Two lists are two answers.
                if std::mem::replace(&mut self.has_list, true) {
                    return None;
                }
                match event {
                    JsonEvent::StartArray => ParseState::Entry,
                    // Go has no list to show.
                    _ => ParseState::Member,
                }
            }
            (ParseState::Entry, JsonEvent::EndArray) => ParseState::Member,
            (ParseState::Entry, JsonEvent::ValueString) if self.shape == Shape::Names => {
                is_entry = true;
                visit(ListEntry {
                    name: self.text()?,
                    description: None,
                });
                ParseState::Entry
            }
            (ParseState::Entry, JsonEvent::StartObject) if self.shape == Shape::Results => {
                (self.name, self.description) = (None, None);
                ParseState::EntryMember
            }
            (ParseState::EntryMember, JsonEvent::FieldName) => match self.text()? {
                "name" => ParseState::Value(Known::Name),
                "description" => ParseState::Value(Known::Description),
                _ => ParseState::Skip(0, Outside::Entry),
            },
            (ParseState::EntryMember, JsonEvent::EndObject) => {
                is_entry = true;
                visit(ListEntry {
                    name: self.name.as_deref()?,
                    description: self.description.as_deref(),
                });
                ParseState::Entry
            }
            (ParseState::Value(known), JsonEvent::ValueString) => {
                let text = self.text()?.to_owned();
                let (slot, outside) = match known {
                    Known::Query => (&mut self.query, Outside::Object),
                    Known::Name => (&mut self.name, Outside::Entry),
                    Known::Description => (&mut self.description, Outside::Entry),
                };
                if slot.replace(text).is_some() {
                    return None;
                }
                outside.state()
            }
            (ParseState::Value(Known::Query), JsonEvent::ValueNull) => ParseState::Member,
            (ParseState::Value(Known::Description), JsonEvent::ValueNull) => ParseState::EntryMember,
            (ParseState::Skip(depth, outside), event) => skip(depth, outside, event)?,
            _ => return None,
        };
        Some(is_entry)
    }

    fn text(&self) -> Option<&str> {
        self.parser.current_str().ok()
    }
}

/// Goes on with what is of no interest.
fn skip(depth: usize, outside: Outside, event: JsonEvent) -> Option<ParseState> {
    let depth = match event {
        JsonEvent::StartObject | JsonEvent::StartArray => depth + 1,
        JsonEvent::EndObject | JsonEvent::EndArray => depth.checked_sub(1)?,
        _ => depth,
    };
    Some(match (depth, event) {
        // A name is followed by its value.
        (0, JsonEvent::FieldName) => return None,
        (0, _) => outside.state(),
        (depth, _) => ParseState::Skip(depth, outside),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_takes_no_more_memory_than_a_page_has() {
        for piece in [1, 7, 4_096, 300_000] {
            for is_read in [false, true] {
                let mut backlog = Backlog::default();
                let mut come = 0;
                while come + piece <= PAGE_BYTES / 2 {
                    backlog.take(&vec![b'x'; piece]);
                    come += piece;
                    while is_read && backlog.at + piece < backlog.bytes.len() {
                        backlog.at += 1;
                    }
                }
                let most = if is_read { 8 * piece } else { PAGE_BYTES };
                assert!(backlog.bytes.capacity() <= most, "{piece} {is_read}");
                backlog.take(&vec![b'x'; PAGE_BYTES - come]);
                assert!(backlog.bytes.capacity() <= PAGE_BYTES, "{piece} {is_read}");
            }
        }
    }
}
