//! Errors of metrics pages.

/// The length of the longest excerpt, in characters.
const EXCERPT: usize = 80;

/// The reason why a page, or a line of a wanted family, cannot be parsed. Excerpts are short and
/// printable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// No line is a sample or a comment: an HTML page, JSON, something binary.
    #[error(
        "this is not a metrics page in Prometheus's text format (check port and path); it begins with {first_line:?}"
    )]
    NotMetrics {
        /// The beginning of the first line that is not blank.
        first_line: String,
    },
    /// A line of a wanted family is malformed.
    #[error("line {line} of the metrics page cannot be parsed: {reason}: {excerpt:?}")]
    BadLine {
        /// The number of the line; the first is 1.
        line: usize,
        /// The rule of the format that the line breaks.
        reason: &'static str,
        /// The beginning of the line.
        excerpt: String,
    },
    /// The last line does not end with a line feed, which the format requires, so a part of the
    /// page is missing.
    #[error(
        "the metrics page is cut off: its last line ({line}) does not end with a line feed: {excerpt:?}"
    )]
    CutOff {
        /// The number of the last line; the first is 1.
        line: usize,
        /// The beginning of the last line.
        excerpt: String,
    },
}

impl PageError {
    pub(super) fn not_metrics(page: &[u8]) -> Self {
        let mut lines = page.split(|byte| *byte == b'\n');
        let first = lines.find(|line| !line.trim_ascii().is_empty());
        Self::NotMetrics { first_line: excerpt(first.unwrap_or_default()) }
    }

    pub(super) fn bad_line(line: usize, reason: &'static str, text: &[u8]) -> Self {
        Self::BadLine { line, reason, excerpt: excerpt(text) }
    }

    pub(super) fn cut_off(line: usize, text: &[u8]) -> Self {
        Self::CutOff { line, excerpt: excerpt(text) }
    }
}

/// Returns the beginning of `line`, with a replacement character for everything that is not
/// printable.
fn excerpt(line: &[u8]) -> String {
    // A character has at most four bytes, so more than this need not be decoded.
    let line = line.trim_ascii();
    let start = &line[..line.len().min(4 * (EXCERPT + 1))];
    let text = String::from_utf8_lossy(start);
    let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut excerpt: String = text.chars().take(EXCERPT).map(printable).collect();
    if text.chars().count() > EXCERPT {
        excerpt.push('…');
    }
    excerpt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_and_printable() {
        assert_eq!(excerpt(b"  <!DOCTYPE html>\r"), "<!DOCTYPE html>");
        assert_eq!(excerpt(b"\x1f\x8b\x08 gzip"), "\u{fffd}\u{fffd}\u{fffd} gzip");
        assert_eq!(excerpt(&[b'x'; 5000]), format!("{}…", "x".repeat(80)));
    }
}
