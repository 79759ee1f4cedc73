//! The measures of a page that one pass extracts.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, Weak},
};

use llm_autoscaler_engines::{Measure, exposition::Extractor};

use crate::{lock::lock, sampling::memory::Reservation};

/// The number of measures up to which a search one by one is faster than a hash map.
const FEW: usize = 16;

/// The number of measures of a page that is usual, and is not counted in the budget of memory.
const USUAL_MEASURES: usize = 16;

/// The memory of one more measure without its past, in bytes: its recipe, compiled, and its flaws.
const MEASURE_BYTES: usize = 2 << 10;

/// The measures of all subscribers, and the extractor that finds them in one pass. Pages with the
/// same measures share it.
#[derive(Default)]
pub(crate) struct MeasureSet {
    /// The measures, in the order of the extracts.
    pub(crate) measures: Vec<Arc<Measure>>,
    /// The place of each measure, by its address, if there are many.
    places: HashMap<usize, usize>,
    /// Finds all of them.
    pub(crate) extractor: Extractor,
}

/// The sets that pages have. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct MeasureSets(Arc<Mutex<HashMap<Vec<usize>, Weak<MeasureSet>>>>);

impl MeasureSets {
    /// Returns the set of these measures, in this order.
    pub(crate) fn get(&self, measures: Vec<Arc<Measure>>) -> Arc<MeasureSet> {
        let key: Vec<usize> = measures.iter().map(address).collect();
        // A set keeps its measures alive, so while it lives their addresses are theirs.
        if let Some(known) = lock(&self.0).get(&key).and_then(Weak::upgrade) {
            return known;
        }
        // Compiling takes a while, so others need not wait for it.
        let set = Arc::new(MeasureSet::new(measures));
        let mut sets = lock(&self.0);
        if sets.len() >= sets.capacity() {
            sets.retain(|_, set| set.strong_count() > 0);
        }
        sets.insert(key, Arc::downgrade(&set));
        set
    }
}

impl MeasureSet {
    fn new(measures: Vec<Arc<Measure>>) -> Self {
        let recipes: Vec<_> = measures.iter().map(|measure| measure.recipe.clone()).collect();
        let places = measures.iter().enumerate().map(|(place, measure)| (address(measure), place));
        let places = if measures.len() > FEW { places.collect() } else { HashMap::new() };
        Self { measures, places, extractor: Extractor::new(&recipes) }
    }

    /// Returns the number of measures.
    pub(crate) fn len(&self) -> usize {
        self.measures.len()
    }

    /// Returns the place of a measure.
    pub(crate) fn index(&self, measure: &Arc<Measure>) -> Option<usize> {
        if self.measures.len() > FEW {
            return self.places.get(&address(measure)).copied();
        }
        self.measures.iter().position(|known| Arc::ptr_eq(known, measure))
    }
}

/// Returns the address of a measure. Measures are interned, so their addresses identify them.
pub(crate) fn address(measure: &Arc<Measure>) -> usize {
    Arc::as_ptr(measure).addr()
}

/// Returns each measure once, in the order of its first occurrence.
pub(crate) fn distinct<'a>(measures: impl Iterator<Item = &'a Arc<Measure>>) -> Vec<Arc<Measure>> {
    let mut known = HashSet::new();
    measures.filter(|measure| known.insert(address(measure))).cloned().collect()
}

/// Returns the memory of this many measures of a page without their pasts. The usual ones of an
/// autoscaler are part of what a page costs.
pub(crate) fn of_measures(measures: usize) -> usize {
    measures.saturating_sub(USUAL_MEASURES) * MEASURE_BYTES
}

/// Reserves memory for as many measures as possible, up to this number, and returns the number.
pub(crate) fn affordable(mut measures: usize, memory: &mut Reservation) -> usize {
    // The pasts of the former measures are reserved already, and stay so.
    while memory.grow_to(of_measures(measures)).is_err() {
        measures /= 2;
    }
    measures
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use llm_autoscaler_engines::{Kind, Recipe};

    use super::*;

    fn measures(names: std::ops::Range<usize>) -> Vec<Arc<Measure>> {
        let measure = |name| {
            let recipe = Recipe::series(Kind::Gauge, format!("q{name}"), []);
            Arc::new(Measure { recipe, window: Duration::ZERO })
        };
        names.map(measure).collect()
    }

    #[test]
    fn pages_with_the_same_measures_share_a_set_as_long_as_one_has_it() {
        let (sets, few) = (MeasureSets::default(), measures(0..2));
        let set = sets.get(few.clone());
        assert!(Arc::ptr_eq(&set, &sets.get(few.clone())));
        assert!(!Arc::ptr_eq(&set, &sets.get(few[..1].to_vec())), "others");
        assert!(!Arc::ptr_eq(&set, &sets.get(few.iter().rev().cloned().collect())), "the order");
        drop(set);
        for number in 0..1000 {
            drop(sets.get(measures(number..number + 1)));
        }
        assert!(lock(&sets.0).len() < 100, "sets without a page are forgotten");
    }

    #[test]
    fn a_measure_has_its_place_among_few_and_among_many() {
        for count in [1, FEW, FEW + 1, 5 * FEW] {
            let all = measures(0..count);
            let set = MeasureSets::default().get(all.clone());
            for (place, measure) in all.iter().enumerate() {
                assert_eq!(set.index(measure), Some(place), "of {count}");
            }
            assert_eq!(set.index(&measures(0..1)[0]), None);
        }
    }
}
