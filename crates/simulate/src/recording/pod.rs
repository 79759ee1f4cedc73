//! The samples of one pod, one page after the other.

use std::collections::BTreeMap;

use llm_autoscaler_engines::{
    Buckets,
    exposition::{Scratch, Value},
    prometheus::{ScrapeId, Series},
};

use super::{
    cells::Grid,
    increases::{Increases, Start},
    series::{Measures, Quantity, Values},
};

/// A pod of the service.
///
/// A pod may be scraped twice: by two jobs, or by two replicas of a server. One scrape counts until
/// it has ended, and then another one, with its growth since. The same happens when a pod comes
/// back under its name at another address.
#[derive(Debug, Default)]
pub(super) struct Pod {
    scrapes: BTreeMap<ScrapeId, Scrape>,
    counting: Option<ScrapeId>,
    /// The time of the latest scrape, successful or not, and whether it was.
    pub(super) targeted: Option<(f64, bool)>,
}

/// The engine as one scrape has it.
#[derive(Debug, Clone, Default)]
pub(super) struct Scrape {
    increases: Increases,
    /// The time of the latest page.
    at: Option<f64>,
    in_flight: Option<f64>,
    /// The arrivals by which gauges and counters contradicted each other at the latest page.
    deficit: f64,
    /// The growth since the latest page of the scrape that counts.
    pending: Growth,
}

/// The growth between two pages of a pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Growth {
    pub(super) arrivals: f64,
    pub(super) ended: f64,
    pub(super) prompt_tokens: f64,
    pub(super) output_tokens: f64,
    pub(super) histograms: BTreeMap<Quantity, Buckets>,
    /// The requests at the latest page.
    pub(super) running: f64,
    pub(super) waiting: f64,
    /// The requests that were in flight on the engine that has begun anew; absent if none has.
    pub(super) restarted: Option<f64>,
}

/// A step of the pod from one page to the next.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Advance {
    /// The time of the page before; absent if there is none.
    pub(super) since: Option<f64>,
    pub(super) growth: Growth,
}

impl Pod {
    /// Returns the scrape with these labels. One at the address of the counting scrape is of the
    /// same engine, so it goes on from there: a job was renamed, or a second one was added.
    pub(super) fn scrape(&mut self, id: &ScrapeId) -> &mut Scrape {
        let known = self.counting.as_ref().filter(|counting| counting.host() == id.host());
        let former = known.and_then(|counting| self.scrapes.get(counting)).cloned();
        self.scrapes.entry(id.clone()).or_insert_with(|| {
            let former = former.unwrap_or_default();
            Scrape { pending: Growth::default(), ..former }
        })
    }

    /// Returns true if the pod had a page before.
    pub(super) fn has_page(&self) -> bool {
        self.counting.is_some()
    }

    /// Returns the labels of the scrape that counts, unless it has ended at this time.
    pub(super) fn counting(&self, at: f64, grid: Grid) -> Option<&ScrapeId> {
        let counting = self.counting.as_ref()?;
        let latest = self.scrapes.get(counting)?.at?;
        (!grid.is_late(at - latest)).then_some(counting)
    }

    /// Adds the growth of a page that a scrape had at this time. Returns the step of the pod, or
    /// `None` if another scrape counts.
    pub(super) fn advance(
        &mut self,
        id: &ScrapeId,
        at: f64,
        growth: Growth,
        grid: Grid,
    ) -> Option<Advance> {
        let is_other = self.counting(at, grid).is_some_and(|counting| counting != id);
        let latest = self.counting.as_ref().and_then(|counting| self.scrapes.get(counting)?.at);
        let moved = self.counting.as_ref().filter(|counting| counting.host() != id.host());
        let cut_off = moved.and_then(|counting| self.scrapes.get(counting)?.in_flight);
        let scrape = self.scrapes.get_mut(id)?;
        scrape.at = Some(at);
        scrape.pending.add(growth);
        if is_other {
            return None;
        }
        let mut growth = std::mem::take(&mut scrape.pending);
        growth.restarted = growth.restarted.or(cut_off);
        for other in self.scrapes.values_mut() {
            other.pending = Growth::default();
        }
        self.counting = Some(id.clone());
        Some(Advance { since: latest, growth })
    }

