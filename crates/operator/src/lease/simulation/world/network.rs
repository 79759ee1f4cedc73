//! The network between the copies and the API server.

use std::time::Duration;

use super::{Act, Event, MILLI, World};
use crate::lease::{
    simulation::{
        copy::Unanswered,
        plan::{Fault, Weather},
    },
    steps::{Answer, Call, Request},
};

impl World {
    pub(super) fn weather(&self, copy: usize) -> Option<&Weather> {
        let is_here = |weather: &&Weather| weather.copy.is_none_or(|it| it == copy);
        let is_now = |weather: &&Weather| (weather.from..weather.until).contains(&self.time);
        self.plan.weather.iter().filter(is_now).find(is_here)
    }

    /// Draws the time of a way through the network, within a limit; `None` if it is lost.
    pub(super) fn way(&mut self, copy: usize, is_request: bool) -> Option<u64> {
        let usual = self.rng.u64(500..15 * MILLI);
        let Some(weather) = self.weather(copy).cloned() else { return Some(usual) };
        let is_slow = self.rng.bool();
        let way = if is_slow { usual + self.rng.u64(0..=weather.delay) } else { usual };
        let lost = if is_request { weather.request_is_lost } else { weather.response_is_lost };
        if self.rng.f64() >= lost {
            return Some(way);
        }
        let arrives = is_request && self.rng.f64() < weather.lost_arrives;
        arrives.then(|| weather.until - self.time + usual)
    }

    pub(super) fn send(&mut self, copy: usize, bucket: usize, turn: u64, request: Request) {
        if self.copies[copy].turns[bucket] != turn {
            return;
        }
        self.trace(|| format!("{copy} sends for {bucket}: {:?}", request.call));
        let deadline = self.time + self.copies[copy].clocks.wait(request.deadline);
        let (start, answer) = (self.copies[copy].start, Answer::Unknown(None));
        let late = Act::Answer { bucket, turn, request: request.clone(), answer };
        self.act(deadline, copy, late);
        if let Some(way) = self.way(copy, true) {
            self.push(self.time + way, Event::Arrival { copy, start, bucket, turn, request });
        }
    }

    pub(super) fn arrive(
        &mut self,
        copy: usize,
        start: u32,
        bucket: usize,
        turn: u64,
        request: Request,
    ) {
        let fails = self.weather(copy).map_or(0.0, |weather| weather.server_fails);
        let is_failing = self.rng.f64() < fails;
        let answer = match (is_failing, self.rng.u32(0..3)) {
            (true, 0) => Answer::Refused(Some(Duration::from_secs(1))),
            (true, 1) => Answer::Unknown(None),
            (is_failing, _) => {
                let answer = self.server.carry_out(bucket, &request.call);
                if !matches!(request.call, Call::Get) {
                    self.trace(|| format!("the server carries out {bucket} of {copy}: {answer:?}"));
                    self.tell(bucket);
                }
                if is_failing { Answer::Unknown(None) } else { answer }
            }
        };
        if let Some(way) = self.way(copy, false) {
            let act = Act::Answer { bucket, turn, request, answer };
            self.push(self.time + way, Event::Act { copy, start, act });
        }
    }

    /// Tells the watches of a change.
    pub(super) fn tell(&mut self, bucket: usize) {
        let nudge = self.server.leases[bucket].as_ref().map(|record| record.version.clone());
        for copy in 0..self.copies.len() {
            if self.copies[copy].is_watched
                && let Some(way) = self.way(copy, false)
            {
                let nudge = nudge.clone();
                self.act(self.time + way, copy, Act::Nudge { bucket, nudge });
            }
        }
    }

    /// The longest way of a write that a permit allows for: a bit less than the third of the
    /// duration that lies between the end of a permit and the earliest takeover.
    pub(super) fn longest_way(&self) -> u64 {
        self.plan.duration * 30 / 100
    }

    pub(super) fn write(&mut self, copy: usize, namespace: usize, version: u64) {
        let (time, start) = (self.time, self.copies[copy].start);
        let is_checked = self.plan.fault != Fault::NotCheckedBeforeTheSend;
        if is_checked && !self.may_write(copy, namespace) {
            return;
        }
        self.number += 1;
        let id = self.number;
        self.copies[copy].unanswered.push(Unanswered { id, namespace, sent: time });
        let is_slow = self.rng.f64() < self.plan.slow_writes;
        let slow = self.rng.u64(0..self.longest_way() - 20 * MILLI);
        let Some(way) = self.way(copy, true) else { return };
        let way = if is_slow { slow } else { way };
        let event = Event::WriteArrival { copy, start, namespace, version, id, sent: time };
        self.push(time + way, event);
    }
}
