//! The measures of a page that one pass extracts.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use llm_autoscaler_engines::{Measure, exposition::Extractor};

use crate::sampling::memory::Reservation;

/// The number of measures of a page that is usual, and is not counted in the budget of memory.
const USUAL_MEASURES: usize = 16;

/// The memory of one more measure without its past, in bytes: its recipe, compiled, and its flaws.
const MEASURE_BYTES: usize = 2 << 10;

/// The measures of all subscribers, and the extractor that finds them in one pass.
#[derive(Default)]
pub(crate) struct MeasureSet {
    /// The measures, in the order of the extracts.
    pub(crate) measures: Vec<Arc<Measure>>,
    /// The place of each measure, by its address.
    places: HashMap<usize, usize>,
    /// Finds all of them.
    pub(crate) extractor: Extractor,
}

impl MeasureSet {
    /// Compiles the extractor.
    pub(crate) fn new(measures: Vec<Arc<Measure>>) -> Self {
        let recipes: Vec<_> = measures.iter().map(|measure| measure.recipe.clone()).collect();
        let places = measures.iter().enumerate().map(|(place, measure)| (address(measure), place));
        let places = places.collect();
        Self { measures, places, extractor: Extractor::new(&recipes) }
    }

    /// Returns the number of measures.
    pub(crate) fn len(&self) -> usize {
        self.measures.len()
    }

    /// Returns the place of a measure.
    pub(crate) fn index(&self, measure: &Arc<Measure>) -> Option<usize> {
        self.places.get(&address(measure)).copied()
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
