//! The schedules of the queries to one server: which of them are sent when.
//!
//! Each query has a schedule of its own, and is not sent again before it is answered. Ranges and
//! expressions have separate lanes, so that a spec's expensive expression never holds up the
//! samples of pods; and in each lane one place is left to queries that are answered quickly.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use futures::future::{AbortHandle, AbortRegistration};
use tokio::time::Instant;

use crate::sampling::{
    error::FetchError,
    prometheus::{
        demand::{QueryPace, ServerKey},
        query_plan::{QueryId, QueryPlan, QuerySettings, Wanted},
        splits::Splits,
    },
    schedule::{Schedule, Ticks},
};

/// The number of concurrent queries to one server in each lane.
const CONCURRENCY: usize = 4;
/// The number of those that may be slow or not known.
const SLOW_CONCURRENCY: usize = 3;
/// A query that takes longer is slow.
const QUICK: Duration = Duration::from_secs(1);

/// Queries that wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Series of pods.
    Ranges,
    /// Expressions of specs.
    Expressions,
}

/// The queries of one server, with their schedules.
pub(super) struct Scheduler {
    queries: BTreeMap<QueryId, ScheduledQuery>,
    splits: Splits,
    /// A query was refused since the plan was made.
    is_outdated: bool,
    /// All that has been answered since it was wanted, or has failed. The rest is queried at once.
    settled: HashSet<Wanted>,
    pace: QueryPace,
    /// The number of queries that share the server's limit of those at zero.
    crowd: usize,
    /// Makes the phases of this server differ from those of others.
    seed: u64,
}

struct ScheduledQuery {
    settings: QuerySettings,
    schedule: Schedule,
    /// Cancels the query that is in flight.
    flight: Option<AbortHandle>,
    /// The latest answer came quickly.
    is_quick: bool,
}

/// A query to send.
pub(super) struct DueQuery {
    pub(super) id: QueryId,
    pub(super) settings: QuerySettings,
    /// Cancels the query once no subscriber wants it.
    pub(super) registration: AbortRegistration,
}

/// The queries of a lane that are in flight.
#[derive(Clone, Copy, Default)]
struct InFlight {
    all: usize,
    slow: usize,
}

impl InFlight {
    fn has_room(self, is_quick: bool) -> bool {
        self.all < CONCURRENCY && (is_quick || self.slow < SLOW_CONCURRENCY)
    }
}

impl QueryId {
    /// Returns the lane of the query.
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Range(..) => Lane::Ranges,
            Self::Expression(_) => Lane::Expressions,
        }
    }
}

impl ScheduledQuery {
    fn new(settings: QuerySettings, schedule: Schedule) -> Self {
        Self { settings, schedule, flight: None, is_quick: false }
    }

    fn plan_next(&mut self, pace: QueryPace, crowd: usize, phase: f64, now: Instant) {
        let interval = pace.interval(self.settings.interval, crowd);
        self.schedule.plan_next(interval, Ticks::FromFirst(phase), now);
    }
}

impl Drop for ScheduledQuery {
    fn drop(&mut self) {
        if let Some(flight) = &self.flight {
            flight.abort();
        }
    }
}

impl Scheduler {
    /// Begins without queries.
    pub(super) fn new(server: &ServerKey) -> Self {
        let mut hasher = DefaultHasher::new();
        server.hash(&mut hasher);
        Self {
            queries: BTreeMap::new(),
            splits: Splits::default(),
            is_outdated: false,
            settled: HashSet::new(),
            pace: server.pace,
            crowd: 0,
            seed: hasher.finish(),
        }
    }

    /// Returns the range queries that were refused lately.
    pub(super) fn splits(&self) -> &Splits {
        &self.splits
    }

    /// Returns true if the plan is to be made again, because queries were refused, or because
    /// refusals are so long ago that they are forgotten.
    pub(super) fn is_outdated(&mut self, now: Instant) -> bool {
        self.splits.forget_expired(now) | std::mem::take(&mut self.is_outdated)
    }

    /// Returns the number of queries.
    pub(super) fn query_count(&self) -> usize {
        self.queries.len()
    }

    /// Sets the number of queries that share the server's limit of those at zero.
    pub(super) fn set_crowd(&mut self, crowd: usize) {
        self.crowd = crowd;
    }

