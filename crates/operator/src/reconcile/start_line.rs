//! The line in which the tasks of autoscalers begin, so that ten thousand of them do not read their
//! scales at the same moment.

use std::time::Duration;

use llm_autoscaler_core::Monotonic;

/// The time over which the first reads of tasks are spread that begin together.
const SPREAD: Duration = Duration::from_millis(200);
/// The time between two tasks where there are more: 2,000 begin in a second. An API server answers
/// fewer, so that it is never idle, and requests that wait take a connection each.
const EACH: Duration = Duration::from_micros(500);

/// The line of the tasks that begin.
#[derive(Debug, Default)]
pub(super) struct StartLine {
    /// The time at which the next one may begin.
    next: Monotonic,
}

impl StartLine {
    /// Returns the time until one of `count` tasks begins that do so together, by its place.
    pub(super) fn delay(&mut self, place: usize, count: usize, now: Monotonic) -> Duration {
        let in_line = self.next.since(now);
        self.next = now.after(in_line + EACH);
        in_line.max(SPREAD.mul_f64(place as f64 / count as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_tasks_are_spread_over_a_moment_and_many_begin_one_after_the_other() {
        let now = Monotonic(Duration::from_secs(100));
        let millis = |count: usize| {
            let mut line = StartLine::default();
            let all: Vec<_> = (0..count).map(|place| line.delay(place, count, now)).collect();
            assert!(all.is_sorted());
            (all[0].as_millis(), all[count / 2].as_millis(), all[count - 1].as_millis())
        };
        assert_eq!(millis(1), (0, 0, 0));
        assert_eq!(millis(10), (0, 100, 180));
        assert_eq!(millis(10_000), (0, 2500, 4999));
    }

    /// The listing at the start of the operator tells of each by itself.
    #[test]
    fn tasks_that_begin_alone_are_in_the_line_too() {
        let (mut line, now) = (StartLine::default(), Monotonic(Duration::from_secs(100)));
        for number in 0..1000 {
            assert_eq!(line.delay(0, 1, now), EACH * number);
        }
        let later = now.after(Duration::from_secs(1));
        assert_eq!(line.delay(0, 1, later), Duration::ZERO, "the line is over");
    }
}
