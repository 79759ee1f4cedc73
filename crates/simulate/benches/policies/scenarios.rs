//! The scenarios of the comparison.

use std::{path::Path, sync::Arc};

use llm_autoscaler_simulate::{
    EngineProfile, Faults, Promise, Routing, Scenario, Starts,
    arrivals::{Lengths, Load, Shape, Spread, SyntheticLoad, Trace, TraceLoad},
    policy::Limits,
};

/// A scenario, and what is particular to it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) scenario: Scenario,
    pub(crate) limits: Limits,
}

/// The traces of the project.
pub(crate) struct Traces {
    conversation: Arc<Trace>,
    code: Arc<Trace>,
}

impl Traces {
    pub(crate) fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/traces");
        let read = |name: &str| {
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            Arc::new(Trace::parse(&text).unwrap())
        };
        Self { conversation: read("azure_conv_2023.csv"), code: read("azure_code_2023.csv") }
    }
}

const WARM_UP: f64 = 600.0;

fn base(load: Load) -> Scenario {
    let profile = EngineProfile::named("q32-h100x2").unwrap();
    Scenario { replicas: 4, ..Scenario::new(load, WARM_UP, profile) }
}

fn trace(trace: &Arc<Trace>, copies: u32, spread: Spread) -> Load {
    Load::Trace(TraceLoad { trace: trace.clone(), copies, spread, warm_up: WARM_UP })
}

fn shape(text: &str, lengths: Lengths) -> Load {
    let shape: Shape = text.parse().unwrap();
    Load::Synthetic(SyntheticLoad { shape, lengths, warm_up: WARM_UP })
}

/// Returns every scenario.
pub(crate) fn cases(traces: &Traces) -> Vec<Case> {
    let conversation = || Lengths::Trace(traces.conversation.clone());
    let conv = |copies| trace(&traces.conversation, copies, Spread::Jitter(2.0));
    let day = || shape("day:peak=104,low=0.138,length=14400", conversation());
    let wide = Limits { min: 1, max: 64 };
    let mut cases = Vec::new();
    let mut add = |name, doc, replicas, scenario: Scenario| {
        let scenario = Scenario { replicas, ..scenario };
        cases.push(Case { name, doc, scenario, limits: wide });
    };
    add("conv ×4", "the conversation trace four times, 22 requests/s", 4, base(conv(4)));
    add("conv ×12", "twelve times, 66 requests/s", 12, base(conv(12)));
    add("conv ×48", "48 times, 265 requests/s", 44, base(conv(48)));
    let shifted = trace(&traces.code, 16, Spread::Shift);
    add("code ×16", "the code trace of 16 independent tenants, 42 requests/s", 16, base(shifted));
    let raw = trace(&traces.code, 4, Spread::Jitter(2.0));
    add("code ×4, raw", "the code trace four times at once: bursts of seconds", 6, base(raw));
    let step2 = shape("step:base=40,peak=80,at=600,for=1200,length=3600", conversation());
    add("step ×2", "40 → 80 → 40 requests/s", 8, base(step2));
    let step5 = || shape("step:base=16,peak=80,at=600,for=1200,length=3600", conversation());
    add("step ×5", "16 → 80 → 16 requests/s", 4, base(step5()));
    let ramp = shape("ramp:base=10,peak=80,at=600,for=900,length=3600", conversation());
    add("ramp", "10 → 80 requests/s within 15 minutes", 3, base(ramp));
    add("day", "four hours, 14 … 104 requests/s with a ripple", 4, base(day()));
    for (name, median) in [("day, start 40 s", 40.0), ("day, start 300 s", 300.0)] {
        let starts = Starts { median, ..Starts::default() };
        add(name, "the day with other starts", 4, Scenario { starts, ..base(day()) });
    }
    let queue = Scenario { routing: Routing::SharedQueue, ..base(step5()) };
    add(
        "step ×5, gateway queue",
        "requests wait at the gateway; in-flight and the HPAs read its page, and the peers that can read a gateway's queue see it",
        4,
        queue,
    );
    let failing = Starts { failing: 0.02, ..Starts::default() };
    add("failing starts 2 %", "conv ×12", 12, Scenario { starts: failing, ..base(conv(12)) });
    let correlated = Starts { correlated: true, ..Starts::default() };
    let doc = "conv ×12, each pod of a batch a tenth later than the one before";
    add("correlated starts", doc, 12, Scenario { starts: correlated, ..base(conv(12)) });
    let faults = Faults { loss: 0.2, ..Faults::default() };
    add("scrape loss 20 %", "conv ×12", 12, Scenario { faults, ..base(conv(12)) });
    let faults = Faults { delay: 30.0, ..Faults::default() };
    add("delay 30 s", "conv ×12", 12, Scenario { faults, ..base(conv(12)) });
    let slower = Scenario {
        profile: EngineProfile::named("q32-a100x2").unwrap(),
        promise: Promise { inter_token_latency: 0.15, ..Promise::default() },
        ..base(conv(3))
    };
    add("conv ×3 on A100", "profile q32-a100x2, 150 ms between tokens", 8, slower);
    cases.extend(published());
    cases
}

/// Returns the scenarios that others have published results of.
fn published() -> [Case; 2] {
    let starts = Starts { median: 100.0, ..Starts::default() };
    let fixed = |prompt, output| Lengths::Lognormal { prompt, output, sigma: 0.0 };
    let stairs = "stairs:330x2/360x4/360x6/360x8/360x10/360x4/300x1";
    let profile = || EngineProfile::named("q32-h100x2-fast").unwrap();
    let ramp = Scenario {
        profile: profile(),
        promise: Promise { time_to_first_token: 3.0, ..Promise::default() },
        starts,
        replicas: 3,
        warm_up: 0.0,
        load: Load::Synthetic(SyntheticLoad {
            shape: stairs.parse().unwrap(),
            lengths: fixed(4000.0, 1000.0),
            warm_up: 0.0,
        }),
        ..base(shape("constant:rate=1,length=1", fixed(1.0, 1.0)))
    };
    [
        Case {
            name: "llm-d's ramp",
            doc: "2 → 10 → 1 requests/s of 4000/1000 tokens, TTFT 3 s, 3 … 8 replicas, ready after \
                  100 s, profile q32-h100x2-fast, 0.68 hours without warm-up. Published, on real \
                  GPUs and with the SLO-aware recipe on predicted latencies: 95.8 % with 5.93 \
                  replicas, that is 4.01 replica-hours; a static fleet of 8: 100 %",
            scenario: ramp,
            limits: Limits { min: 3, max: 8 },
        },
        shape_shift(),
    ]
}

/// Returns the scenario in which prompts become short and answers long.
pub(crate) fn shape_shift() -> Case {
    let shape = "stairs:1800x6@6000+1000/2400x6@1000+4000";
    let lengths = Lengths::Lognormal { prompt: 1.0, output: 1.0, sigma: 0.0 };
    let load =
        Load::Synthetic(SyntheticLoad { shape: shape.parse().unwrap(), lengths, warm_up: WARM_UP });
    Case {
        name: "shape shift",
        doc: "6 requests/s of 6000/1000 and then 1000/4000 tokens, profile q32-h100x2-fast",
        scenario: Scenario {
            starts: Starts { median: 100.0, ..Starts::default() },
            profile: EngineProfile::named("q32-h100x2-fast").unwrap(),
            ..base(load)
        },
        limits: Limits { min: 1, max: 16 },
    }
}
