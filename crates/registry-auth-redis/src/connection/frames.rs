//! How much of a server's answers has come: where one ends, and whether it is too large to be read.
//!
//! Used by `pulse`. The redis crate keeps an answer in memory until all of it is there, whatever its size.
//! Invariant: what is counted here as one answer is what that crate reads as one, or less; so an answer that
//! is not too large here takes no more memory there than these bounds allow.

use std::fmt;

/// Bytes of one answer.
const BYTES: u64 = 32 << 20;
/// Values in one answer: each takes several times the room of the shortest that can be sent.
const VALUES: u64 = 1 << 20;
/// Bytes of a line: a simple string, or an error.
const LINE: u64 = 64 << 10;
/// Bytes of a line that says how much follows.
const COUNT: usize = 32;

/// An answer that is not read on. Its words are for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an answer of the server is larger than {} MiB, or has more than {VALUES} values",
            BYTES >> 20
        )
    }
}

impl std::error::Error for TooLarge {}

/// What is known of the answer that is being read.
pub(crate) struct Frames {
    /// Values of it that are still to come.
    left: u64,
    /// All that it has.
    values: u64,
    /// Its bytes.
    bytes: u64,
    /// Bytes of a string that are still to come, with its end.
    rest: u64,
    /// The beginning of the line that is being read.
    head: [u8; COUNT],
    /// How long that line is by now.
    line: u64,
    /// Whether its last byte was a CR.
    is_ending: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            left: 1,
            values: 1,
            bytes: 0,
            rest: 0,
            head: [0; COUNT],
            line: 0,
            is_ending: false,
        }
    }
}

