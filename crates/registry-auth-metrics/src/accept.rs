//! Which form of the numbers a client wants: by the query (`?format=json`), else by `Accept` (RFC 9110,
//! section 12.5.1).
//!
//! Called by the status page of the nginx module. A client that names no form, or accepts all of them alike,
//! gets the page: people have no other way to ask.

/// A form in which the numbers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The page for people.
    Html,
    /// JSON.
    Json,
    /// The text format of Prometheus, 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0, which Prometheus asks for first.
    OpenMetrics,
}

impl Format {
    /// All of them. Of several that a client likes equally, it gets the first.
    pub const ALL: [Self; 4] = [Self::Html, Self::Json, Self::Prometheus, Self::OpenMetrics];

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
            Self::Prometheus => "text/plain; version=0.0.4",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    fn media_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Html => ("text", "html"),
            Self::Json => ("application", "json"),
            Self::Prometheus => ("text", "plain"),
            Self::OpenMetrics => ("application", "openmetrics-text"),
        }
    }

    /// The form that a query names by `format=`; `None` where it names none, an error where there is no such
    /// form.
    ///
    /// # Errors
    /// [`UnknownFormat`]
    pub fn of_query(query: &[u8]) -> Result<Option<Self>, UnknownFormat> {
        let mut arguments = query.split(|byte| *byte == b'&');
        match arguments.find_map(|argument| argument.strip_prefix(b"format=")) {
            None => Ok(None),
            Some(b"html") => Ok(Some(Self::Html)),
            Some(b"json") => Ok(Some(Self::Json)),
            Some(b"prometheus") => Ok(Some(Self::Prometheus)),
            Some(b"openmetrics") => Ok(Some(Self::OpenMetrics)),
            Some(_) => Err(UnknownFormat),
        }
    }

    /// The form that the values of `Accept` prefer. The page where they prefer none, or nothing that there
    /// is.
    ///
    /// ```
    /// use registry_auth_metrics::Format;
    ///
    /// let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    /// assert_eq!(Format::of_accept([browser.as_bytes()]), Format::Html);
    /// let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1";
    /// assert_eq!(Format::of_accept([prometheus.as_bytes()]), Format::OpenMetrics);
    /// assert_eq!(Format::of_accept([]), Format::Html);
    /// ```
    pub fn of_accept<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let ranges: Vec<Range<'_>> = values
            .into_iter()
            .flat_map(|value| value.split(|byte| *byte == b','))
            .filter_map(Range::parse)
            .collect();
        let mut best = (Self::Html, 0);
        for format in Self::ALL {
            let quality = quality(format, &ranges);
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }
}

/// A query asks for a form that there is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownFormat;

/// How much a form is wanted, in thousandths: the most specific range that fits it says so.
fn quality(format: Format, ranges: &[Range<'_>]) -> u16 {
    let fitting = ranges
        .iter()
        .filter_map(|range| Some((range.fits(format)?, range.quality)));
    fitting.max().map_or(0, |(_, quality)| quality)
}

/// One range of an `Accept` header. Parameters other than `q` do not matter.
struct Range<'a> {
    main: &'a [u8],
    sub: &'a [u8],
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let mut parts = text.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next()?;
        let slash = name.iter().position(|byte| *byte == b'/')?;
        let (main, sub) = (name.get(..slash)?, name.get(slash + 1..)?);
        let quality = parts.find_map(|part| match part {
            [b'q' | b'Q', b'=', value @ ..] => Some(value),
            _ => None,
        });
        Some(Self {
            main,
            sub,
            quality: quality.map_or(Some(1000), thousandths)?,
        })
    }

    /// How specific the range is, where it includes a form.
    fn fits(&self, format: Format) -> Option<u8> {
        let (main, sub) = format.media_type();
        match (self.main, self.sub) {
            (b"*", b"*") => Some(0),
            (range, b"*") if range.eq_ignore_ascii_case(main.as_bytes()) => Some(1),
            (range, b"*") if range != main.as_bytes() => None,
            (range, kind) => {
                let fits =
                    range.eq_ignore_ascii_case(main.as_bytes()) && kind.eq_ignore_ascii_case(sub.as_bytes());
                fits.then_some(2)
            }
        }
    }
}

/// `0`, `1`, `0.75`: three digits after the point at most.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, rest) = text.split_first()?;
    let one = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    let digits = match rest {
        [] => &[][..],
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    let parts = digits.iter().zip([100, 10, 1]);
    let sum = parts.fold(one, |sum, (digit, worth)| sum + u16::from(digit - b'0') * worth);
    (sum <= 1000).then_some(sum)
}
