//! What of a server's answers is passed on to the redis crate: where each one ends, whether it is too large
//! to be read, and whether an error repeats our password.
//!
//! Used by `pulse`. The redis crate keeps an answer in memory until all of it is there, whatever its size.
//! Invariants: what is counted here as one answer is what that crate reads as one, or less; so none takes
//! more memory there than these bounds allow. Of an answer that is too large the rest is read and thrown
//! away, and it ends in an error there ([`cut`]): nobody takes the beginning for all of it, and the answers
//! behind it go to those who asked. No error has a password in it.

use crate::secret::Secret;
use redis::{ServerError, Value};
use std::borrow::Cow;
use std::fmt;

/// Bytes of one answer.
const BYTES: u64 = 32 << 20;
/// Values in one answer: each takes several times the room of the shortest that can be sent, and Redis a
/// microsecond, in which it answers nobody else.
const VALUES: u64 = 1 << 18;
/// Bytes of an answer that are read to be thrown away. A server that has more to say is left.
const THROWN_AWAY: u64 = 512 << 20;
/// Bytes of the shortest value, with its end.
const SHORTEST: u64 = 3;
/// Bytes of a line: a simple string, or an error.
const LINE: usize = 64 << 10;
/// Bytes of a line that says how much follows.
const COUNT: usize = 32;

/// The code of the error that an answer ends in which is too large.
pub const CODE: &str = "TOOLARGE";
/// In the place of each value that is missing, but the last.
const MISSING: &[u8] = b"$-1\r\n";
/// What is said in the place of words that have the password in them.
const HIDDEN: &str = "its words are not shown, as they have the password in them";
/// What Redis says of a wrong password, which may be a word of it.
const WRONG: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
/// Behind these words Redis repeats a command that it does not know, and a log-in is one.
pub(super) const REPEATS: &str = ", with args beginning with";
/// Codes of errors that are as good with any password.
const CODES: [&[u8]; 16] = [
    b"ERR",
    b"WRONGPASS",
    b"NOAUTH",
    b"NOPERM",
    b"NOPROTO",
    b"LOADING",
    b"MASTERDOWN",
    b"CLUSTERDOWN",
    b"MOVED",
    b"ASK",
    b"TRYAGAIN",
    b"WRONGTYPE",
    b"MISCONF",
    b"BUSY",
    b"UNKILLABLE",
    b"READONLY",
];

/// An answer of which nothing more is read, so that the connection ends: it is too large even to be thrown
/// away, or says nowhere where it ends. Its words are for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an answer of the server is larger than {} MiB, or what it tells unasked than {}, or it is not \
             Redis' protocol",
            THROWN_AWAY >> 20,
            BYTES >> 20
        )
    }
}

impl std::error::Error for Abandoned {}

/// The error that a reply ends in where it was too large to be read. It is always the last of its values.
#[must_use]
pub fn cut(reply: &Value) -> Option<&ServerError> {
    match reply {
        Value::ServerError(error) => Some(error).filter(|error| error.code() == CODE),
        Value::Array(values) | Value::Set(values) => cut(values.last()?),
        Value::Map(fields) => cut(&fields.last()?.1),
        Value::Attribute { data, .. } => cut(data),
        _ => None,
    }
}

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
    /// Whether that string is left out.
    is_left_out: bool,
    /// The beginning of a line whose end is still to come.
    line: Vec<u8>,
    /// Where it is too large: the values that are missing to what was passed on.
    missing: Option<u64>,
    /// What no error is to repeat.
    passwords: Vec<Secret>,
    /// [`BYTES`] and [`VALUES`].
    most: (u64, u64),
}

/// What is passed on in the place of what was read.
struct Passed<'r> {
    read: &'r [u8],
    /// So much of it, as long as there is nothing else.
    unchanged: usize,
    changed: Option<Vec<u8>>,
}

impl<'r> Passed<'r> {
    fn on(&mut self, bytes: &[u8]) {
        match &mut self.changed {
            Some(changed) => changed.extend_from_slice(bytes),
            None => self.unchanged += bytes.len(),
        }
    }

