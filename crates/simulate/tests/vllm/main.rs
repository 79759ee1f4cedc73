//! The engine model beside one real vLLM process: the same requests at the same times.
//!
//! `make simulate-vllm` measures the engine (tests/vllm/curves.sh) into tests/fixtures/vllm-curves,
//! fits the profiles to two of the five rates, and writes docs/simulate-vllm.md, its pictures and
//! tests/vllm/profiles.json. The tests compare all of these with what was measured.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, which may fail")]

mod fit;
mod measured;
mod page;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use llm_autoscaler_simulate::EngineProfile;

use self::{
    measured::{About, Run},
    page::Errors,
};

/// The loads, as percents of the capacity.
const SHARES: [u32; 5] = [50, 70, 90, 110, 130];
/// Those to which the profiles are fitted.
const FITTED: [u32; 2] = [50, 110];

/// A way to run the engine: the name of its profile, a heading, and a sentence.
const SETTINGS: [(&str, &str, &str); 2] = [
    (
        "tiny-vllm-30ms",
        "Steps of 30 ms",
        "Each step of the engine lasts 30 ms, or as long as it takes if that is longer, so that the \
         comparison is one of queue, slots and batches; a minute for each rate",
    ),
    (
        "tiny-vllm",
        "As fast as the CPU",
        "The engine computes as fast as it can, so that the durations of its steps are compared too; \
         20 seconds for each rate. HTTP server, client and engine share the cores, and tens of \
         requests per second keep all of them busy: part of the TTFT is theirs",
    ),
];

/// The runs of a setting: those of the engine, and those of the model.
struct Setting {
    name: &'static str,
    title: &'static str,
    what: &'static str,
    about: About,
    profile: EngineProfile,
    pairs: Vec<(Run, Run)>,
}

impl Setting {
    fn all(profiles: &BTreeMap<String, EngineProfile>) -> Vec<Self> {
        let setting = |(name, title, what): (&'static str, _, _)| {
            let about = About::read(&fixture(name));
            let profile = profiles[name].clone();
            let pair = |share| {
                let real = Run::read(&fixture(name), share);
                let model = real.modelled(&profile);
                (real, model)
            };
            let pairs = SHARES.map(pair).into();
            Self { name, title, what, about, profile, pairs }
        };
        SETTINGS.map(setting).into()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/vllm-curves").join(name)
}

fn profiles_file() -> PathBuf {
    root().join("tests/vllm/profiles.json")
}

fn profiles() -> BTreeMap<String, EngineProfile> {
    EngineProfile::parse(&std::fs::read_to_string(profiles_file()).unwrap()).unwrap()
}

fn is_update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// Returns the profile of a setting, fitted to what was measured.
fn fitted(name: &str) -> EngineProfile {
    let about = About::read(&fixture(name));
    let start = EngineProfile {
        model: "Qwen3 of two layers with random weights".to_owned(),
        accelerator: about.machine.clone(),
        gpus: 1,
        base_ms: (about.step_seconds * 1e3).max(5.0),
        prefill_ms_per_token: 0.01,
        sequence_ms: 0.1,
        kv_us_per_token: 0.05,
        kv_tokens: 128 * 128,
        max_batched_tokens: 2048,
        max_num_seqs: 8,
        source: format!(
            "fitted to vLLM {} on {}, {}: runs at 50 % and 110 % of the capacity in tests/fixtures/vllm-curves/{name}",
            about.version, about.machine, about.date
        ),
    };
    let runs = FITTED.map(|share| Run::read(&fixture(name), share));
    fit::fit(&start, &runs.iter().collect::<Vec<_>>())
}

#[test]
fn the_page_and_the_profiles_are_those_of_the_measurement() {
    if is_update() {
        let fitted: BTreeMap<_, _> = SETTINGS.map(|(name, ..)| (name, fitted(name))).into();
        let text = serde_json::to_string_pretty(&fitted).unwrap() + "\n";
        std::fs::write(profiles_file(), text).unwrap();
    }
    let settings = Setting::all(&profiles());
    let pictures = settings
        .iter()
        .map(|setting| (format!("docs/pictures/{}.svg", setting.name), page::picture(setting)));
    let page = ("docs/simulate-vllm.md".to_owned(), page::page(&settings));
    for (name, text) in pictures.chain([page]) {
        let file = root().join(&name);
        if is_update() {
            std::fs::write(&file, &text).unwrap();
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            found == text,
            "{name} differs from what was measured: make simulate-vllm writes it"
        );
    }
}

/// The greatest errors of the runs that the profiles are not fitted to: of the means of TTFT and
/// ITL, and of the waiting requests as a share of those of the engine beyond one.
const STATED: [(&str, f64, f64, f64); 2] =
    [("tiny-vllm-30ms", 0.05, 0.03, 0.05), ("tiny-vllm", 0.45, 0.10, 0.30)];

#[test]
fn the_model_is_within_its_stated_error_of_a_real_engine() {
    for setting in Setting::all(&profiles()) {
        let (_, ttft, itl, waiting) =
            STATED.into_iter().find(|(name, ..)| *name == setting.name).unwrap();
        for (real, model) in setting.pairs.iter().filter(|it| !FITTED.contains(&it.0.share)) {
            let errors = Errors::between(real, model);
            let (name, share) = (setting.name, real.share);
            println!("{name} {share} %: {errors:?}");
            assert!(errors.ttft.abs() <= ttft, "{name} {share} %: {errors:?}");
            assert!(errors.itl.abs() <= itl, "{name} {share} %: {errors:?}");
            let most = 1.0 + waiting * errors.waiting_of_engine;
            assert!(errors.waiting.abs() <= most, "{name} {share} %: {errors:?}");
        }
    }
}
