//! Listings, page by page, with a budget of bytes for each page.
//!
//! A number of objects limits no memory: a pod of ten kilobytes and one of a megabyte are one
//! object each, as their author likes. So the body of a page is read up to a budget. One
//! that is larger is given up, and asked for again with fewer objects, down to a single one.

use std::time::Duration;

use futures::AsyncReadExt;
use kube::{
    Api, Resource,
    api::ListParams,
    core::{ObjectList, Request},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::kube_api::{CallError, within};

/// The bytes of a page with more than one object. Parsed, they take about three times as many.
const BUDGET: u64 = 4 << 20;
/// The number of objects in the first page.
const FIRST: u32 = 50;
/// The largest number of objects in a page.
const MOST: u32 = 500;

/// The part of each object that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// Its metadata, which the API server cuts out of it.
    Metadata,
}

/// A listing. It is consistent: no parameter allows an old state from a cache, in which the API
/// server would ignore the size of a page too.
pub(crate) struct Pages<K> {
    api: Api<K>,
    part: Part,
    params: ListParams,
    /// The number of objects in the next page.
    limit: u32,
    /// The time for one page.
    deadline: Duration,
    /// True if the next page is asked for while one is parsed, which may take the API server as
    /// long.
    reads_ahead: bool,
    /// The body of the next page, where it was read ahead.
    ahead: Option<Result<Vec<u8>, CallError>>,
    is_done: bool,
}

/// The metadata of a page.
#[derive(Deserialize)]
struct Head {
    metadata: HeadMetadata,
}

#[derive(Deserialize)]
struct HeadMetadata {
    #[serde(rename = "continue")]
    token: Option<String>,
}

impl<K: Resource + Clone + DeserializeOwned> Pages<K> {
    /// Begins a listing. Each page has this deadline.
    pub(crate) fn new(api: Api<K>, deadline: Duration) -> Self {
        Self::of_part(api, Part::Whole, deadline)
    }

    /// Begins a listing of a part of each object. Each page has this deadline.
    pub(crate) fn of_part(api: Api<K>, part: Part, deadline: Duration) -> Self {
        let params = ListParams::default();
        let (limit, reads_ahead, ahead, is_done) = (FIRST, true, None, false);
        Self { api, part, params, limit, deadline, reads_ahead, ahead, is_done }
    }

    /// Begins with a page of at most this many objects, and reads none ahead.
    pub(crate) fn limited(self, limit: u32) -> Self {
        Self { limit, reads_ahead: false, ..self }
    }

    /// Begins where another listing of the same objects has come to: at its [`place`](Self::place).
    pub(crate) fn starting_at(mut self, place: Option<String>) -> Self {
        self.params.continue_token = place;
        self
    }

    /// Returns the place that the listing has come to; `None` at its beginning.
    pub(crate) fn place(&self) -> Option<String> {
        self.params.continue_token.clone()
    }

    /// Returns the next page; `None` after the last one.
    ///
    /// # Errors
    /// See [`CallError`]. The listing cannot go on.
    pub(crate) async fn next(&mut self) -> Result<Option<ObjectList<K>>, CallError> {
        if self.is_done {
            return Ok(None);
        }
        let body = match self.ahead.take() {
            Some(body) => body?,
            None => self.read().await?,
        };
        let Head { metadata } = serde_json::from_slice(&body).map_err(kube::Error::SerdeError)?;
        // A page that another one follows has as many objects as were asked for.
        let fitting =
            (BUDGET / 4 * 3).saturating_mul(u64::from(self.limit)) / (body.len() as u64).max(1);
        let fitting = u32::try_from(fitting).unwrap_or(MOST);
        self.limit = fitting.clamp(1, (2 * self.limit).min(MOST));
        let next = metadata.token.filter(|token| !token.is_empty());
        self.is_done = next.is_none();
        self.params.continue_token = next;
        let parse = async {
            // The request for the next page is sent first.
            tokio::task::yield_now().await;
            serde_json::from_slice(&body).map_err(kube::Error::SerdeError)
        };
        let page = if self.reads_ahead && !self.is_done {
            let (ahead, page) = tokio::join!(self.read(), parse);
            self.ahead = Some(ahead);
            page?
        } else {
            parse.await?
        };
        Ok(Some(page))
    }

