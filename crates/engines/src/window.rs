//! Windows over time: the mean, the rate or the histogram of the recent samples of one recipe.
//!
//! All three are sums. A gauge's samples add up to an integral, a counter's steps to an increase, a
//! histogram's to an increase per bucket. A window is a few segments with a sum each, however often
//! a track is fed. It is never the difference of two running totals: one absurd sample, such as
//! -1 as an unsigned number, would swallow all that is added to it, and leave zero behind.

use std::{collections::VecDeque, num::NonZeroU64, time::Duration};

use crate::{buckets::Buckets, exposition::Value, kind::Kind, recipe::Recipe};

/// The number of segments per window. A window is therefore up to a sixteenth longer than its
/// nominal length.
const SEGMENTS: Nanos = 16;

/// The memory that an allocation takes beside its content, in bytes.
const PER_ALLOCATION: usize = 16;
/// The number of segments for which there is room when one more is needed. Thousands of pages have
/// windows, and doubling them would leave half of their memory unused.
const ROOM: usize = 2;

/// A quantity, and the window that its number is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Measure {
    /// The quantity.
    pub recipe: Recipe,
    /// The window; zero for the latest value.
    pub window: Duration,
}

/// A *track* is the recent past of one quantity of one page.
///
/// ```
/// use std::time::Duration;
///
/// use llm_autoscaler_engines::{Kind, Track, exposition::Value};
///
/// let seconds = Duration::from_secs;
/// let mut requests = Track::new(Kind::Counter, seconds(60), seconds(15));
/// requests.push(seconds(0), &Value::Number(1_000.0));
/// assert_eq!(requests.value(), Value::Absent); // no rate of a single sample
/// requests.push(seconds(10), &Value::Number(1_050.0));
/// requests.push(seconds(20), &Value::Number(10.0)); // the process has restarted
/// assert_eq!(requests.value(), Value::Number(3.0)); // 50 and 10 requests in 20 s
/// assert!(requests.is_young()); // less than half of the window is known
/// ```
#[derive(Clone, Debug)]
pub struct Track {
    kind: Kind,
    /// True if the latest page had the quantity.
    present: bool,
    /// The time of the latest page.
    at: Option<Moment>,
    /// The latest sample of the quantity, and its time.
    latest: Option<(Moment, Latest)>,
    /// The window. Most quantities have none.
    windowed: Option<Box<Windowed>>,
}

/// A length of time in nanoseconds: 584 years at most. It takes half of the memory of a
/// [`Duration`], of which thousands of pages have hundreds each.
type Nanos = u64;

/// A moment, as the nanoseconds since some fixed one, and one more: it is never zero, so that an
/// optional moment takes no more memory. After 584 years it stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(NonZeroU64);

/// A sample that is there. Thousands of pages have several each, and most are numbers.
#[derive(Clone, Debug)]
enum Latest {
    Number(f64),
    Buckets(Box<Buckets>),
}

/// A window, and its known part.
#[derive(Clone, Debug)]
struct Windowed {
    /// The length of the window; not zero.
    window: Nanos,
    /// The longest time that a gauge's sample covers.
    gap: Nanos,
    /// The segments, the oldest first. Samples are added to the last one.
    segments: VecDeque<Segment>,
    /// The time that the segments cover, and the sum of their numbers. They are added up when a
    /// sample comes, because they are read far more often.
    elapsed: Nanos,
    sum: f64,
}

/// A part of a window.
#[derive(Clone, Debug)]
struct Segment {
    /// The time of its first sample, which belongs to the segment before.
    start: Moment,
    /// The sum of a gauge or a counter.
    sum: f64,
    /// The sum of each bucket of a histogram.
    buckets: Box<[f64]>,
    /// The time that the sums cover.
    time: Nanos,
}

impl Track {
    /// Returns an empty track for a quantity of this kind, over this window. A window of zero
    /// stands for the latest sample: of a counter or histogram, the counts since the start of the
    /// process.
    ///
    /// A gauge's sample covers the time since the previous one, but no more than `gap`.
    pub fn new(kind: Kind, window: Duration, gap: Duration) -> Self {
        let windowed =
            (!window.is_zero()).then(|| Box::new(Windowed::new(nanos(window), nanos(gap))));
        Self { kind, present: false, at: None, latest: None, windowed }
    }

    /// Adds the value of a page. `at` is the time of the page since some fixed moment; a page that
    /// is not newer than the latest is ignored. A page without the quantity leaves the past as it
    /// is.
    pub fn push(&mut self, at: Duration, value: &Value) {
        let at = Moment::new(at);
        let Some(before) = self.at.replace(at) else { return self.begin(at, value) };
        if at <= before {
            self.at = Some(before);
            return;
        }
        self.present = *value != Value::Absent;
        if !self.present {
            return;
        }
        if let Some(windowed) = &mut self.windowed {
            let (since, latest) = match &self.latest {
                Some((since, latest)) => (*since, Some(latest)),
                // A counter that the previous page did not have has started at zero since then.
                None => (before, None),
            };
            windowed.accumulate(self.kind, (since, latest), at, value);
            windowed.begin_segment(at);
            windowed.add_up();
        }
        self.set_latest(at, value);
    }

