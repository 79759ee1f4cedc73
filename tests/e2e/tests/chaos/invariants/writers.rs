//! One copy writes: no write is received after another copy has taken the Lease.

use super::Violation;
use crate::evidence::{Request, Second, Timeline};

const ONE_WRITER: &str = "one copy writes";

pub(crate) fn check(timeline: &Timeline) -> Vec<Violation> {
    let mut holder: Option<Holder<'_>> = None;
    let mut found = Vec::new();
    for request in &timeline.requests {
        if request.takes_lease() {
            let before = holder.filter(|it| it.process == request.process);
            let since = before.map_or(request.answered, |it| it.since);
            holder = Some(Holder { process: &request.process, since, named: request.answered });
            continue;
        }
        // The end of an API server loses the last lines of its log, and so perhaps a holder.
        holder = holder.filter(|it| !timeline.has_lost_lines(it.named, request.received));
        if request.is_accepted_write()
            && let Some(Holder { process, since, .. }) = holder
            && process != request.process
            && request.received > since
        {
            let evidence = format!(
                "it has written {} of {}, {:.2} s after {process} had taken the Lease",
                request.resource,
                request.object,
                request.received - since,
            );
            found.push(Violation::new(ONE_WRITER, request.received, &request.process, evidence));
        }
    }
    found
}

/// The process that the Lease names.
#[derive(Clone, Copy)]
struct Holder<'a> {
    process: &'a str,
    /// The time since which it is named.
    since: Second,
    /// The time of the last write that named it.
    named: Second,
}

/// Returns the number of accepted writes that were received before another copy took the Lease, and
/// answered after that.
pub(crate) fn overtaken(timeline: &Timeline) -> usize {
    let takes: Vec<_> = timeline.requests.iter().filter(|it| it.takes_lease()).collect();
    let is_overtaken = |write: &&Request| {
        takes.iter().any(|take| {
            take.process != write.process
                && take.answered > write.received
                && take.answered < write.answered
        })
    };
    timeline.requests.iter().filter(|it| it.is_accepted_write()).filter(is_overtaken).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        evidence::Reach,
        invariants::examples::{disturbed, lease, scale, status, timeline},
    };

    #[test]
    fn a_write_after_another_copy_has_taken_the_lease_is_found() {
        let long = |from: f64, until: f64| Request { answered: until, ..scale("one", from, 3) };
        // requests after a Lease of "one" at 0 s; the number of double writes
        let table = [
            (vec![scale("one", 5.0, 3), lease("one", 6.0), scale("one", 7.0, 4)], 0),
            (vec![lease("two", 5.0), scale("two", 6.0, 3)], 0),
            (vec![lease("two", 5.0), scale("one", 6.0, 3)], 1),
            (vec![lease("two", 5.0), status("one", 6.0, true)], 1),
            (vec![lease("two", 5.0), lease("one", 6.0), scale("one", 7.0, 3)], 0),
            (vec![lease("two", 5.0), Request { code: 409, ..scale("one", 6.0, 3) }], 0),
            // It was on its way before.
            (vec![lease("two", 5.0), long(4.9, 5.2)], 0),
        ];
        for (row, (requests, expected)) in table.into_iter().enumerate() {
            let mut timeline = timeline(3);
            timeline.requests.extend(requests);
            assert_eq!(check(&timeline).len(), expected, "row {row}");
        }
    }

    #[test]
    fn lines_that_a_killed_api_server_has_lost_may_have_named_another_holder() {
        let mut timeline = timeline(3);
        timeline.requests.push(scale("two", 30.0, 3));
        assert_eq!(check(&timeline).len(), 1);
        timeline.disturbed.push(disturbed(Reach::ApiServer, 20.0, 25.0));
        assert_eq!(check(&timeline).len(), 1, "it was slow, and its log is whole");
        timeline.disturbed[0].what = "API server killed".to_owned();
        assert_eq!(check(&timeline).len(), 0);
        timeline.requests.insert(1, lease("one", 26.0));
        assert_eq!(check(&timeline).len(), 1, "the holder has been named since");
    }
}
