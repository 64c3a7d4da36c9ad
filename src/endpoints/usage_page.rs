//! The page of what is counted by user and by repository, made in slices of time.
//!
//! Called by `status` for a request whose location shows it. Guarantee: however many names there are and are
//! shown, other requests of the worker have their turn in between.

use std::mem;

use registry_auth_metrics::Format;
use registry_auth_metrics::usage::Rendering;

use crate::ffi::pool::OutOfMemory;
use crate::ffi::request::Request;
use crate::worker::turns::{InLine, ListPlace, Slice};
use crate::worker::usage::Collecting;

/// The page in the making, in slices of time that all lists of the worker share: it shows as many names as
/// the configuration says.
pub struct UsagePage {
    format: Format,
    making: Making,
    /// The pieces of the text that are full.
    pieces: Vec<Vec<u8>>,
    /// The next one.
    piece: String,
    turn: Turn,
    /// Counts it among the lists that the worker makes. Held for its drop.
    _place: ListPlace,
}

enum Making {
    Collecting(Box<Collecting>),
    Rendering(Rendering),
}

/// Whether a page has a turn.
enum Turn {
    /// None was asked for.
    None,
    /// It comes after those of others.
    Awaited {
        /// Held for its drop, which gives the turn up.
        _line: InLine,
    },
    /// It is its turn.
    Now,
}

/// Bytes of a piece of the text, and a little more: a row.
const PIECE: usize = 64 << 10;
/// Whose list it is: no user's, whose owners have a character that this has not.
const OWNER: &str = "registry_auth_status";

impl UsagePage {
    /// `None` where nothing is counted, or too many such pages are being made.
    pub fn new(format: Format) -> Option<Self> {
        Some(Self {
            format,
            making: Making::Collecting(Box::new(Collecting::new()?)),
            pieces: Vec::new(),
            piece: String::new(),
            turn: Turn::None,
            _place: ListPlace::take(OWNER.to_owned())?,
        })
    }

    /// Makes it for a slice of time. Whether it is whole; if not, the request waits for its turn, which
    /// `on_turn` then notes by [`UsagePage::take_turn`].
    pub fn go_on(&mut self, request: &mut Request, on_turn: fn(&mut Request)) -> Result<bool, u16> {
        let slice = match mem::replace(&mut self.turn, Turn::None) {
            // What calls the request is something else.
            awaited @ Turn::Awaited { .. } => {
                self.turn = awaited;
                return Ok(false);
            }
            Turn::Now => Some(Slice::of_turn()),
            Turn::None => Slice::at_once(),
        };
        if let Some(slice) = slice
            && self.make(&slice).ok_or(503_u16)?
        {
            return Ok(true);
        }
        let line = InLine::new(request, on_turn).map_err(|OutOfMemory| 500_u16)?;
        self.turn = Turn::Awaited { _line: line };
        Ok(false)
    }

    /// Notes that it is its turn.
    pub fn take_turn(&mut self) {
        self.turn = Turn::Now;
    }

    /// The form of its text.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The text of a page that is whole, in pieces.
    pub fn into_pieces(self) -> Vec<Vec<u8>> {
        self.pieces
    }

    /// Whether it is whole; `None` where what is counted is gone.
    fn make(&mut self, slice: &Slice) -> Option<bool> {
        loop {
            match &mut self.making {
                Making::Collecting(collecting) => {
                    if !collecting.collect(|| slice.go_on())? {
                        return Some(false);
                    }
                    self.making = Making::Rendering(collecting.take().render(self.format));
                }
                Making::Rendering(rendering) => {
                    let is_whole = rendering.write(&mut self.piece, PIECE, || slice.go_on());
                    if !is_whole && self.piece.len() < PIECE {
                        return Some(false);
                    }
                    self.pieces.push(mem::take(&mut self.piece).into_bytes());
                    if is_whole {
                        return Some(true);
                    }
                }
            }
        }
    }
}
