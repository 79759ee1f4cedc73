//! The outcomes of policies as one HTML page with pictures, which needs nothing else.
//!
//! ```text
//! Picture: outcomes, promise, need ──> points: paths with a bounded number of points
//!                                      plot, changes, pareto, bill: parts of the page
//!                                      *.css, page.js: how it looks, and the bubble of a dot
//! ```
//!
//! Rendering is pure: equal outcomes have equal pages. The page asks for nothing: its policy of
//! content allows its own style and its own script, by their hashes.

mod axis;
mod bill;
mod changes;
mod pareto;
mod plot;
mod points;
mod policy;
mod table;
pub(crate) mod text;

use std::fmt::Write;

use crate::{
    need::need,
    score::{Outcome, Promise},
};

use self::text::{counted, duration, escaped, round_latency, tick};

/// The style that all pages begin with, that of `llm-autoscaler ui` too: colours, types, elements
/// without the margins of browsers, and tables of numbers.
pub const PALETTE: &str = include_str!("picture/palette.css");
const STYLE: &str = concat!(
    include_str!("picture/palette.css"),
    include_str!("picture/base.css"),
    include_str!("picture/plots.css"),
    include_str!("picture/tables.css")
);
const SCRIPT: &str = include_str!("picture/page.js");
/// The hashes of style and script, by which the page's policy of content allows them.
const STYLE_HASH: &str = "sha256-CdI+5EUJJAAKOkPukVHCaRY6i7lVQs0QIaTprc7jy4s=";
const SCRIPT_HASH: &str = "sha256-satq50R1+16DraJQF1aFzyU6azQi303gxwpB1Plj5C4=";

/// What a page shows.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// The load in a few words, such as the shape or the file of its trace.
    pub load: &'a str,
    /// The engine in a few words.
    pub engine: &'a str,
    /// The promise to the users.
    pub promise: Promise,
    /// The seed of the runs.
    pub seed: u64,
    /// The work that a replica can take, from [`bearable_load`](crate::bearable_load); without it
    /// the page shows no need.
    pub bearable_load: Option<f64>,
    /// Sentences about what was measured, if the load is a recorded one.
    pub notes: &'a [String],
    /// The outcomes, by the names of their policies.
    pub outcomes: &'a [(String, Outcome)],
}

/// An outcome with its policy's name.
struct Policy<'a> {
    name: &'a str,
    outcome: &'a Outcome,
    /// The replicas that the moments of the timeline need; empty if that is not known.
    need: Vec<u32>,
}

impl Policy<'_> {
    /// Returns the share of the serving replicas that the load needed.
    fn needed_share(&self) -> f64 {
        let timeline = &self.outcome.timeline;
        let serving = timeline.iter().map(|moment| f64::from(moment.serving)).sum::<f64>();
        if self.need.is_empty() || serving <= 0.0 {
            return 1.0;
        }
        let needed = timeline.iter().zip(&self.need);
        needed.map(|(moment, need)| f64::from(moment.serving.min(*need))).sum::<f64>() / serving
    }

    /// Returns the end of the timeline, in seconds.
    fn end(&self) -> f64 {
        let timeline = &self.outcome.timeline;
        let interval = timeline.get(1).map_or(60.0, |second| second.t - timeline[0].t);
        timeline.last().map_or(interval, |last| last.t + interval)
    }
}

impl Picture<'_> {
    /// Returns the page.
    pub fn html(&self) -> String {
        let policies: Vec<Policy<'_>> = self
            .outcomes
            .iter()
            .map(|(name, outcome)| {
                let need = self.bearable_load.map(|load| need(&outcome.timeline, load));
                Policy { name, outcome, need: need.unwrap_or_default() }
            })
            .collect();
        let mut html = self.head(&policies);
        html.push_str("<main>\n");
        html.push_str(&self.measured());
        html.push_str(&self.overview(&policies));
        let range = policy::Ranges::of(self.outcomes, self.promise);
        for (index, policy) in policies.iter().enumerate() {
            html.push_str(&policy::html(index + 1, policy, self.promise, &range));
        }
        html.push_str("</main>\n");
        html.push_str(&self.foot());
        html
    }

    fn head(&self, policies: &[Policy<'_>]) -> String {
        let Promise { time_to_first_token, inter_token_latency, percentile } = self.promise;
        let (ttft, itl) = (round_latency(time_to_first_token), round_latency(inter_token_latency));
        let first = policies.first();
        let requests = counted(first.map_or(0, |policy| policy.outcome.requests), "request");
        let time = duration(first.map_or(0.0, Policy::end));
        let (load, engine) = (escaped(self.load), escaped(self.engine));
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
             '{STYLE_HASH}'; script-src '{SCRIPT_HASH}'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>Simulation: {load}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             <header>\n<h1>What each policy would have done</h1>\n<dl class=\"facts\">\
             <div><dt>Load</dt><dd>{requests} in {time}</dd><dd class=\"quiet\">{load}</dd></div>\
             <div><dt>Replica</dt><dd>{engine}</dd></div>\
             <div><dt>Promise</dt><dd>TTFT ≤ {ttft} and ITL ≤ {itl} for {} % of the requests</dd>\
             </div></dl>\n</header>\n",
            tick(percentile)
        )
    }

    /// Returns the section of what was measured; empty without any.
    fn measured(&self) -> String {
        if self.notes.is_empty() {
            return String::new();
        }
        let mut sentences = String::new();
        for note in self.notes {
            // Writing to a String cannot fail.
            let _ = writeln!(sentences, "<li>{}</li>", escaped(note));
        }
        format!(
            "<section aria-labelledby=\"measured\">\n<h2 id=\"measured\">What was measured</h2>\n\
             <ul>\n{sentences}</ul>\n</section>\n"
        )
    }

    fn overview(&self, policies: &[Policy<'_>]) -> String {
        let pareto = pareto::html(self.outcomes, self.promise.percentile / 100.0);
        let table = table::html(policies, self.promise);
        let bill = bill::html(policies);
        format!(
            "<section aria-labelledby=\"cost\">\n<h2 id=\"cost\">Attainment and cost</h2>\n\
             <p class=\"quiet\">The share of requests for which the promise was kept, against the \
             GPU-hours. Further up and further to the left is better.</p>\n{pareto}{table}</section>\n\
             <section aria-labelledby=\"bill\">\n<h2 id=\"bill\">The bill</h2>\n\
             <p class=\"quiet\">GPU-hours, from the creation of a pod to its deletion.</p>\n{bill}\
             </section>\n"
        )
    }

    fn foot(&self) -> String {
        let need = self.bearable_load.map_or_else(String::new, |_| {
            "<b>Needed</b> are the replicas that the load of the minute would keep as busy as a \
             constant fleet can be with the promise kept. "
                .to_owned()
        });
        format!(
            "<footer>{need}Quantiles are those of the requests that ended in an interval. This is a \
             simulation with seed {}: policies of others are a reading of their \
             documentation.</footer>\n<div id=\"bubble\" hidden></div>\n\
             <script>{SCRIPT}</script>\n</body>\n</html>\n",
            self.seed
        )
    }
}

#[cfg(test)]
mod tests;
