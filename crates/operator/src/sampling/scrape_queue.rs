//! The queue of the pages that wait for their next scrape.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::{sync::Notify, task::AbortHandle, time::Instant};

use crate::{
    lock::lock,
    sampling::{
        page_state::Page,
        scrapes::{Kept, Place, State},
    },
};

/// The pages that wait, by the moments of their next looks.
#[derive(Default)]
pub(crate) struct ScrapeQueue {
    /// The address of a page tells it from others of the same moment.
    pages: Mutex<BTreeMap<(Instant, usize), Arc<Page>>>,
    /// Notified when a page comes before all others.
    sooner: Notify,
}

impl ScrapeQueue {
    /// Begins to look at a page, first at this moment.
    pub(crate) fn begin(&self, page: &Arc<Page>, first: Instant) {
        let mut state = page.sampler.state();
        state.kept = Some(Kept::new(first));
        self.queue(&mut state, page, first);
    }

    /// Has a page looked at at once, because something has changed.
    pub(crate) fn note_change(&self, page: &Arc<Page>) {
        let mut state = page.sampler.state();
        state.has_changed = true;
        if let Place::Queued(at) = state.place {
            let now = Instant::now();
            if now < at && self.remove(at, page) {
                self.queue(&mut state, page, now);
            }
        }
    }

    /// Ends the looks at a page, also one that is under way.
    pub(crate) fn end(&self, page: &Arc<Page>) {
        let mut state = page.sampler.state();
        match std::mem::take(&mut state.place) {
            Place::Nowhere => {}
            Place::Queued(at) => drop(self.remove(at, page)),
            Place::LookedAt(task) => task.abort(),
        }
        state.kept = None;
    }

    /// Begins the look at a page at its moment, unless it has another place by now. `spawn`
    /// begins the task, which is told whether something has changed.
    pub(crate) fn look_at(
        &self,
        at: Instant,
        page: &Arc<Page>,
        spawn: impl FnOnce(Kept, bool) -> AbortHandle,
    ) {
        // Its task cannot give it back before it has its place.
        let mut state = page.sampler.state();
        if self.remove(at, page)
            && let Some(kept) = state.kept.take()
        {
            let has_changed = std::mem::take(&mut state.has_changed);
            state.place = Place::LookedAt(spawn(kept, has_changed));
        }
    }

    /// Ends a look at a page: it is queued again, unless it has ended.
    pub(crate) fn put_back(&self, page: &Arc<Page>, kept: Kept) {
        let mut state = page.sampler.state();
        if matches!(state.place, Place::LookedAt(_)) {
            let at = if state.has_changed { Instant::now() } else { kept.schedule.next() };
            state.kept = Some(kept);
            self.queue(&mut state, page, at);
        }
    }

    /// Returns the page that is next, and its moment.
    pub(crate) fn first(&self) -> Option<(Instant, Arc<Page>)> {
        let pages = lock(&self.pages);
        pages.first_key_value().map(|((at, _), page)| (*at, page.clone()))
    }

    /// Returns once a page has come before all others.
    pub(crate) async fn sooner(&self) {
        self.sooner.notified().await;
    }