    /// Reads the body of the next page.
    async fn read(&mut self) -> Result<Vec<u8>, CallError> {
        loop {
            match within(self.deadline, self.fetch()).await? {
                Some(body) => return Ok(body),
                None => self.limit = (self.limit / 4).max(1),
            }
        }
    }

    /// Reads the body of a page; `None` if it has several objects and more bytes than the budget.
    async fn fetch(&self) -> kube::Result<Option<Vec<u8>>> {
        let params = self.params.clone().limit(self.limit);
        let request = Request::new(self.api.resource_url());
        let request = match self.part {
            Part::Whole => request.list(&params),
            Part::Metadata => request.list_metadata(&params),
        };
        let request = request.map_err(kube::Error::BuildRequest)?;
        let client = self.api.clone().into_client();
        let stream = std::pin::pin!(client.request_stream(request).await?);
        let budget = if self.limit > 1 { BUDGET } else { u64::MAX - 1 };
        let mut body = Vec::new();
        stream.take(budget + 1).read_to_end(&mut body).await.map_err(kube::Error::ReadEvents)?;
        Ok((body.len() as u64 <= budget).then_some(body))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;
    use crate::kube_api::{
        DEADLINE,
        stand_in::{Answer, Received, StandIn},
    };

    /// Serves objects of these sizes in bytes.
    async fn serve(sizes: Vec<usize>) -> StandIn {
        StandIn::start(move |request: &Received| {
            let first = request.number("continue").unwrap_or(0);
            let end = sizes.len().min(first + request.number("limit").unwrap());
            let object = |index: usize| {
                let metadata = json!({"name": index.to_string(), "namespace": "ns"});
                json!({"metadata": metadata, "data": {"text": "x".repeat(sizes[index])}})
            };
            let items: Vec<_> = (first..end).map(object).collect();
            let next = if end < sizes.len() { end.to_string() } else { String::new() };
            Answer::Json(200, json!({"metadata": {"continue": next}, "items": items}))
        })
        .await
    }

    #[tokio::test]
    async fn a_page_has_at_most_4_mib_or_one_object() {
        let sizes = [vec![1000; 400], vec![1 << 20; 60], vec![6 << 20], vec![1000; 400]].concat();
        let count = sizes.len();
        let api = serve(sizes).await;
        let mut pages = Pages::<ConfigMap>::new(Api::all(api.client.clone()), DEADLINE);
        let (mut names, mut largest, mut most) = (Vec::new(), 0, 0);
        while let Some(page) = pages.next().await.unwrap() {
            let texts = page.items.iter().flat_map(|object| object.data.iter().flatten());
            let bytes: usize = texts.map(|(_, text)| text.len()).sum();
            if page.items.len() > 1 {
                largest = largest.max(bytes);
            }
            most = most.max(page.items.len());
            names.extend(page.items.into_iter().filter_map(|object| object.metadata.name));
        }
        let expected: Vec<_> = (0..count).map(|index| index.to_string()).collect();
        assert_eq!(names, expected, "each object once, in order");
        assert!(largest as u64 <= BUDGET, "{largest} bytes");
        assert!(most >= 100, "pages of small objects grow, to {most} objects");
        let requests = api.received(|_| true).len();
        assert!(requests <= 60, "{requests} requests");
    }

    #[tokio::test]
    async fn a_listing_begins_where_another_one_has_come_to() {
        let api = serve(vec![1; 120]).await;
        let pages = || Pages::<ConfigMap>::new(Api::all(api.client.clone()), DEADLINE);
        let name = |page: Option<ObjectList<ConfigMap>>| page?.items.first()?.metadata.name.clone();
        let mut first = pages();
        assert_eq!(first.place(), None);
        assert_eq!(name(first.next().await.unwrap()).as_deref(), Some("0"));
        let place = first.place();
        assert_eq!(name(first.next().await.unwrap()).as_deref(), Some("50"));
        let mut second = pages().starting_at(place);
        assert_eq!(name(second.next().await.unwrap()).as_deref(), Some("50"));
    }
}
