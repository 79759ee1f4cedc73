//! The permissions of users, as the API server has them. Answers are kept for a few seconds.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Mutex,
    time::Duration,
};

use k8s_openapi::api::{authentication::v1::UserInfo, authorization::v1::ResourceAttributes};
use kube::Client;
use llm_autoscaler_core::Monotonic;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::{clock::Clock, http::access_review, kube_api::error_text, lock::lock};

/// The time for which an answer is kept, as API servers of Kubernetes' own library do.
const KEPT: Duration = Duration::from_secs(10);
/// The number of answers that are kept.
const MOST: usize = 4096;
/// The number of questions at once.
const AT_ONCE: usize = 16;
/// The time for a question, the wait for its turn included.
const DEADLINE: Duration = Duration::from_secs(5);

/// Asks for permissions.
pub(super) struct Access {
    client: Client,
    clock: Clock,
    turns: Semaphore,
    answers: Mutex<HashMap<u64, Answer>>,
    /// Has a random key, so that no question can be made to look like another.
    hasher: RandomState,
}

#[derive(Clone, Copy)]
struct Answer {
    is_allowed: bool,
    at: Monotonic,
}

/// The API server gave no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoAnswer;

impl Access {
    /// Begins with no answers.
    pub(super) fn new(client: Client, clock: Clock) -> Self {
        let (turns, hasher) = (Semaphore::new(AT_ONCE), RandomState::new());
        Self { client, clock, turns, answers: Mutex::default(), hasher }
    }

    /// Returns whether a user may do this.
    ///
    /// # Errors
    /// It is not known, which is no permission.
    pub(super) async fn allows(
        &self,
        user: &UserInfo,
        attributes: ResourceAttributes,
    ) -> Result<bool, NoAnswer> {
        let question = self.hasher.hash_one(format!("{user:?} {attributes:?}"));
        let now = self.clock.monotonic();
        if let Some(known) = lock(&self.answers).get(&question)
            && now.since(known.at) < KEPT
        {
            return Ok(known.is_allowed);
        }
        let asked = async {
            // The semaphore is never closed.
            let _turn = self.turns.acquire().await;
            access_review::is_allowed(&self.client, user.clone(), attributes).await
        };
        let error = match tokio::time::timeout(DEADLINE, asked).await {
            Ok(Ok(is_allowed)) => {
                self.keep(question, Answer { is_allowed, at: self.clock.monotonic() });
                return Ok(is_allowed);
            }
            Ok(Err(error)) => error_text(&error),
            Err(_) => format!("the API server did not answer within {} s", DEADLINE.as_secs()),
        };
        warn!(error, "the permissions of a user of the metrics API could not be reviewed");
        Err(NoAnswer)
    }

    fn keep(&self, question: u64, answer: Answer) {
        let mut answers = lock(&self.answers);
        if answers.len() >= MOST {
            answers.retain(|_, kept| answer.at.since(kept.at) < KEPT);
        }
        if answers.len() < MOST {
            answers.insert(question, answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kube_api::stand_in::{Answer as Reply, Received, StandIn};

    fn reviews(request: &Received) -> Reply {
        let mut review = request.body.clone();
        review["status"] = match review["spec"]["user"].as_str() {
            Some("hpa") => json!({"allowed": true}),
            Some("denied") => json!({"allowed": true, "denied": true}),
            Some("broken") => return Reply::refusal(500),
            _ => json!({"allowed": false}),
        };
        Reply::Json(201, review)
    }

    #[tokio::test]
    async fn an_answer_is_kept_and_no_answer_is_no_permission() {
        let api = StandIn::start(reviews).await;
        let access = Access::new(api.client.clone(), Clock::start());
        // user, resource, answer, requests to the API server
        let table = [
            ("hpa", "pods", Ok(true), 1),
            ("hpa", "pods", Ok(true), 0),
            ("hpa", "nodes", Ok(true), 1),
            ("stranger", "pods", Ok(false), 1),
            ("stranger", "pods", Ok(false), 0),
            ("denied", "pods", Ok(false), 1),
            ("broken", "pods", Err(NoAnswer), 1),
            ("broken", "pods", Err(NoAnswer), 1),
        ];
        for (user, resource, expected, requests) in table {
            let before = api.received(|_| true).len();
            let user = UserInfo { username: Some(user.to_owned()), ..UserInfo::default() };
            let resource = Some(resource.to_owned());
            let attributes = ResourceAttributes { resource, ..ResourceAttributes::default() };
            let found = access.allows(&user, attributes).await;
            assert_eq!(found, expected, "{user:?}");
            assert_eq!(api.received(|_| true).len() - before, requests, "{user:?}");
        }
        for question in 0..2 * MOST as u64 {
            access.keep(question, Answer { is_allowed: true, at: Monotonic(KEPT) });
        }
        assert!(lock(&access.answers).len() <= MOST);
    }
}
