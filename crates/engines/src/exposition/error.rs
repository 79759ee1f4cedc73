//! Errors of metrics pages.

/// The length of the longest excerpt, in characters.
const EXCERPT: usize = 80;

/// The reason why a page, or a line of a wanted family, cannot be parsed.
///
/// The text has no part of the page: it is shown in the status to everything that may read the
/// autoscaler, and what a tenant names as a page may be another program's secret. An excerpt, short
/// and printable, is kept for callers that have read the page themselves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// No line is a sample or a comment: an HTML page, JSON, something binary.
    #[error(
        "this is not a metrics page in Prometheus's text format (check port and path): it looks like {}",
        look(.first_line)
    )]
    NotMetrics {
        /// The beginning of the first line that is not blank.
        first_line: String,
    },
    /// A line of a wanted family is malformed.
    #[error("line {line} of the metrics page cannot be parsed: {reason}")]
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
    #[error("the metrics page is cut off: its last line ({line}) does not end with a line feed")]
    CutOff {
        /// The number of the last line; the first is 1.
        line: usize,
        /// The beginning of the last line.
        excerpt: String,
    },
}

impl PageError {
    /// Returns the beginning of the line that could not be parsed.
    pub fn excerpt(&self) -> &str {
        match self {
            Self::NotMetrics { first_line: excerpt }
            | Self::BadLine { excerpt, .. }
            | Self::CutOff { excerpt, .. } => excerpt,
        }
    }

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

/// Returns what the first line of a page looks like.
fn look(first_line: &str) -> &'static str {
    let line = first_line.trim_start().to_ascii_lowercase();
    if line.is_empty() {
        "an empty page"
    } else if line.starts_with(['{', '[']) {
        "JSON"
    } else if line.starts_with('<') {
        "HTML or XML"
    } else if line.contains(char::REPLACEMENT_CHARACTER) {
        "binary data"
    } else {
        "another text"
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
    fn an_error_says_what_a_page_looks_like_and_nothing_of_it() {
        let table: [(&[u8], &str); 6] = [
            (b"", "an empty page"),
            (b"{\"password\":\"hunter2\"}\n", "JSON"),
            (b"<!DOCTYPE html>\n", "HTML or XML"),
            (b"\x1f\x8b\x08 gzip", "binary data"),
            (b"token: s3cr3t\n", "another text"),
            (b"  [1]", "JSON"),
        ];
        for (page, expected) in table {
            let text = PageError::not_metrics(page).to_string();
            assert!(text.ends_with(&format!("it looks like {expected}")), "{text}");
        }
        let error = PageError::bad_line(2, "its value is not a number", b"token: s3cr3t");
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
        assert_eq!(error.excerpt(), "token: s3cr3t");
    }

    #[test]
    fn excerpts_are_short_and_printable() {
        assert_eq!(excerpt(b"  <!DOCTYPE html>\r"), "<!DOCTYPE html>");
        assert_eq!(excerpt(b"\x1f\x8b\x08 gzip"), "\u{fffd}\u{fffd}\u{fffd} gzip");
        assert_eq!(excerpt(&[b'x'; 5000]), format!("{}…", "x".repeat(80)));
    }
}
