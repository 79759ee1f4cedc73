//! `llm-autoscaler ui`: what its server answers, and its page in a browser; so is the page of
//! `llm-autoscaler simulate --html`.
//!
//! The browser and its tools are installed by `tests/ui/install.sh` on the first run.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod browser;
mod many;
mod page;
mod server;

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

#[tokio::main]
async fn main() -> ExitCode {
    let server = scenarios! {
        server::page_follows_the_cluster,
        server::mistakes_are_told_before_the_page_opens,
    };
    // A browser takes all of a small machine.
    let browser = scenarios! { browser::models, browser::thousand, browser::report };
    runner::run_in_turn(vec![(server, 2), (browser, 1)]).await
}