    fn begin(&mut self, at: Moment, value: &Value) {
        self.present = *value != Value::Absent;
        if self.present {
            self.windowed.iter_mut().for_each(|windowed| windowed.begin_segment(at));
            self.set_latest(at, value);
        }
    }

    fn set_latest(&mut self, at: Moment, value: &Value) {
        match (value, &mut self.latest) {
            (Value::Absent, _) => {}
            (Value::Number(now), latest) => *latest = Some((at, Latest::Number(*now))),
            (Value::Buckets(now), Some((since, Latest::Buckets(known)))) => {
                *since = at;
                Buckets::clone_from(known, now);
            }
            (Value::Buckets(now), latest) => {
                *latest = Some((at, Latest::Buckets(Box::new(now.clone()))));
            }
        }
    }

    /// Returns true if a counter or histogram has one sample, and nothing to compare it with yet.
    pub fn is_pending(&self) -> bool {
        let needs_two = self.kind != Kind::Gauge && self.windowed.is_some();
        self.present && needs_two && self.elapsed() == 0
    }

    /// Returns true if less than half of the window is known. Such a value is good enough for a
    /// scale-up, not for a scale-down.
    pub fn is_young(&self) -> bool {
        // The window is halved, because a server may report any time, and doubling it may overflow.
        self.windowed.as_ref().is_some_and(|windowed| windowed.elapsed < windowed.window / 2)
    }

    /// Returns the mean of a gauge, the rate of a counter per second, or the events of a histogram.
    /// The value is absent if the latest page did not have the quantity, and while it is pending.
    pub fn value(&self) -> Value {
        let mut value = Value::Absent;
        self.value_into(&mut value);
        value
    }

    /// Writes the value of [`value`](Self::value) to `out`, and reuses its memory.
    pub fn value_into(&self, out: &mut Value) {
        let elapsed = seconds(self.elapsed());
        let is_latest = self.kind == Kind::Gauge || self.windowed.is_none();
        match &self.latest {
            Some((_, latest)) if self.present && is_latest && elapsed == 0.0 => {
                latest.value_into(out);
            }
            Some((_, Latest::Number(_))) if self.present && elapsed > 0.0 => {
                let sum = self.windowed.as_ref().map_or(0.0, |windowed| windowed.sum);
                *out = Value::Number(sum / elapsed);
            }
            Some((_, Latest::Buckets(latest))) if self.present && elapsed > 0.0 => {
                let buckets = 0..latest.bounds().len();
                let counts = buckets.map(|index| self.bucket(index)).collect();
                *out = Value::Buckets(Buckets::from_parts(latest.bounds().to_vec(), counts));
            }
            _ => *out = Value::Absent,
        }
    }

    /// Returns the sum of a bucket over the window.
    fn bucket(&self, index: usize) -> f64 {
        self.segments().filter_map(|segment| segment.buckets.get(index)).sum()
    }

    /// Returns the memory of the past, in bytes: what [`emptied`](Self::emptied) gives back. The
    /// track itself and the settings of its window are no part of it, so it is 0 for a number
    /// without a window. It grows with the number of buckets of a histogram.
    pub fn memory(&self) -> usize {
        let numbers = match &self.latest {
            Some((_, Latest::Buckets(latest))) => 2 * latest.bounds().len(),
            _ => 0,
        };
        let buckets = self.segments().filter(|segment| !segment.buckets.is_empty());
        let buckets = buckets.map(|segment| PER_ALLOCATION + size_of_val(&*segment.buckets));
        let segments = self.windowed.as_ref().map_or(0, |windowed| windowed.segments.capacity());
        segments * size_of::<Segment>() + buckets.sum::<usize>() + numbers * size_of::<f64>()
    }

    /// Returns the track of the same quantity without a past.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let emptied = |windowed: &Windowed| Windowed::new(windowed.window, windowed.gap);
        let windowed = self.windowed.as_deref().map(|windowed| Box::new(emptied(windowed)));
        Self { kind: self.kind, present: false, at: None, latest: None, windowed }
    }

    /// Returns the time of the window that is known.
    fn elapsed(&self) -> Nanos {
        self.windowed.as_ref().map_or(0, |windowed| windowed.elapsed)
    }

    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.windowed.iter().flat_map(|windowed| &windowed.segments)
    }
}

impl Latest {
    fn value_into(&self, out: &mut Value) {
        match (self, out) {
            (Self::Buckets(latest), Value::Buckets(out)) => out.clone_from(latest),
            (Self::Buckets(latest), out) => *out = Value::Buckets((**latest).clone()),
            (Self::Number(latest), out) => *out = Value::Number(*latest),
        }
    }
}

