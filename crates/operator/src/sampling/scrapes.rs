//! What is kept of the scrapes of a page between them. A hundred thousand pages wait at any moment,
//! so that a page has no task and no timer while it waits.

use std::sync::{Mutex, MutexGuard};

use tokio::{task::AbortHandle, time::Instant};

use crate::{
    lock::lock,
    sampling::{connection::Connection, schedule::Schedule},
    supervise::Restarts,
};

/// The memory that is reserved for a page of unknown size, in bytes.
pub(super) const UNKNOWN: usize = 64 << 10;

/// The scrapes of one page.
///
/// A page is looked at when it is due, and when something has changed. A look is a task, and only
/// one of a page runs at a time.
#[derive(Default)]
pub(crate) struct Scrapes(Mutex<State>);

/// The state of a page's scrapes.
#[derive(Default)]
pub(super) struct State {
    pub(super) place: Place,
    /// True if something has changed since the latest look began.
    pub(super) has_changed: bool,
    /// `None` while the page is looked at, and once it has ended.
    pub(super) kept: Option<Kept>,
}

/// The place of a page.
#[derive(Default)]
pub(super) enum Place {
    /// It has not begun, or has ended.
    #[default]
    Nowhere,
    /// It waits in the queue for this moment.
    Queued(Instant),
    /// It is looked at by this task.
    LookedAt(AbortHandle),
}

/// What is kept of a page from one look to the next.
pub(super) struct Kept {
    pub(super) schedule: Schedule,
    pub(super) scraper: KeptScraper,
    /// Its panics, if there was one.
    pub(super) restarts: Option<Box<Restarts>>,
}

/// What is kept of a scraper from one scrape to the next.
#[derive(Debug)]
pub(super) struct KeptScraper {
    pub(super) connection: Connection,
    /// The memory that the next page will take, by what the latest one took.
    pub(super) expected: usize,
}

impl Scrapes {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl Kept {
    /// Begins with a scrape at this moment.
    pub(super) fn new(first: Instant) -> Self {
        let (schedule, scraper) = (Schedule::new(first), KeptScraper::default());
        Self { schedule, scraper, restarts: None }
    }
}

impl Default for KeptScraper {
    fn default() -> Self {
        Self { connection: Connection::default(), expected: UNKNOWN }
    }
}