    /// From here on it is not what was read.
    fn change(&mut self) -> &mut Vec<u8> {
        let unchanged = self.read.get(..self.unchanged).unwrap_or_default();
        self.changed.get_or_insert_with(|| unchanged.to_vec())
    }

    fn all(self) -> Cow<'r, [u8]> {
        self.changed.map_or(Cow::Borrowed(self.read), Cow::Owned)
    }
}

impl Frames {
    pub(crate) fn new(passwords: Vec<Secret>) -> Self {
        Self {
            left: 1,
            values: 1,
            bytes: 0,
            rest: 0,
            is_left_out: false,
            line: Vec::new(),
            missing: None,
            passwords,
            most: (BYTES, VALUES),
        }
    }

    /// Takes what was read; how many answers have come to their end in it, and what is to be passed on.
    pub(crate) fn read<'r>(&mut self, read: &'r [u8]) -> Result<(u64, Cow<'r, [u8]>), Abandoned> {
        let mut passed = Passed {
            read,
            unchanged: 0,
            changed: None,
        };
        let (mut bytes, mut ended) = (read, 0);
        while !bytes.is_empty() {
            let length = match self.rest {
                0 => self.line_end(bytes),
                // They were counted when they were announced.
                rest => Some(bytes.len().min(usize::try_from(rest).unwrap_or(usize::MAX))),
            };
            let Some((part, next)) = length.and_then(|length| bytes.split_at_checked(length)) else {
                // What a line is about is known at its end.
                passed.change();
                self.line.extend_from_slice(bytes);
                match self.line.len() > LINE {
                    true => return Err(Abandoned),
                    false => break,
                }
            };
            bytes = next;
            if self.rest > 0 {
                self.rest -= part.len() as u64;
                match self.is_left_out || self.missing.is_some() {
                    // The redis crate, which would refuse it, does not see it.
                    true if !is_end(part, self.rest) => return Err(Abandoned),
                    true => drop(passed.change()),
                    false => passed.on(part),
                }
            } else if self.line.is_empty() {
                self.line(part, &mut passed)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                passed.change();
                self.line(&line, &mut passed)?;
            }
            if self.rest == 0 {
                self.is_left_out = false;
                self.left -= 1;
                if self.left == 0 {
                    ended += 1;
                    self.end(&mut passed);
                }
            }
        }
        Ok((ended, passed.all()))
    }

    /// How many of these bytes are of the line.
    fn line_end(&self, bytes: &[u8]) -> Option<usize> {
        if self.line.last() == Some(&b'\r') && bytes.first() == Some(&b'\n') {
            return Some(1);
        }
        let end = bytes.windows(2).position(|end| end == b"\r\n")? + 2;
        Some(end)
    }

    /// The answer has come to its end; the next one begins.
    fn end(&mut self, passed: &mut Passed<'_>) {
        (self.left, self.values, self.bytes) = (1, 1, 0);
        if let Some(missing) = self.missing.take() {
            let passed = passed.change();
            for _ in 1..missing {
                passed.extend_from_slice(MISSING);
            }
            let size = BYTES >> 20;
            let error = format!("-{CODE} it is larger than {size} MiB, or has more than {VALUES} values\r\n");
            passed.extend_from_slice(error.as_bytes());
        }
    }

    /// A whole line.
    fn line(&mut self, line: &[u8], passed: &mut Passed<'_>) -> Result<(), Abandoned> {
        if line.len() > LINE {
            return Err(Abandoned);
        }
        let kind = line.first().copied().unwrap_or_default();
        let more: u64 = match kind {
            // In an answer it is none of its values, and in an attribute the redis crate takes it for an
            // answer: those behind it would go to others.
            b'>' if self.values > 1 => return Err(Abandoned),
            b'$' | b'=' | b'!' => {
                self.rest = match count(line)? {
                    // Of these two the redis crate reads a negative length as one without an end.
                    None if kind != b'$' => return Err(Abandoned),
                    None => 0,
                    Some(bytes) => bytes.checked_add(2).ok_or(Abandoned)?,
                };
                0
            }
            b'*' | b'~' | b'>' => count(line)?.unwrap_or(0),
            b'%' => count(line)?.unwrap_or(0).saturating_mul(2),
            // And what it is an attribute of.
            b'|' => count(line)?.unwrap_or(0).saturating_mul(2).saturating_add(1),
            _ => 0,
        };
        self.bytes = self.bytes.saturating_add(line.len() as u64 + self.rest);
        self.values = self.values.saturating_add(more);
        if self.bytes > self.most.0 || self.values > self.most.1 {
            // An error in the place of what Redis says unasked would be taken for an answer.
            let cannot_be_left_out = kind == b'>' && self.missing.is_none();
            if cannot_be_left_out || self.bytes.max(self.values.saturating_mul(SHORTEST)) > THROWN_AWAY {
                return Err(Abandoned);
            }
            self.missing = self.missing.or(Some(self.left));
        }
        self.left = self.left.saturating_add(more);
        if self.missing.is_some() {
            // The redis crate, which would refuse it, does not see it.
            if !is_known(kind, line) {
                return Err(Abandoned);
            }
            passed.change();
        } else if kind == b'!' {
            // No Redis says so much of an error.
            self.is_left_out = true;
            passed
                .change()
                .extend_from_slice(b"-ERR its words are not shown\r\n");
        } else if kind == b'-' && self.is_telling(line) {
            passed.change().extend_from_slice(&self.hidden(line));
        } else {
            passed.on(line);
        }
        Ok(())
    }

    /// Whether an error has a password in it that has to be hidden.
    fn is_telling(&self, line: &[u8]) -> bool {
        // The address of the node that is to be asked is needed, and not logged.
        let is_ask = line.starts_with(b"-ASK ") && line.split(|byte| *byte == b' ').count() == 3;
        !is_ask && line != WRONG && self.has_password(line)
    }

    fn has_password(&self, text: &[u8]) -> bool {
        self.passwords.iter().map(Secret::expose).any(|password| {
            !password.is_empty() && text.windows(password.len()).any(|words| words == password)
        })
    }

    /// The same error without what it repeats, or without all of its words.
    fn hidden(&self, line: &[u8]) -> Vec<u8> {
        let repeats = line
            .windows(REPEATS.len())
            .position(|words| words == REPEATS.as_bytes());
        if let Some(own) = repeats.and_then(|at| line.get(..at))
            && !self.has_password(own)
        {
            return [own, b"\r\n"].concat();
        }
        let code = line.get(1..).unwrap_or_default();
        let code = code
            .split(|byte| byte.is_ascii_whitespace())
            .next()
            .unwrap_or_default();
        let is_safe = CODES.contains(&code) || !code.is_empty() && !self.has_password(code);
        let code = if is_safe { code } else { b"ERR" };
        [b"-", code, b" ", HIDDEN.as_bytes(), b"\r\n"].concat()
    }
}

