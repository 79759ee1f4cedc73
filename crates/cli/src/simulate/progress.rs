//! The progress of something that takes long, as a line on a terminal's standard error.

use std::{
    io::{IsTerminal, Stderr, Write},
    time::{Duration, Instant},
};

use llm_autoscaler_simulate::Progress;

/// The characters of the bar.
const WIDTH: usize = 24;
/// The time between two writes of the line.
const INTERVAL: Duration = Duration::from_millis(100);
/// The time after which the rest is estimated.
const ESTIMATE_AFTER: Duration = Duration::from_secs(1);

/// The line of one run. It vanishes with the run, and where standard error is no terminal, there is
/// none.
pub(crate) struct Line<'a> {
    name: &'a str,
    errors: Stderr,
    is_terminal: bool,
    started: Instant,
    shown: Option<Instant>,
}

impl<'a> Line<'a> {
    /// Returns the line of a run with this name.
    pub(crate) fn of(name: &'a str) -> Self {
        let errors = std::io::stderr();
        let is_terminal = errors.is_terminal();
        Self { name, errors, is_terminal, started: now(), shown: None }
    }

    /// Shows how far the run of a policy is.
    pub(super) fn show(&mut self, progress: Progress) {
        self.report(progress.done, &format!("{} requests", progress.requests));
    }

    /// Shows how far the run is, as a share from 0 to 1 and in words.
    pub(crate) fn report(&mut self, done: f64, words: &str) {
        if !self.is_terminal || self.shown.is_some_and(|shown| shown.elapsed() < INTERVAL) {
            return;
        }
        self.shown = Some(now());
        let text = text(self.name, done, words, self.started.elapsed());
        let _ = write!(self.errors, "\r\x1b[K{text}");
        let _ = self.errors.flush();
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(self.errors, "\r\x1b[K");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "an estimate is of real time")]
fn now() -> Instant {
    Instant::now()
}

/// Returns the text of a line.
fn text(name: &str, done: f64, words: &str, passed: Duration) -> String {
    let done = done.clamp(0.0, 1.0);
    let filled = (done * WIDTH as f64) as usize;
    let (bar, rest) = ("█".repeat(filled), "░".repeat(WIDTH - filled));
    let percent = (done * 100.0) as u64;
    let line = format!("{name} {bar}{rest} {percent:3} %, {words}");
    if passed < ESTIMATE_AFTER || done <= 0.0 {
        return line;
    }
    let left = (passed.as_secs_f64() * (1.0 - done) / done).round() as u64;
    match (left / 60, left % 60) {
        (0, seconds) => format!("{line}, {seconds} s left"),
        (minutes, seconds) => format!("{line}, {minutes} min {seconds} s left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_bar_and_an_estimate() {
        for (done, passed, expected) in [
            (0.0, 0, "kpa ░░░░░░░░░░░░░░░░░░░░░░░░   0 %, 7 requests"),
            (0.5, 0, "kpa ████████████░░░░░░░░░░░░  50 %, 7 requests"),
            (0.25, 10, "kpa ██████░░░░░░░░░░░░░░░░░░  25 %, 7 requests, 30 s left"),
            (0.1, 20, "kpa ██░░░░░░░░░░░░░░░░░░░░░░  10 %, 7 requests, 3 min 0 s left"),
            (1.2, 20, "kpa ████████████████████████ 100 %, 7 requests, 0 s left"),
        ] {
            let found = text("kpa", done, "7 requests", Duration::from_secs(passed));
            assert_eq!(found, expected);
        }
    }
}
