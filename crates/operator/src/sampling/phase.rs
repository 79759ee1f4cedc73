//! The phase of a page: the part of each interval at which it is scraped.
//!
//! Pods are not scraped all at once, and those of one target not one by one: a step looks at all
//! pods of its target, whichever has a new sample. A target's pages are scraped in four groups, so
//! that its load is looked at every quarter of an interval, by four steps, however many pods there
//! are. Within a group the scrapes are spread over a part of the interval for which a step gathers
//! samples (`reconcile::task`).

use std::hash::{DefaultHasher, Hash, Hasher};

/// The number of groups of one subscriber's pages.
const GROUPS: f64 = 4.0;
/// The part of an interval over which the scrapes of a group are spread.
pub(crate) const SPREAD: f64 = 1.0 / 32.0;
/// The fractional part of the golden ratio. Its multiples are spread evenly, however many there
/// are.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// A page's place among those of a subscriber, as a hash in 32 bits that is always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    /// Returns the place of the page with this key.
    pub(crate) fn of(key: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self((hasher.finish() >> 32) as u32)
    }

    /// Returns the place as a fraction of a whole, less than 1.
    pub(crate) fn fraction(self) -> f64 {
        f64::from(self.0) / (f64::from(u32::MAX) + 1.0)
    }

    /// Returns the phase among the pages of the subscriber with this number, as a part of an
    /// interval, less than 1.
    pub(crate) fn phase(self, subscriber: u64) -> f64 {
        let place = self.fraction() * GROUPS;
        let of_group = place.floor() / GROUPS + place.fract() * SPREAD;
        (subscriber as f64 * GOLDEN + of_group).fract()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(subscriber: u64, pages: u32) -> Vec<f64> {
        let mut phases: Vec<_> =
            (0..pages).map(|page| Place::of(&page).phase(subscriber)).collect();
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
