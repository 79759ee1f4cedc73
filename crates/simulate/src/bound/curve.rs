//! The share of requests that miss the promise, by the share of time that replicas are busy.

/// A slot of a run: the busy share of its replicas, its arrivals, and those that missed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observed {
    pub(super) busy: f64,
    pub(super) arrived: f64,
    pub(super) missed: f64,
}

/// A logistic curve.
#[derive(Debug, Clone, Copy)]
pub(super) struct MissCurve {
    /// The busy share at which half of the requests miss.
    half: f64,
    steepness: f64,
}

impl Default for MissCurve {
    fn default() -> Self {
        Self { half: 0.8, steepness: 20.0 }
    }
}

impl MissCurve {
    /// Returns the share of misses.
    pub(super) fn share(&self, busy: f64) -> f64 {
        1.0 / (1.0 + (self.steepness * (self.half - busy)).exp())
    }

    /// Returns the most likely curve of a grid.
    pub(super) fn fitted(observed: &[Observed]) -> Self {
        let halves = (20..=60).map(|half| f64::from(half) / 50.0);
        let curves = halves.flat_map(|half| {
            (4..=20).map(move |steepness| Self { half, steepness: 2.0 * f64::from(steepness) })
        });
        let likelihoods = curves.map(|curve| (curve.log_likelihood(observed), curve));
        let best = likelihoods.max_by(|(a, _), (b, _)| a.total_cmp(b));
        best.map_or_else(Self::default, |(_, curve)| curve)
    }

    fn log_likelihood(&self, observed: &[Observed]) -> f64 {
        let slots = observed.iter().map(|slot| {
            let share = self.share(slot.busy).clamp(1e-6, 1.0 - 1e-6);
            slot.missed * share.ln() + (slot.arrived - slot.missed) * (1.0 - share).ln()
        });
        slots.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_finds_the_curve_that_the_slots_are_of() {
        let truth = MissCurve { half: 0.7, steepness: 24.0 };
        let slots: Vec<Observed> = (0..100)
            .map(|index| {
                let busy = f64::from(index) / 100.0;
                Observed { busy, arrived: 1_000.0, missed: 1_000.0 * truth.share(busy) }
            })
            .collect();
        let found = MissCurve::fitted(&slots);
        assert!((found.half - 0.7).abs() < 0.011 && (found.steepness - 24.0).abs() < 2.1);
    }
}