    /// Forgets scrapes that have ended before this time, but for the one that counts.
    pub(super) fn forget(&mut self, before: f64) {
        let counting = self.counting.clone();
        self.scrapes.retain(|id, scrape| {
            Some(id) == counting.as_ref() || scrape.at.is_some_and(|at| at >= before)
        });
    }

    /// Returns the time of the latest sample of the pod.
    pub(super) fn latest(&self) -> Option<f64> {
        let scrapes = self.scrapes.values().filter_map(|scrape| scrape.at);
        scrapes.chain(self.targeted.map(|(at, _)| at)).max_by(f64::total_cmp)
    }
}

impl Scrape {
    /// Returns the place of a counter.
    pub(super) fn place(&mut self, series: &Series, labels: &[(&str, &str)]) -> usize {
        let mut key = series.name.to_string();
        for (name, value) in labels {
            key.extend(["\n", name, "\n", value]);
        }
        self.increases.place(key)
    }

    /// Returns the growth of a page: its series, each with the place of its counter, or without one
    /// if it is a gauge.
    pub(super) fn read(
        &mut self,
        page: &[(&Series, Option<usize>, f64)],
        measures: &Measures,
        start: Start,
        scratch: &mut Scratch,
    ) -> Growth {
        let counters: Vec<(usize, f64)> =
            page.iter().filter_map(|(_, place, value)| Some(((*place)?, *value))).collect();
        let increased = self.increases.step(&counters, start);
        let mut by = increased.by.into_iter();
        let samples: Vec<(&Series, f64)> = page
            .iter()
            .map(|(series, place, value)| {
                let value = if place.is_some() { by.next().unwrap_or_default() } else { *value };
                (*series, value)
            })
            .collect();
        let mut extracts = Vec::new();
        let series = samples.iter().map(|(series, value)| (&*series.name, *series, *value));
        measures.extractor().collect(series, scratch, &mut extracts);
        let values = measures.quantities().zip(extracts.into_iter().map(|extract| extract.value));
        let values: Values = values.collect();
        self.growth(values, increased.is_restarted, start)
    }

    /// Requests arrive if more of them have ended, or are in flight, than before.
    fn growth(&mut self, mut values: Values, is_restarted: bool, start: Start) -> Growth {
        let number = |quantity| match values.get(&quantity) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        };
        let [ended, prompt_tokens, output_tokens] =
            [Quantity::Ended, Quantity::PromptTokens, Quantity::OutputTokens]
                .map(|quantity| number(quantity).unwrap_or_default());
        let in_flight = number(Quantity::InFlight).or(self.in_flight).unwrap_or_default();
        let running = number(Quantity::Running).unwrap_or_default();
        let waiting = number(Quantity::Waiting).unwrap_or_default();
        let restarted = is_restarted.then(|| self.in_flight.unwrap_or_default());
        let before = match self.in_flight {
            Some(before) if !is_restarted => before,
            None if start == Start::Unknown => in_flight,
            Some(_) | None => 0.0,
        };
        let deficit = if is_restarted { 0.0 } else { self.deficit };
        let arrivals = ended + in_flight - before - deficit;
        self.deficit = (-arrivals).max(0.0);
        self.in_flight = Some(in_flight);
        let mut histograms = BTreeMap::new();
        for quantity in
            [Quantity::FirstTokens, Quantity::BetweenTokens, Quantity::Prompts, Quantity::Answers]
        {
            if let Some(Value::Buckets(buckets)) = values.remove(&quantity) {
                histograms.insert(quantity, buckets);
            }
        }
        Growth {
            arrivals: arrivals.max(0.0),
            ended,
            prompt_tokens,
            output_tokens,
            histograms,
            running,
            waiting,
            restarted,
        }
    }
}

impl Growth {
    fn add(&mut self, later: Self) {
        self.arrivals += later.arrivals;
        self.ended += later.ended;
        self.prompt_tokens += later.prompt_tokens;
        self.output_tokens += later.output_tokens;
        for (quantity, buckets) in later.histograms {
            self.histograms.entry(quantity).or_default().add(&buckets);
        }
        (self.running, self.waiting) = (later.running, later.waiting);
        self.restarted = later.restarted.or(self.restarted);
    }
}