impl Frames {
    /// Takes what was read; how many answers have come to their end in it.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Result<u64, TooLarge> {
        let mut ended = 0;
        while let Some(byte) = bytes.first() {
            if self.rest > 0 {
                let passed = self.rest.min(bytes.len() as u64);
                self.rest -= passed;
                bytes = bytes.get(passed as usize..).unwrap_or_default();
                // They were counted when they were announced.
            } else {
                self.line_goes_on(*byte)?;
                bytes = bytes.get(1..).unwrap_or_default();
                if self.line > 0 {
                    continue;
                }
            }
            if self.rest == 0 {
                self.left -= 1;
                if self.left == 0 {
                    ended += 1;
                    (self.left, self.values, self.bytes) = (1, 1, 0);
                }
            }
        }
        Ok(ended)
    }

    /// One byte of a line; afterwards `line` is 0 where it was the last one.
    fn line_goes_on(&mut self, byte: u8) -> Result<(), TooLarge> {
        if let Some(place) = self.head.get_mut(self.line as usize) {
            *place = byte;
        }
        self.line += 1;
        if self.line > LINE {
            return Err(TooLarge);
        }
        if !(byte == b'\n' && self.is_ending) {
            self.is_ending = byte == b'\r';
            return Ok(());
        }
        self.is_ending = false;
        let line = std::mem::take(&mut self.line);
        self.bytes += line;
        let [kind, ..] = self.head;
        let more: u64 = match kind {
            b'$' | b'=' | b'!' => {
                self.rest = match self.count(line)? {
                    // Of these two the redis crate reads a negative length as one without an end.
                    None if kind != b'$' => return Err(TooLarge),
                    None => 0,
                    Some(bytes) => bytes.checked_add(2).ok_or(TooLarge)?,
                };
                self.bytes = self.bytes.saturating_add(self.rest);
                0
            }
            b'*' | b'~' | b'>' => self.count(line)?.unwrap_or(0),
            b'%' => self.count(line)?.unwrap_or(0).saturating_mul(2),
            // And what it is an attribute of.
            b'|' => self.count(line)?.unwrap_or(0).saturating_mul(2).saturating_add(1),
            _ => 0,
        };
        self.values = self.values.saturating_add(more);
        self.left = self.left.saturating_add(more);
        match self.bytes > BYTES || self.values > VALUES {
            true => Err(TooLarge),
            false => Ok(()),
        }
    }

    /// The number in the line, of which so many bytes came; `None` where there is none, or it is negative,
    /// which is for the redis crate to refuse, or means that nothing follows.
    fn count(&self, line: u64) -> Result<Option<u64>, TooLarge> {
        let text = usize::try_from(line)
            .ok()
            .and_then(|line| self.head.get(1..line.checked_sub(2)?));
        let number = text.and_then(|text| std::str::from_utf8(text).ok());
        // A number with so many digits is read there, too.
        let number = number.ok_or(TooLarge)?;
        Ok(number
            .trim()
            .parse::<i64>()
            .ok()
            .and_then(|number| number.try_into().ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES, Frames, LINE, TooLarge, VALUES};

    fn ended(bytes: &[u8]) -> Result<u64, TooLarge> {
        let whole = Frames::default().read(bytes);
        // The same, byte by byte.
        let mut frames = Frames::default();
        let parts: Result<u64, TooLarge> = bytes.chunks(1).map(|byte| frames.read(byte)).sum();
        assert_eq!(whole, parts, "{:?}", String::from_utf8_lossy(bytes));
        whole
    }

    #[test]
    fn an_answer_ends_where_its_last_value_does() {
        for (answer, count) in [
            ("+OK\r\n", 1),
            ("+OK\r\n-ERR x\r\n:1\r\n", 3),
            ("+O", 0),
            ("+a\nb\rc\r\n", 1),
            ("$5\r\na\r\nbc\r\n", 1),
            ("$5\r\na\r\nbc\r", 0),
            ("$-1\r\n", 1),
            ("$0\r\n\r\n", 1),
            ("*-1\r\n", 1),
            ("*0\r\n", 1),
            ("*2\r\n$1\r\na\r\n", 0),
            ("*2\r\n$1\r\na\r\n*1\r\n_\r\n", 1),
            ("%2\r\n+a\r\n:1\r\n+b\r\n", 0),
            ("%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n", 1),
            ("|1\r\n+a\r\n:1\r\n", 0),
            ("|1\r\n+a\r\n:1\r\n+OK\r\n", 1),
            (">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nx\r\n", 1),
            ("=7\r\ntxt:abc\r\n", 1),
            ("~1\r\n#t\r\n,1.5\r\n", 2),
        ] {
            assert_eq!(ended(answer.as_bytes()), Ok(count), "{answer:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_read_on() {
        for answer in [
            format!("${BYTES}\r\n"),
            format!("={}\r\n", i64::MAX),
            format!("!{}\r\n", i64::MAX),
            "=-1\r\n".to_owned(),
            "!-3\r\n".to_owned(),
            "= -5 \r\n".to_owned(),
            format!("*{VALUES}\r\n"),
            format!("*{}\r\n", i64::MAX),
            format!("%{}\r\n", VALUES / 2),
            format!("|{}\r\n", i64::MAX),
            format!(">{VALUES}\r\n"),
            // As the redis crate reads it, it is a string of 5 bytes.
            format!("${}5\r\n", "0".repeat(40)),
            format!("+{}", "x".repeat(LINE as usize)),
        ] {
            assert_eq!(ended(answer.as_bytes()), Err(TooLarge), "{answer:.40}");
        }
        let many = format!("*1\r\n*{}\r\n", VALUES / 2).repeat(3);
        assert_eq!(ended(many.as_bytes()), Err(TooLarge));
        let string = format!("${}\r\n{}\r\n", BYTES / 2, "x".repeat(BYTES as usize / 2));
        let mut frames = Frames::default();
        assert_eq!(frames.read(b"*2\r\n"), Ok(0));
        assert_eq!(frames.read(string.as_bytes()), Ok(0));
        assert_eq!(frames.read(string.as_bytes()), Err(TooLarge));
        // Of many answers each may be so large.
        let mut frames = Frames::default();
        for _ in 0..3 {
            assert_eq!(frames.read(string.as_bytes()), Ok(1));
        }
    }
}
