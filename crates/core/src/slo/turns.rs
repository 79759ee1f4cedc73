//! The turns of a size from growing to shrinking, of which an hour has few.

/// The turns that an hour has at most. Each may be followed by one in the other direction.
const TURNS: usize = 5;
/// The time that has so many, in seconds.
const HOUR: f64 = 3_600.0;
/// A fall within this time of a rise is a turn, in seconds.
const SOON: f64 = 600.0;

/// The latest turns of a size.
///
/// A load that comes in bursts makes a size follow each of them up, and down again. Replicas that
/// start and stop all the time cost more than those that stay, so that a size that has turned this
/// often keeps its height until the first of the turns is an hour old, or until a fall is none:
/// ten minutes after the latest rise.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    size: Option<u32>,
    /// The time of the latest rise, while nothing has fallen since.
    risen_at: Option<f64>,
    /// The times of the latest turns, from `next` on and round.
    latest: [f64; TURNS],
    next: usize,
}

impl Default for Turns {
    fn default() -> Self {
        Self { size: None, risen_at: None, latest: [f64::NEG_INFINITY; TURNS], next: 0 }
    }
}

impl Turns {
    /// Takes the next size, and returns it, or the one before where that may not fall yet.
    pub(super) fn keep(&mut self, now: f64, size: u32) -> u32 {
        let before = self.size.unwrap_or(size);
        if size < before {
            if self.risen_at.is_some_and(|at| now - at <= SOON) {
                if now - self.latest[self.next] < HOUR {
                    return before;
                }
                self.latest[self.next] = now;
                self.next = (self.next + 1) % TURNS;
            }
            self.risen_at = None;
        } else if size > before {
            self.risen_at = Some(now);
        }
        self.size = Some(size);
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_turn_within_an_hour_waits() {
        let mut turns = Turns::default();
        // Times, sizes, and what they become.
        let table = [
            (0.0, 2, 2),
            (60.0, 5, 5),
            // The first to the fifth turn.
            (120.0, 3, 3),
            (180.0, 2, 2),
            (240.0, 6, 6),
            (300.0, 2, 2),
            (360.0, 6, 6),
            (420.0, 2, 2),
            (480.0, 6, 6),
            (540.0, 2, 2),
            (600.0, 6, 6),
            (660.0, 2, 2),
            // A rise is free, and nothing falls after it.
            (720.0, 6, 6),
            (780.0, 2, 6),
            (840.0, 9, 9),
            (900.0, 3, 9),
            // Ten minutes after the rise it is no turn any more.
            (1_440.0, 3, 9),
            (1_441.0, 3, 3),
            (3_500.0, 7, 7),
            (3_719.0, 2, 7),
            // The first turn is an hour old; the second was at 300.
            (3_720.0, 2, 2),
            (3_740.0, 7, 7),
            (3_899.0, 2, 7),
            (3_900.0, 2, 2),
        ];
        for (now, size, kept) in table {
            assert_eq!(turns.keep(now, size), kept, "{now}");
        }
    }

    #[test]
    fn a_fall_long_after_a_rise_is_no_turn() {
        let mut turns = Turns::default();
        for hour in 0..20 {
            let now = 1_300.0 * f64::from(hour);
            assert_eq!(turns.keep(now, 9), 9);
            assert_eq!(turns.keep(now + 650.0, 2), 2);
        }
    }
}
