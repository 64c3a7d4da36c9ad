//! Text that somebody else chose, made fit for a terminal. Used by all that prints, errors included.

/// Names from Redis may hold anything: a terminal must not interpret it.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // Bidirectional overrides are no control characters to Rust, but reorder a line.
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}
