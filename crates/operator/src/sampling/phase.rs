//! The phase of a page: the part of each interval at which it is scraped.
//!
//! Pods are not scraped all at once, and those of one target not one by one: a step looks at all
//! pods of its target, whichever has a new sample. The pages of a subscriber, which is a source of
//! a target, are scraped in four groups, so that ten pods and more cause some four steps an
//! interval, however many they are. Within a group the scrapes are spread over a part of the
//! interval for which a step gathers samples, up to an interval of half a minute
//! (`reconcile::task`).

use std::hash::{DefaultHasher, Hash, Hasher};

/// The number of groups of one subscriber's pages.
const GROUPS: f64 = 4.0;
/// The part of an interval over which the scrapes of a group are spread.
pub(crate) const SPREAD: f64 = 1.0 / 32.0;
/// The fractional part of the golden ratio. Its multiples are spread evenly over a whole, however
/// many there are.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// The hash of a page's key, by which it has its phase; always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PhaseHash(u32);

impl PhaseHash {
    /// Returns that of the page with this key.
    pub(crate) fn of(key: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self((hasher.finish() >> 32) as u32)
    }

    /// Returns it as a fraction of a whole, less than 1.
    pub(crate) fn fraction(self) -> f64 {
        f64::from(self.0) / (f64::from(u32::MAX) + 1.0)
    }

    /// Returns the phase among the pages of the subscriber with this number, as a part of an
    /// interval, less than 1.
    pub(crate) fn phase(self, subscriber: u64) -> f64 {
        let place = self.fraction() * GROUPS;
        let of_group = place.floor() / GROUPS + place.fract() * SPREAD;
        // The groups of all subscribers repeat, so these are spread over the length of one.
        let of_subscriber = (subscriber as f64 * GOLDEN).fract() / GROUPS;
        (of_subscriber + of_group).fract()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(subscriber: u64, pages: u32) -> Vec<f64> {
        let mut phases: Vec<_> =
            (0..pages).map(|page| PhaseHash::of(&(subscriber, page)).phase(subscriber)).collect();
        phases.sort_by(f64::total_cmp);
        phases
    }

    #[test]
    fn the_pages_of_a_target_are_scraped_in_four_groups() {
        for subscriber in [0, 1, 7, 123_456] {
            let phases = phases(subscriber, 1000);
            let after = |place: usize| {
                let next = phases.get(place + 1).copied().unwrap_or(phases[0] + 1.0);
                next - phases[place]
            };
            let pauses = (0..phases.len()).filter(|place| after(*place) > SPREAD);
            let pauses: Vec<_> = pauses.map(after).collect();
            assert_eq!(pauses.len(), 4, "{subscriber}: {pauses:?}");
            // A group of 250 pages fills nearly all of its part.
            let expected = 1.0 / GROUPS - SPREAD;
            assert!(pauses.iter().all(|pause| (expected..expected * 1.05).contains(pause)));
        }
    }

    /// A target with a second source has every second number.
    #[test]
    fn the_groups_of_few_targets_do_not_meet() {
        for (targets, step, most) in [(3, 1, 1), (4, 1, 1), (6, 1, 2), (4, 2, 1), (6, 2, 2)] {
            let begins: Vec<f64> =
                (0..targets).map(|target| PhaseHash(0).phase(target * step)).collect();
            let within = |begin: f64| {
                let after = |other: &&f64| (begin - **other).rem_euclid(1.0 / GROUPS) < SPREAD;
                begins.iter().filter(after).count()
            };
            let met = begins.iter().map(|begin| within(*begin)).max();
            assert!(met <= Some(most), "{targets} in steps of {step}: {met:?}");
        }
    }

    #[test]
    fn targets_are_scraped_at_different_times() {
        let mut of_all: Vec<_> = (0..1000).flat_map(|subscriber| phases(subscriber, 3)).collect();
        of_all.sort_by(f64::total_cmp);
        let mut counts = [0; 100];
        for phase in &of_all {
            counts[(phase * 100.0) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (10..=60).contains(count)), "{counts:?}");
    }
}