    fn queue(&self, state: &mut State, page: &Arc<Page>, at: Instant) {
        state.place = Place::Queued(at);
        let mut pages = lock(&self.pages);
        let is_first = pages.first_key_value().is_none_or(|((first, _), _)| at < *first);
        pages.insert((at, address(page)), page.clone());
        drop(pages);
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// Removes a page. Returns whether it was there, at this moment.
    fn remove(&self, at: Instant, page: &Arc<Page>) -> bool {
        lock(&self.pages).remove(&(at, address(page))).is_some()
    }
}

fn address(page: &Arc<Page>) -> usize {
    Arc::as_ptr(page).addr()
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Receiver, channel},
        time::Duration,
    };

    use super::*;
    use crate::sampling::{
        connection::Address,
        feed::FeedRegistry,
        page_state::{PageKey, PageSubscription},
    };

    fn page(number: u16) -> Arc<Page> {
        let address =
            Address { ip: [10, 0, 0, 7].into(), port: number, tls: false, path: "/".into() };
        let key = PageKey {
            namespace: "ns".into(),
            pod_uid: number.to_string().into(),
            address,
            access: Arc::default(),
        };
        let (second, wake) = (Duration::from_secs(1), Arc::default());
        let subscription =
            PageSubscription { interval: second, timeout: second, measures: [].into(), wake };
        let registry = FeedRegistry::default();
        registry.subscribe(registry.new_subscriber(), &key, subscription, |_, _| {})
    }

    fn next(queue: &ScrapeQueue) -> Option<(Instant, String)> {
        queue.first().map(|(at, page)| (at, page.key.pod_uid.to_string()))
    }

    /// Begins the look at the page that is next. Returns what its task got, and its end.
    fn look(queue: &ScrapeQueue) -> Option<((Kept, bool), Receiver<()>)> {
        let (at, page) = queue.first()?;
        let ((sender, ended), mut got) = (channel(), None);
        queue.look_at(at, &page, |kept, has_changed| {
            got = Some((kept, has_changed));
            #[expect(clippy::disallowed_methods, reason = "it stands for the task of a look")]
            let task = tokio::spawn(async move {
                let _sender = sender;
                std::future::pending::<()>().await;
            });
            task.abort_handle()
        });
        got.map(|got| (got, ended))
    }

    #[tokio::test]
    async fn pages_come_in_the_order_of_their_moments_and_at_once_when_something_changes() {
        let (queue, now) = (ScrapeQueue::default(), Instant::now());
        let (first, second) = (page(1), page(2));
        queue.begin(&second, now + Duration::from_secs(20));
        queue.begin(&first, now + Duration::from_secs(10));
        assert_eq!(next(&queue), Some((now + Duration::from_secs(10), "1".to_owned())));
        queue.note_change(&second);
        queue.note_change(&second);
        assert_eq!(next(&queue).unwrap().1, "2");

        let ((kept, has_changed), _task) = look(&queue).unwrap();
        assert!(has_changed && next(&queue).unwrap().1 == "1", "it is not there while it runs");
        queue.put_back(&second, kept);
        assert_eq!(next(&queue).unwrap().1, "1", "the change has been seen");
        let ((kept, has_changed), _task) = look(&queue).unwrap();
        assert!(!has_changed);
        queue.note_change(&first);
        assert_eq!(next(&queue).unwrap().1, "2", "one look at a time");
        queue.put_back(&first, kept);
        assert_eq!(next(&queue).unwrap().1, "1", "it has changed since the look began");
    }

    #[tokio::test]
    async fn a_page_that_ends_takes_its_place_and_its_look_with_it() {
        let (queue, now) = (ScrapeQueue::default(), Instant::now());
        let (waiting, looked_at) = (page(1), page(2));
        queue.begin(&looked_at, now);
        queue.begin(&waiting, now);
        queue.end(&waiting);
        queue.note_change(&waiting);
        let ((kept, _), ended) = look(&queue).unwrap();
        queue.end(&looked_at);
        while ended.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
            tokio::task::yield_now().await;
        }
        queue.put_back(&looked_at, kept);
        assert!(queue.first().is_none());
    }

    /// Its moment was read before it was moved.
    #[tokio::test]
    async fn a_page_that_has_another_place_by_now_is_not_looked_at() {
        let (queue, now, page) = (ScrapeQueue::default(), Instant::now(), page(1));
        queue.begin(&page, now + Duration::from_secs(1));
        let (at, _) = queue.first().unwrap();
        queue.note_change(&page);
        queue.look_at(at, &page, |_, _| panic!("it was looked at"));
        assert!(look(&queue).is_some());
    }
}