    /// Takes over a plan. New demands are due at once, and queries that it lacks are cancelled.
    pub(super) fn set_plan(&mut self, plan: &QueryPlan, now: Instant) {
        let mut former = std::mem::take(&mut self.queries);
        let wanted = plan.wanted();
        self.settled.retain(|known| wanted.contains(known));
        let (kept, new): (Vec<_>, Vec<_>) =
            plan.queries.iter().partition(|(id, _)| former.contains_key(*id));
        for (id, settings) in kept {
            let Some(mut query) = former.remove(id) else { continue };
            if query.settings != *settings {
                query.settings = *settings;
                if query.flight.is_none() {
                    query.plan_next(self.pace, self.crowd, self.phase(id), now);
                }
            }
            self.queries.insert(id.clone(), query);
        }
        for (id, settings) in new {
            let schedule = self.successor(id, &former).unwrap_or_else(|| Schedule::new(now));
            self.queries.insert(id.clone(), ScheduledQuery::new(*settings, schedule));
        }
    }

    /// Returns the schedule of a query of series that other queries have read so far, and that need
    /// no new one before their time.
    fn successor(
        &self,
        id: &QueryId,
        former: &BTreeMap<QueryId, ScheduledQuery>,
    ) -> Option<Schedule> {
        let wanted = id.wanted();
        if !wanted.iter().all(|one| self.settled.contains(one)) {
            return None;
        }
        let has_some = |id: &QueryId| id.wanted().iter().any(|one| wanted.contains(one));
        let predecessors = former.iter().filter(|(id, _)| has_some(id));
        let schedules = predecessors.map(|(_, query)| &query.schedule);
        schedules.min_by_key(|schedule| schedule.next()).cloned()
    }

    /// Returns the queries to send now, those that have waited longest first. Each counts as in
    /// flight until [`Self::record`].
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<DueQuery> {
        let idle = self.queries.iter().filter(|(_, query)| query.flight.is_none());
        let due = idle.map(|(id, query)| (query.schedule.next(), id.clone()));
        let mut due: Vec<_> = due.filter(|(at, _)| *at <= now).collect();
        due.sort();
        let mut taken = Vec::new();
        for (_, id) in due {
            let in_flight = self.in_flight(id.lane());
            let Some(query) = self.queries.get_mut(&id) else { continue };
            if in_flight.has_room(query.is_quick) {
                let (flight, registration) = AbortHandle::new_pair();
                query.flight = Some(flight);
                taken.push(DueQuery { id, settings: query.settings, registration });
            }
        }
        taken
    }

    /// Returns the time of the next query that does not wait for another one.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let [ranges, expressions] = [Lane::Ranges, Lane::Expressions].map(|it| self.in_flight(it));
        let has_room = |(id, query): &(&QueryId, &ScheduledQuery)| match id.lane() {
            Lane::Ranges => ranges.has_room(query.is_quick),
            Lane::Expressions => expressions.has_room(query.is_quick),
        };
        let idle = self.queries.iter().filter(|(_, query)| query.flight.is_none());
        idle.filter(has_room).map(|(_, query)| query.schedule.next()).min()
    }

    fn in_flight(&self, lane: Lane) -> InFlight {
        let mut in_flight = InFlight::default();
        for (id, query) in &self.queries {
            if query.flight.is_some() && id.lane() == lane {
                in_flight.all += 1;
                in_flight.slow += usize::from(!query.is_quick);
            }
        }
        in_flight
    }

    /// Records the end of a query that took this long. Returns true if it was refused, and is asked
    /// again in parts.
    pub(super) fn record(
        &mut self,
        id: &QueryId,
        error: Option<&FetchError>,
        took: Duration,
        now: Instant,
    ) -> bool {
        let wanted = id.wanted();
        let is_refused = error.is_some_and(FetchError::may_be_of_a_part);
        if is_refused && let QueryId::Range(group, part) = id {
            self.splits.record_refusal(*group, part, now);
            self.is_outdated = true;
        }
        let is_split = is_refused && wanted.len() > 1;
        if is_split {
            self.settled.retain(|one| !wanted.contains(one));
        } else {
            self.settled.extend(wanted);
        }
        let (pace, crowd, phase) = (self.pace, self.crowd, self.phase(id));
        if let Some(query) = self.queries.get_mut(id) {
            query.flight = None;
            query.is_quick = took <= QUICK;
            query.schedule.record_read(error.is_none());
            query.plan_next(pace, crowd, phase, now);
        }
        is_split
    }

    /// Returns the query's own fraction of an interval, so that not all are sent together.
    fn phase(&self, id: &QueryId) -> f64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, id).hash(&mut hasher);
        (hasher.finish() % 4096) as f64 / 4096.0
    }
}

#[cfg(test)]
mod tests;
