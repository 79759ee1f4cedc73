//! The requests of the API server, by its own metrics.

use std::collections::BTreeMap;

use anyhow::Result;
use llm_autoscaler_e2e::Stage;
use tokio::time::Instant;

/// The requests by verb and resource.
const REQUESTS: &str = "apiserver_request_total{";
/// The most requests in flight within the last second, without watches.
const IN_FLIGHT: &str = "apiserver_current_inflight_requests{";
/// The requests that no priority level had room for.
const REJECTED: &str = "apiserver_flowcontrol_rejected_requests_total{";
/// The seats of the priority levels.
const SEATS: &str = "apiserver_flowcontrol_nominal_limit_seats{";

/// The counters at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    counts: BTreeMap<String, f64>,
    rejected: f64,
}

/// The most that was seen at once, and in a second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peak {
    pub(crate) in_flight: f64,
    pub(crate) per_second: f64,
    before: Option<(Instant, f64)>,
}

/// Returns the value of a label.
fn label<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(&format!("{name}=\"")).nth(1)?.split('"').next()
}

fn value(line: &str) -> f64 {
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

impl Requests {
    /// Reads the counters.
    pub(crate) async fn of(stage: &Stage) -> Result<Self> {
        Ok(Self::parse(&stage.control_plane().metrics().await?))
    }

    fn parse(page: &str) -> Self {
        let mut found = Self::default();
        for line in page.lines() {
            if line.starts_with(REJECTED) {
                found.rejected += value(line);
            }
            if !line.starts_with(REQUESTS) {
                continue;
            }
            let (Some(verb), Some(resource)) = (label(line, "verb"), label(line, "resource"))
            else {
                continue;
            };
            let subresource = label(line, "subresource").filter(|it| !it.is_empty());
            let name = match subresource {
                Some(subresource) => format!("{verb} {resource}/{subresource}"),
                None => format!("{verb} {resource}"),
            };
            *found.counts.entry(name).or_default() += value(line);
        }
        found
    }

    /// Returns the requests since an earlier moment, those that are many, as a line.
    pub(crate) fn since(&self, before: &Self) -> String {
        let was = |name: &str| before.counts.get(name).copied().unwrap_or_default();
        let mut made: Vec<_> =
            self.counts.iter().map(|(name, count)| (name, count - was(name))).collect();
        made.retain(|(_, count)| *count >= 10.0);
        made.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut texts: Vec<String> =
            made.iter().map(|(name, count)| format!("{count:.0} {name}")).collect();
        let rejected = self.rejected - before.rejected;
        if rejected > 0.0 {
            texts.push(format!("{rejected:.0} of them refused with 429"));
        }
        texts.join(", ")
    }
}

impl Peak {
    /// Looks at the API server, which is to be done once a second.
    pub(crate) async fn observe(&mut self, stage: &Stage) -> Result<()> {
        let page = stage.control_plane().metrics().await?;
        let in_flight: f64 =
            page.lines().filter(|line| line.starts_with(IN_FLIGHT)).map(value).sum();
        self.in_flight = self.in_flight.max(in_flight);
        let all = Requests::parse(&page).counts.values().sum();
        let now = Instant::now();
        if let Some((at, before)) = self.before.replace((now, all)) {
            self.per_second = self.per_second.max((all - before) / (now - at).as_secs_f64());
        }
        Ok(())
    }
}

/// Returns the requests that each priority level may have in flight, as a line.
pub(crate) async fn seats(stage: &Stage) -> Result<String> {
    let page = stage.control_plane().metrics().await?;
    let levels = page.lines().filter(|line| line.starts_with(SEATS));
    let texts = levels
        .filter_map(|line| Some(format!("{} {:.0}", label(line, "priority_level")?, value(line))));
    Ok(texts.collect::<Vec<_>>().join(", "))
}
