//! The choice of a replica for a request.

use std::str::FromStr;

use fastrand::Rng;

use super::Pod;
use crate::error::SimulateError;

/// The rule by which requests get their replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Routing {
    /// At arrival, to the replica with the fewest requests.
    #[default]
    LeastOutstanding,
    /// At arrival, to each replica in turn.
    RoundRobin,
    /// At arrival, to any replica.
    Random,
    /// Requests wait in one queue of the gateway until a replica has no queue and room in its KV
    /// cache, so that new replicas serve old requests too.
    SharedQueue,
}

impl FromStr for Routing {
    type Err = SimulateError;

    fn from_str(text: &str) -> Result<Self, SimulateError> {
        match text {
            "least-outstanding" => Ok(Self::LeastOutstanding),
            "round-robin" => Ok(Self::RoundRobin),
            "random" => Ok(Self::Random),
            "shared-queue" => Ok(Self::SharedQueue),
            _ => Err(SimulateError::new(format!(
                "there is no routing {text}; there are least-outstanding, round-robin, random and \
                 shared-queue"
            ))),
        }
    }
}

#[derive(Debug)]
pub(super) struct Router {
    routing: Routing,
    rng: Rng,
    turn: usize,
}

impl Router {
    pub(super) fn new(routing: Routing, rng: Rng) -> Self {
        Self { routing, rng, turn: 0 }
    }

    /// Returns the place of the pod that gets the next request; `None` if there is none.
    pub(super) fn choose(&mut self, routable: &[usize], pods: &[Pod]) -> Option<usize> {
        let count = routable.len();
        if count == 0 {
            return None;
        }
        self.turn = (self.turn + 1) % count;
        let index = match self.routing {
            Routing::RoundRobin => self.turn,
            Routing::Random => self.rng.usize(..count),
            // Replicas with as many requests take turns.
            Routing::LeastOutstanding | Routing::SharedQueue => {
                let is_shared = self.routing == Routing::SharedQueue;
                let (before, after) = routable.split_at(self.turn);
                let turns = after.iter().chain(before).copied();
                let turns = turns.filter(|place| !is_shared || pods[*place].replica.has_room());
                return turns.min_by_key(|place| pods[*place].replica.outstanding());
            }
        };
        Some(routable[index])
    }
}
