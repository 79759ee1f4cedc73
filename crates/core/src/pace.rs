//! The pace of writes: a token bucket, kept as a single moment.
//!
//! A bucket holds `burst` tokens at most, and one comes back every `every`. Instead of a number of
//! tokens it keeps the moment at which it is full again (the "virtual scheduling" form of the
//! generic cell rate algorithm, ITU-T I.371), so that nothing has to be counted while time passes.

use std::time::Duration;

use crate::now::Monotonic;

/// The size of a token bucket, and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The time in which one token comes back.
    pub every: Duration,
    /// The number of tokens of a full bucket.
    pub burst: u32,
}

/// The pace of the size changes of one target: one in two seconds on average, and three at once
/// after six quiet seconds. A growth that follows a quiet time is therefore never delayed. Two
/// seconds are still well below the time in which a controller makes the pods of a new size, and
/// the HPA changes a size every 15 s.
pub const TARGET_PACE: Pace = Pace { every: Duration::from_secs(2), burst: 3 };

/// A token bucket. A new one is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    /// The moment at which all tokens are back.
    full_at: Monotonic,
}

impl TokenBucket {
    /// Takes tokens, in advance if they are not there. Returns the moment at which the last of them
    /// is there, which may have passed.
    pub fn take(&mut self, pace: Pace, tokens: u32, now: Monotonic) -> Monotonic {
        self.full_at = self.full_at.max(now).after(pace.every.saturating_mul(tokens));
        self.available_at(pace)
    }

    /// Returns the moment at which the next token is there; `None` if one is there now.
    pub fn next_token(mut self, pace: Pace, now: Monotonic) -> Option<Monotonic> {
        let at = self.take(pace, 1, now);
        (at > now).then_some(at)
    }

    /// Returns whether all tokens are there.
    pub fn is_full(self, now: Monotonic) -> bool {
        self.full_at <= now
    }

    /// The moment at which no token is missing that was taken in advance.
    fn available_at(self, pace: Pace) -> Monotonic {
        Monotonic(self.full_at.0.saturating_sub(pace.every.saturating_mul(pace.burst)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACE: Pace = Pace { every: Duration::from_secs(2), burst: 3 };

    fn at(millis: u64) -> Monotonic {
        Monotonic(Duration::from_millis(millis))
    }

    #[test]
    fn a_burst_is_there_at_once_and_further_tokens_come_one_by_one() {
        // the time of a write, and when the next one may follow
        let table = [
            (100_000, None),
            (100_010, None),
            (100_020, Some(102_000)),
            (102_000, Some(104_000)),
            (104_500, Some(106_000)),
            // Two tokens have come back, and one of them is taken.
            (108_000, None),
            (120_000, None),
        ];
        let mut bucket = TokenBucket::default();
        for (now, next) in table {
            assert_eq!(bucket.next_token(PACE, at(now)), None, "the write at {now}");
            bucket.take(PACE, 1, at(now));
            assert_eq!(bucket.next_token(PACE, at(now)), next.map(at), "after {now}");
        }
        assert!(!bucket.is_full(at(121_999)) && bucket.is_full(at(122_000)));
    }

    #[test]
    fn tokens_that_are_taken_in_advance_come_in_turn() {
        let mut bucket = TokenBucket::default();
        assert!(bucket.take(PACE, 3, at(10_000)) <= at(10_000));
        assert_eq!(bucket.take(PACE, 1, at(10_000)), at(12_000));
        assert_eq!(bucket.take(PACE, 2, at(10_000)), at(16_000));
        assert_eq!(bucket.next_token(PACE, at(10_000)), Some(at(18_000)));
    }

    proptest! {
        #[test]
        fn no_time_has_more_writes_than_its_share_and_a_burst(
            tries in prop::collection::vec(0_u64..1_500, 1..200),
            every in 1_u64..3_000,
            burst in 1_u32..6,
        ) {
            let pace = Pace { every: Duration::from_millis(every), burst };
            let (mut bucket, mut now, mut writes) = (TokenBucket::default(), 50_000, Vec::new());
            for wait in tries {
                now += wait;
                match bucket.next_token(pace, at(now)) {
                    None => {
                        bucket.take(pace, 1, at(now));
                        writes.push(now);
                    }
                    // A write that is put off may be made when its time has come.
                    Some(next) => {
                        prop_assert!(next > at(now) && next <= at(now + every));
                        prop_assert_eq!(bucket.next_token(pace, next), None);
                    }
                }
            }
            for (first, begin) in writes.iter().enumerate() {
                for (count, end) in (1..).zip(&writes[first..]) {
                    prop_assert!(count <= u64::from(burst) + (end - begin) / every);
                }
            }
        }

        #[test]
        fn a_write_after_a_quiet_time_is_never_delayed(
            writes in prop::collection::vec(0_u64..5_000, 0..50),
        ) {
            let (mut bucket, mut now) = (TokenBucket::default(), 0);
            for wait in writes {
                now += wait;
                if bucket.next_token(PACE, at(now)).is_none() {
                    bucket.take(PACE, 1, at(now));
                }
            }
            now += 6_000;
            for _ in 0..PACE.burst {
                prop_assert_eq!(bucket.next_token(PACE, at(now)), None);
                bucket.take(PACE, 1, at(now));
            }
        }
    }
}
