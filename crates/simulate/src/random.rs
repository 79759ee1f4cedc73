//! Random numbers by seed. Each use has a generator of its own, so that one more draw here changes
//! no draw there.

use fastrand::Rng;

/// Returns the generator of a use, by the seed of the run.
pub(crate) fn generator(seed: u64, of: Use) -> Rng {
    // An odd constant spreads neighbouring seeds; it is that of SplitMix64.
    Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ of as u64)
}

/// The difference between the seeds of two pools of one run.
pub(crate) const POOL_SEEDS: u64 = 0x5851_F42D_4C95_7F2D;

/// A use of random numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Use {
    /// The times of arrivals.
    Arrivals = 0x11,
    /// The lengths of prompts and answers.
    Lengths = 0x22,
    /// The start-up times of replicas.
    Starts = 0x33,
    /// The faults of scrapes and of replicas.
    Faults = 0x44,
    /// The choices of the router.
    Router = 0x55,
}

/// Returns a number of the exponential distribution with mean 1.
pub(crate) fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

/// Returns a number of the normal distribution, by the method of Box and Muller.
pub(crate) fn normal(rng: &mut Rng) -> f64 {
    let (radius, angle) = ((2.0 * exponential(rng)).sqrt(), std::f64::consts::TAU * rng.f64());
    radius * angle.cos()
}

/// Returns a number of the lognormal distribution with this median.
pub(crate) fn lognormal(rng: &mut Rng, median: f64, sigma: f64) -> f64 {
    median * (sigma * normal(rng)).exp()
}
