//! The parts of a query that a server does not understand, and how it is asked instead.
//!
//! Google's managed Prometheus refuses a regular expression for the name of a metric, and any
//! parameter that it does not know. A query that is refused with 400 or `bad_data` is sent in the
//! narrower form at once. Once that has an answer, the server is known to need it, until the usual
//! form is tried again.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use crate::{
    lock::lock,
    sampling::{
        error::FetchError,
        prometheus::instant_query::{InstantQuery, QueryResult},
    },
};

/// The time for which the narrower form is used before the usual one is tried again.
const REMEMBERED: Duration = Duration::from_mins(10);

/// The number of requests by name that are in flight at once, as of whole queries. A signal has up
/// to some twenty names, most of which a server does not have.
const AT_ONCE: usize = 4;

/// The parameters of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameters {
    /// Those of Prometheus, and those that only some servers know.
    All,
    /// Those that are in the documentation of Prometheus's API.
    Documented,
}

/// The forms of queries that one server needs.
#[derive(Debug, Default)]
pub(super) struct Dialect {
    names: Form,
    parameters: Form,
    by_name: ByName,
}

/// The places for requests by name, of all queries to a server together.
#[derive(Debug)]
struct ByName(Semaphore);

/// The time until which the narrower form is used.
#[derive(Debug, Default)]
struct Form(Mutex<Option<Instant>>);

impl Form {
    fn is_narrow(&self, now: Instant) -> bool {
        lock(&self.0).is_some_and(|until| now < until)
    }

    fn narrow(&self, now: Instant) {
        *lock(&self.0) = Some(now + REMEMBERED);
    }
}

impl Dialect {
    /// Sends a query in the form that the server needs. `fetch` sends an expression.
    ///
    /// # Errors
    /// Those of the usual form, unless the server needs the narrower one.
    pub(super) async fn ask<F>(
        &self,
        query: &InstantQuery,
        now: Instant,
        fetch: impl Fn(String, Parameters) -> F,
    ) -> Result<QueryResult, FetchError>
    where
        F: Future<Output = Result<QueryResult, FetchError>>,
    {
        let by_name = query.by_name.split_first();
        let form = if by_name.is_none() { &self.parameters } else { &self.names };
        let has_narrow_form = by_name.is_some() || query.lookback.is_some();
        let mut refusal = None;
        if !(has_narrow_form && form.is_narrow(now)) {
            match fetch(query.expression.clone(), Parameters::All).await {
                Err(error) if has_narrow_form && error.may_be_of_the_wording() => {
                    refusal = Some(error);
                }
                result => return result,
            }
        }
        let narrow = match by_name {
            None => fetch(query.expression.clone(), Parameters::Documented).await,
            Some(by_name) => self.ask_by_name(by_name, fetch).await,
        };
        match (narrow, refusal) {
            (Ok(result), refusal) => {
                if refusal.is_some() {
                    form.narrow(now);
                }
                Ok(result)
            }
            // The form was not the reason.
            (Err(_), Some(refusal)) => Err(refusal),
            (Err(error), None) => Err(error),
        }
    }

    /// Sends expressions, a few at a time, and returns all of their series, or the first error.
    async fn ask_by_name<F>(
        &self,
        (first, others): (&String, &[String]),
        fetch: impl Fn(String, Parameters) -> F,
    ) -> Result<QueryResult, FetchError>
    where
        F: Future<Output = Result<QueryResult, FetchError>>,
    {
        // The first one shows whether the server answers this form at all.
        let first = self.in_turn(fetch(first.clone(), Parameters::All)).await?;
        let others = others.iter().cloned().map(|name| fetch(name, Parameters::All));
        let others = stream::iter(others).map(|fetched| self.in_turn(fetched)).buffered(AT_ONCE);
        let append = async |mut all: QueryResult, later| {
            all.append(later);
            Ok(all)
        };
        others.try_fold(first, append).await
    }

    /// Sends a request by name when the server has a place for it.
    async fn in_turn<T>(&self, fetched: impl Future<Output = T>) -> T {
        // The semaphore is never closed.
        let _turn = self.by_name.0.acquire().await;
        fetched.await
    }
}

impl Default for ByName {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

#[cfg(test)]
mod tests;
