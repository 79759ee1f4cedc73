//! Random numbers that a seed determines, so that a run can be repeated.

/// A generator of random parts of cases.
pub(crate) struct Random(fastrand::Rng);

impl Random {
    /// Creates a generator. Two generators with the same seed produce the same cases.
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Returns a number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0.i64(low..=high)
    }

    /// Returns true in `percent` of 100 calls.
    pub(crate) fn chance(&mut self, percent: i64) -> bool {
        self.between(0, 99) < percent
    }

    /// Picks one of several borrowed values, such as strings.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.0.usize(..of.len())]
    }

    /// Picks one of several values.
    pub(crate) fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.usize(..of.len())]
    }

    /// Makes a list of at most `most` entries; `one` gets the index of the entry it makes.
    pub(crate) fn list<T>(
        &mut self,
        most: i64,
        mut one: impl FnMut(&mut Self, i64) -> T,
    ) -> Vec<T> {
        let count = self.between(0, most);
        (0..count).map(|index| one(self, index)).collect()
    }
}