impl Moment {
    /// Returns the moment that is this long after the fixed one.
    fn new(time: Duration) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos(time)))
    }

    /// Returns the time since a moment; zero if that is later.
    fn since(self, earlier: Self) -> Nanos {
        self.0.get().saturating_sub(earlier.0.get())
    }
}

impl Windowed {
    /// Returns a window that has not begun.
    fn new(window: Nanos, gap: Nanos) -> Self {
        Self { window, gap, segments: VecDeque::new(), elapsed: 0, sum: 0.0 }
    }

    /// Adds the step from the latest sample to this one to the last segment.
    fn accumulate(
        &mut self,
        kind: Kind,
        (since, latest): (Moment, Option<&Latest>),
        at: Moment,
        value: &Value,
    ) {
        let segments = &mut self.segments;
        let is_other = |segment: &Segment| segment.has_other_bounds(value);
        if segments.iter().any(is_other) {
            // Other bounds mean another version of the engine, which has started at zero. Before
            // its first event a histogram may have no bounds at all.
            segments.clear();
        }
        if segments.is_empty() {
            push_segment(segments, since);
        }
        let Some(segment) = segments.back_mut() else { return };
        let elapsed = at.since(since);
        match (value, latest) {
            (Value::Number(now), Some(Latest::Number(_))) if kind == Kind::Gauge => {
                let stands_for = elapsed.min(self.gap);
                segment.add(now * seconds(stands_for));
                segment.time = segment.time.saturating_add(stands_for);
            }
            (Value::Number(_), _) if kind == Kind::Gauge => {}
            (Value::Number(now), latest) => {
                let before = if let Some(Latest::Number(before)) = latest { *before } else { 0.0 };
                segment.add(if *now < before { *now } else { now - before });
                segment.time = segment.time.saturating_add(elapsed);
            }
            (Value::Buckets(now), latest) => {
                let before = match latest {
                    Some(Latest::Buckets(before)) if has_grown(before, now) => Some(&**before),
                    _ => None,
                };
                segment.add_buckets(now, before);
                segment.time = segment.time.saturating_add(elapsed);
            }
            (Value::Absent, _) => {}
        }
    }

    /// Begins a segment if one is due, and drops those from before the window.
    fn begin_segment(&mut self, at: Moment) {
        let segments = &mut self.segments;
        let spacing = self.window / SEGMENTS;
        // Moments are what a server claims them to be, so sums of them may not fit.
        if segments.back().is_none_or(|last| at.since(last.start) >= spacing) {
            push_segment(segments, at);
        }
        let is_over = |next: &Segment| at.since(next.start) >= self.window;
        while segments.get(1).is_some_and(is_over) {
            segments.pop_front();
        }
    }

    /// Adds up what the segments have.
    fn add_up(&mut self) {
        let times = self.segments.iter().map(|segment| segment.time);
        self.elapsed = times.fold(0, Nanos::saturating_add);
        self.sum = self.segments.iter().map(|segment| segment.sum).sum();
    }
}

/// Begins a segment, with little more room than it needs.
fn push_segment(segments: &mut VecDeque<Segment>, start: Moment) {
    if segments.len() == segments.capacity() {
        segments.reserve_exact(ROOM);
    }
    segments.push_back(Segment { start, sum: 0.0, buckets: Box::default(), time: 0 });
}

fn nanos(time: Duration) -> Nanos {
    Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX)
}

fn seconds(time: Nanos) -> f64 {
    Duration::from_nanos(time).as_secs_f64()
}

impl Segment {
    fn add(&mut self, increase: f64) {
        self.sum += increase.max(0.0);
    }

    /// Adds the growth of each bucket of a histogram.
    fn add_buckets(&mut self, now: &Buckets, before: Option<&Buckets>) {
        if self.buckets.is_empty() {
            self.buckets = vec![0.0; now.counts().len()].into();
        }
        for (index, (sum, count)) in self.buckets.iter_mut().zip(now.counts()).enumerate() {
            let increase = count - before.map_or(0.0, |before| before.counts()[index]);
            *sum += increase.max(0.0);
        }
    }

    /// Returns true if it has buckets, and other ones than a histogram.
    fn has_other_bounds(&self, value: &Value) -> bool {
        let known = self.buckets.len();
        matches!(value, Value::Buckets(now) if known > 0 && known != now.bounds().len())
    }
}

/// Returns true if a histogram has only grown. Otherwise its process has restarted at zero.
fn has_grown(before: &Buckets, now: &Buckets) -> bool {
    before.bounds() == now.bounds()
        && before.counts().iter().zip(now.counts()).all(|(before, now)| now >= before)
}

#[cfg(test)]
mod tests;
