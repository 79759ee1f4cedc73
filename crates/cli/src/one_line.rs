//! Log lines that no text can break.

use std::io::{self, Write};

/// Writes each entry of a log in one line. Texts of other programs are part of entries: a webhook
/// that refuses a write chooses the words of the error, and could write lines of its own with a
/// line feed.
pub(crate) struct OneLine<W> {
    /// The destination.
    pub inner: W,
    /// Escape sequences of the log's own colours pass.
    pub colours: bool,
}

impl<W: Write> Write for OneLine<W> {
    /// Writes one entry, which is the whole buffer.
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(entry);
        let end = if text.ends_with('\n') { "\n" } else { "" };
        let breaks = |c: char| {
            let is_colour = self.colours && c == '\u{1b}';
            (c.is_control() && !is_colour) || matches!(c, '\u{2028}' | '\u{2029}')
        };
        let line = text.strip_suffix('\n').unwrap_or(&text).replace(breaks, " ");
        self.inner.write_all(format!("{line}{end}").as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_line_cannot_be_forged() {
        let log = Shared::default();
        let inner = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || OneLine { inner: inner.clone(), colours: false })
            .with_ansi(false)
            .finish();
        let error = "denied\r\n2026-01-01T00:00:00Z  INFO scaled name=\"b/x\" from=5 to=0\u{2028}x";
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(error, "refused\u{85}\u{1b}[2J");
            tracing::warn!(%error, debug = ?error, "refused");
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.lines().count(), 2, "{log}");
        assert!(log.lines().all(|line| line.contains(" WARN ")), "{log}");
        assert!(!log.trim_end().contains(['\r', '\u{1b}', '\u{85}', '\u{2028}']), "{log}");
    }

    #[test]
    fn colours_of_the_log_itself_pass() {
        let mut line = OneLine { inner: Vec::new(), colours: true };
        line.write_all(b"\x1b[33m WARN\x1b[0m a\nb\n").unwrap();
        assert_eq!(line.inner, b"\x1b[33m WARN\x1b[0m a b\n");
    }
}
