//! The wait before something that failed is tried again.

use std::time::Duration;

/// Waits that double from the first to the longest. Each is drawn from between three quarters and
/// five quarters of its length, so that what failed together is not tried again together: after an
/// outage of the API server a thousand autoscalers would come back within the same second.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Begins with the first wait.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Returns the wait after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.draw(fastrand::f64())
    }

    /// Returns the wait after one more failure, which is at least as long as the server asked for.
    pub(crate) fn next_after(&mut self, asked: Option<Duration>) -> Duration {
        let wait = self.next();
        // It is a text from the network, so it is not honoured for ever.
        wait + asked.unwrap_or_default().min(self.longest)
    }

    /// Begins anew: it has worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Returns true if the latest attempt has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Returns the wait for a random number from 0 to 1.
    fn draw(&self, random: f64) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let wait = self.first.saturating_mul(2_u32.pow(doublings)).min(self.longest);
        wait.mul_f64(0.75 + random / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        assert!(!backoff.has_failed());
        // failures so far, the shortest and the longest wait in milliseconds
        let table = [(1, 750, 1250), (2, 1500, 2500), (5, 12_000, 20_000), (6, 22_500, 37_500)];
        for (failures, shortest, longest) in table {
            while backoff.failures < failures {
                let _ = backoff.next();
            }
            let waits = [backoff.draw(0.0), backoff.draw(1.0)];
            assert_eq!(waits.map(|wait| wait.as_millis()), [shortest, longest], "{failures}");
        }
        (0..100).for_each(|_| assert!(backoff.next() <= Duration::from_millis(37_500)));
        backoff.reset();
        assert!(!backoff.has_failed() && backoff.next() <= Duration::from_millis(1250));
    }

    #[test]
    fn a_wait_that_the_server_asks_for_is_honoured_within_reason() {
        // the server's words in seconds, the shortest and the longest wait in milliseconds
        let table = [(None, 750, 1250), (Some(5), 5750, 6250), (Some(86_400), 30_750, 31_250)];
        for (asked, shortest, longest) in table {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
            let wait = backoff.next_after(asked.map(Duration::from_secs)).as_millis();
            assert!((shortest..=longest).contains(&wait), "{asked:?}: {wait} ms");
        }
    }
}