/// The number in a line; `None` where there is none, or it is negative, which is for the redis crate to
/// refuse, or means that nothing follows.
fn count(line: &[u8]) -> Result<Option<u64>, Abandoned> {
    // A number with so many digits is read there, too.
    let text = line
        .get(1..line.len().saturating_sub(2))
        .filter(|text| text.len() < COUNT);
    let number = text.and_then(|text| std::str::from_utf8(text).ok());
    let number = number.ok_or(Abandoned)?;
    Ok(number
        .trim()
        .parse::<i64>()
        .ok()
        .and_then(|number| number.try_into().ok()))
}

/// Whether a line is the beginning of a value, so that it is known where that ends.
fn is_known(kind: u8, line: &[u8]) -> bool {
    let text = line.get(1..).and_then(|text| std::str::from_utf8(text).ok());
    let number = text.and_then(|text| text.trim().parse::<i64>().ok());
    match kind {
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => true,
        b'$' | b'*' | b'~' | b'>' => number.is_some(),
        b'%' | b'|' | b'=' | b'!' => number.is_some_and(|number| number >= 0),
        _ => false,
    }
}

/// Whether a part of a string of which `rest` bytes are to come has, if any, the end of one.
fn is_end(part: &[u8], rest: u64) -> bool {
    match (rest, part) {
        (0, [.., before, last]) => (*before, *last) == (b'\r', b'\n'),
        (0, [last]) => *last == b'\n',
        (1, [.., last]) => *last == b'\r',
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::{Abandoned, BYTES, Frames, HIDDEN, LINE, THROWN_AWAY, VALUES, WRONG, cut};
    use crate::secret::Secret;
    use redis::Value;

    /// How many answers have ended, and what is passed on.
    fn read(frames: &mut Frames, parts: &[&[u8]]) -> Result<(u64, String), Abandoned> {
        let (mut ended, mut passed) = (0, Vec::new());
        for part in parts {
            let (more, read) = frames.read(part)?;
            ended += more;
            passed.extend_from_slice(&read);
        }
        Ok((ended, String::from_utf8(passed).unwrap()))
    }

    fn passed(bytes: &[u8]) -> Result<(u64, String), Abandoned> {
        let frames = || Frames::new(vec![Secret::new(b"secret")]);
        let whole = read(&mut frames(), &[bytes]);
        // The same, in parts of one size and another.
        for size in [1, 2, 3, 7] {
            let parts: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(
                whole,
                read(&mut frames(), &parts),
                "{size}: {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        whole
    }

    fn ended(bytes: &[u8]) -> Result<u64, Abandoned> {
        passed(bytes).map(|(ended, _)| ended)
    }

    #[test]
    fn an_answer_ends_where_its_last_value_does() {
        for (answer, count) in [
            ("+OK\r\n", 1),
            ("+OK\r\n-ERR x\r\n:1\r\n", 3),
            ("+O", 0),
            ("+a\nb\rc\r\n", 1),
            ("+a\r\r\n", 1),
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
            let (ended, passed) = passed(answer.as_bytes()).unwrap();
            assert_eq!(ended, count, "{answer:?}");
            // All but the beginning of a line.
            assert!(answer.starts_with(&passed), "{passed:?} of {answer:?}");
            assert!(count == 0 || passed == answer, "{passed:?} of {answer:?}");
        }
    }

    #[test]
    fn what_is_far_too_large_is_not_read_on() {
        for answer in [
            format!("${THROWN_AWAY}\r\n"),
            format!("={}\r\n", i64::MAX),
            format!("!{}\r\n", i64::MAX),
            "=-1\r\n".to_owned(),
            "!-3\r\n".to_owned(),
            "= -5 \r\n".to_owned(),
            format!("*{}\r\n", THROWN_AWAY / 3),
            format!("*{}\r\n", i64::MAX),
            format!("%{}\r\n", i64::MAX),
            format!("|{}\r\n", i64::MAX),
            // In its place would be an answer.
            format!(">{VALUES}\r\n"),
            // As the redis crate reads it, it is a string of 5 bytes.
            format!("${}5\r\n", "0".repeat(40)),
            format!("+{}", "x".repeat(LINE + 1)),
            format!("+{}\r\n", "x".repeat(LINE)),
        ] {
            assert_eq!(ended(answer.as_bytes()), Err(Abandoned), "{answer:.40}");
        }
    }

    #[test]
    fn what_does_not_say_where_it_ends_is_not_thrown_away() {
        for answer in [
            // The redis crate takes what is in an attribute for an answer.
            "|1\r\n+a\r\n:1\r\n>2\r\n+invalidate\r\n_\r\n",
            // Some Redis before 7 tells of a change within the answer of EXEC.
            "*2\r\n+a\r\n>2\r\n+invalidate\r\n_\r\n+b\r\n",
            "!1\r\nxyz",
        ] {
            assert_eq!(ended(answer.as_bytes()), Err(Abandoned), "{answer:?}");
        }
        for odd in [
            "*?\r\n",
            "$?\r\n",
            "%-1\r\n",
            "|-1\r\n",
            ";1\r\n",
            "x\r\n",
            "\r\n",
            "$1\r\nxyz",
        ] {
            let mut frames = Frames {
                most: (100, 2),
                ..Frames::new(Vec::new())
            };
            let answer = format!("*3\r\n+a\r\n{odd}+b\r\n+OK\r\n");
            assert_eq!(read(&mut frames, &[answer.as_bytes()]), Err(Abandoned), "{odd:?}");
        }
    }

    /// What the redis crate makes of an answer, and of `+OK` behind it.
    fn replies(answer: &str) -> Vec<Value> {
        let (ended, passed) = read(&mut Frames::new(Vec::new()), &[answer.as_bytes(), b"+OK\r\n"]).unwrap();
        assert_eq!(ended, 2, "{answer:.40}");
        // As one: they have to be as many there.
        let both = format!("*2\r\n{passed}");
        match redis::parse_redis_value(both.as_bytes()).unwrap() {
            Value::Array(replies) => replies,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_that_is_too_large_ends_in_an_error_and_the_next_one_is_read() {
        let (string, short) = (
            format!("${BYTES}\r\n{}\r\n", "x".repeat(BYTES as usize)),
            ":1\r\n",
        );
        let half = format!("${}\r\n{}\r\n", BYTES / 2, "x".repeat(BYTES as usize / 2));
        let most = VALUES as usize;
        for answer in [
            string.clone(),
            format!("*{most}\r\n{}", short.repeat(most)),
            format!("%{}\r\n{}", most / 2, short.repeat(most)),
            format!("~{most}\r\n{}", short.repeat(most)),
            format!("*2\r\n{string}+b\r\n"),
            format!("*2\r\n+a\r\n{string}"),
            format!("*3\r\n{half}{half}*2\r\n+a\r\n*0\r\n"),
            format!("%2\r\n+a\r\n{string}+b\r\n+c\r\n"),
            format!("*2\r\n*2\r\n+a\r\n*{most}\r\n{}+b\r\n", short.repeat(most)),
            format!("|1\r\n+a\r\n{string}+OK\r\n"),
            // A push with an error in it: everything has changed.
            format!("*1\r\n*2\r\n+a\r\n{string}"),
        ] {
            let replies = replies(&answer);
            let [answer_cut, next] = &replies[..] else {
                panic!("{:.40}", answer)
            };
            let error = cut(answer_cut).unwrap_or_else(|| panic!("{answer:.40}"));
            assert!(
                error.details().unwrap().starts_with("it is larger than 32 MiB"),
                "{error:?}"
            );
            assert_eq!(*next, Value::Okay);
        }
        // Of many answers each may be so large.
        let mut frames = Frames::new(Vec::new());
        for _ in 0..3 {
            let (ended, passed) = frames.read(half.as_bytes()).unwrap();
            assert_eq!((ended, passed.len()), (1, half.len()));
        }
        for whole in [
            Value::Array(Vec::new()),
            Value::Map(Vec::new()),
            Value::Okay,
            Value::Nil,
        ] {
            assert_eq!(cut(&whole), None);
        }
    }

    #[test]
    fn no_error_has_the_password() {
        for (answer, code) in [
            ("-ERR what is HELLO 3 AUTH gate secret\r\n", "ERR"),
            ("-NOPERM HELLO 3 AUTH gate secret\r\n", "NOPERM"),
            ("-NOPROTO HELLO 3 AUTH gate secret\r\n", "NOPROTO"),
            ("-WRONGPASS HELLO 3 AUTH gate secret\r\n", "WRONGPASS"),
            ("-MOVED 1 secret:1\r\n", "MOVED"),
            ("-ASK 1 127.0.0.1:1 secret\r\n", "ASK"),
            ("-ODD gatesecret\r\n", "ODD"),
            ("-secret x\r\n", "ERR"),
            ("-xsecret\r\n", "ERR"),
        ] {
            let hidden = format!("-{code} {HIDDEN}\r\n");
            assert_eq!(passed(answer.as_bytes()), Ok((1, hidden.clone())));
            let among = format!("*3\r\n+secret\r\n{answer}:1\r\n");
            let hidden = format!("*3\r\n+secret\r\n{hidden}:1\r\n");
            assert_eq!(passed(among.as_bytes()), Ok((1, hidden)));
        }
        let unknown = "-ERR unknown command 'HELLO'";
        assert_eq!(
            passed(
                format!("{unknown}, with args beginning with: '3' 'AUTH' 'gate' 'secret' \r\n").as_bytes()
            ),
            Ok((1, format!("{unknown}\r\n")))
        );
        for shown in ["-ERR other\r\n", "-ASK 1 secret:1\r\n", "$6\r\nsecret\r\n"] {
            assert_eq!(passed(shown.as_bytes()), Ok((1, shown.to_owned())));
        }
        let blob = passed(b"!10\r\nERR secret\r\n+OK\r\n").unwrap();
        assert_eq!(blob, (2, "-ERR its words are not shown\r\n+OK\r\n".to_owned()));
        // A word that Redis says to everybody.
        let mut frames = Frames::new(vec![Secret::new(b"password"), Secret::new(b"")]);
        assert_eq!(frames.read(WRONG).unwrap().1, WRONG);
    }

    /// A value of random form, not too deep.
    fn any_value(random: &mut impl FnMut(usize) -> usize, depth: usize) -> String {
        let simple = ["+a", ":1", "_", "#t", ",1.5", "-ERR no", "+OK"];
        match random(if depth == 0 { 3 } else { 8 }) {
            0 => format!("{}\r\n", simple[random(simple.len())]),
            1 => "$-1\r\n".to_owned(),
            2 => {
                let text = "x\r\n".repeat(random(9));
                format!("${}\r\n{text}\r\n", text.len())
            }
            3 | 4 => {
                let count = random(5);
                let values: String = (0..count).map(|_| any_value(random, depth - 1)).collect();
                format!("*{count}\r\n{values}")
            }
            5 => {
                let count = random(5);
                let values: String = (0..count).map(|_| any_value(random, depth - 1)).collect();
                format!("~{count}\r\n{values}")
            }
            6 => {
                let count = random(3);
                let values: String = (0..2 * count).map(|_| any_value(random, depth - 1)).collect();
                format!("%{count}\r\n{values}")
            }
            _ => {
                let values: String = (0..3).map(|_| any_value(random, depth - 1)).collect();
                format!("|1\r\n{values}")
            }
        }
    }

    fn value_count(value: &Value) -> usize {
        1 + match value {
            Value::Array(values) | Value::Set(values) => values.iter().map(value_count).sum(),
            Value::Map(fields) => fields.iter().map(|(a, b)| value_count(a) + value_count(b)).sum(),
            Value::Attribute { data, attributes } => {
                let attributes = attributes.iter().map(|(a, b)| value_count(a) + value_count(b));
                attributes.sum::<usize>() + value_count(data)
            }
            _ => 0,
        }
    }

    /// Whatever is cut, each answer is one there: itself, or one that ends in the error.
    #[test]
    fn no_answer_goes_to_another_question() {
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let (mut cut_count, mut whole_count) = (0, 0);
        for round in 0..3000 {
            let answers: Vec<String> = (0..1 + random(4)).map(|_| any_value(&mut random, 4)).collect();
            let most = (10 + random(80) as u64, 1 + random(12) as u64);
            let mut frames = Frames {
                most,
                ..Frames::new(Vec::new())
            };
            let all = answers.concat();
            let (mut rest, mut ended, mut passed) = (all.as_bytes(), 0, Vec::new());
            while !rest.is_empty() {
                let (part, next) = rest.split_at(rest.len().min(1 + random(20)));
                let (more, read) = frames.read(part).unwrap();
                ended += more;
                passed.extend_from_slice(&read);
                rest = next;
            }
            assert_eq!(ended, answers.len() as u64, "round {round}: {all:?}");
            let there = [format!("*{}\r\n", answers.len()).as_bytes(), &passed].concat();
            let Value::Array(replies) = redis::parse_redis_value(&there).unwrap() else {
                panic!("{all:?}");
            };
            for (answer, reply) in answers.iter().zip(replies) {
                let itself = redis::parse_redis_value(answer.as_bytes()).unwrap();
                let is_large = answer.len() as u64 > most.0 || value_count(&itself) as u64 > most.1;
                assert_eq!(
                    cut(&reply).is_some(),
                    is_large,
                    "round {round}: {answer:?} {reply:?}"
                );
                assert!(is_large || reply == itself, "round {round}: {answer:?} {reply:?}");
                cut_count += usize::from(is_large);
                whole_count += usize::from(!is_large);
            }
        }
        assert!(
            cut_count > 1000 && whole_count > 1000,
            "{cut_count} {whole_count}"
        );
    }
}
