//! The report: what was recorded, what today's autoscaler did, and what others would have done.

use std::{fmt::Write, path::Path};

use anyhow::Context;
use llm_autoscaler_simulate::{
    Outcome, Picture, bearable_load,
    recording::{Compared, Gap, Header, Measured, Recording, table},
};
use serde_json::json;

use super::{range::time_text, runs::Runs, service};
use crate::{
    output,
    simulate::{Format, WorldArgs},
};

/// The number of gaps that are listed; all are counted.
const MOST_GAPS: usize = 10;

/// Prints the report.
pub(super) fn print(
    world: &WorldArgs,
    recording: &Recording,
    compared: &[Compared],
    format: Format,
) -> anyhow::Result<()> {
    let measured = recording.measured(world.promise());
    if format == Format::Json {
        let json = json!({
            "recording": recording.header,
            "scrapeInterval": recording.step,
            "gaps": recording.gaps(),
            "spreadRequests": recording.spread(),
            "unseenPodHours": recording.unseen() / 3_600.0,
            "counts": recording.counts,
            "measured": measured,
            "promise": world.promise(),
            "profile": world.profile,
            "policies": compared.iter().map(Compared::json).collect::<Vec<_>>(),
        });
        return output::print(&format!("{}\n", serde_json::to_string_pretty(&json)?));
    }
    let mut text = String::new();
    for sentence in sentences(recording, &measured)? {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{sentence}");
    }
    let gpus = world.engine()?.gpus;
    let _ = write!(text, "\n{}\n{}\n", table(&measured, gpus, compared), bars(compared));
    output::print(&text)
}

/// Writes the pictures of the first seed's outcomes.
pub(super) fn write_html(
    file: &Path,
    world: &WorldArgs,
    runs: &Runs<'_>,
    compared: &[Compared],
) -> anyhow::Result<()> {
    let recording = runs.recording;
    let measured = recording.measured(world.promise());
    let mut notes = sentences(recording, &measured)?;
    notes.push(bars(compared));
    let engine = world.engine()?;
    let first = compared.iter().filter_map(|it| Some((it.name.clone(), it.runs.first()?.clone())));
    let outcomes: Vec<(String, Outcome)> = first.collect();
    let picture = Picture {
        load: &format!("{}, recorded", service(recording)),
        engine: &format!("{} on {} ({})", engine.model, engine.accelerator, world.profile),
        promise: world.promise(),
        seed: 1,
        bearable_load: bearable_load(&runs.scenario(1)?),
        notes: &notes,
        outcomes: &outcomes,
    };
    std::fs::write(file, picture.html())
        .with_context(|| format!("writing the pictures to {}", file.display()))
}

/// Returns what the ranges of the table cover, and what they do not.
fn bars(compared: &[Compared]) -> String {
    let seeds = compared.first().map_or(1, |it| it.runs.len());
    format!(
        "Ranges are the lowest and the highest of {seeds} draws: of how requests fall within the \
         interval of scrapes, of their lengths, and of the starts of pods. They do not cover the \
         error of the engine profile, which the two rows of today show; nor requests that a \
         gateway held back or refused; nor users who would have come back sooner."
    )
}

/// Returns sentences about the recording.
fn sentences(recording: &Recording, measured: &Measured) -> anyhow::Result<Vec<String>> {
    let Header { from, to, .. } = recording.header;
    let (prompts, outputs) = recording.tokens();
    let requests = recording.requests();
    let mean = |tokens: f64| tokens / requests.max(1.0);
    let mut all = vec![
        format!(
            "{}, {} to {}, scraped every {} s",
            service(recording),
            time_text(from)?,
            time_text(to)?,
            recording.step
        ),
        format!(
            "{requests:.0} requests arrived, with {:.0} prompt tokens and {:.0} generated ones on \
             average",
            mean(prompts),
            mean(outputs)
        ),
    ];
    all.extend(gap_sentences(recording)?);
    let counts = recording.counts;
    if recording.unseen() > 0.0 {
        all.push(format!(
            "scrapes of single pods are missing for {:.2} hours of pods; {:.0} requests were \
             spread evenly over times without samples",
            recording.unseen() / 3_600.0,
            recording.spread()
        ));
    }
    if counts.restarts > 0 {
        all.push(format!(
            "engines began anew {} times, with {} requests in flight",
            counts.restarts, counts.cut_off
        ));
    }
    if counts.before_first_scrape > 0 {
        all.push(format!(
            "{} of the requests came to new pods before their first scrape",
            counts.before_first_scrape
        ));
    }
    if counts.native_histograms > 0 {
        all.push(
            "latencies and lengths that the server has as native histograms were not read"
                .to_owned(),
        );
    }
    for (what, latency) in [("first tokens", measured.ttft), ("later tokens", measured.itl)] {
        all.push(match latency {
            None => format!("the {what} have no latencies: the server has no histogram of them"),
            Some(found) => format!(
                "the promise was kept for {:.2} to {:.2} % of {:.0} {what}, as the engines' \
                 histograms tell",
                found.kept_at_least * 100.0,
                found.kept_at_most * 100.0,
                found.events
            ),
        });
    }
    Ok(all)
}

/// Returns sentences about the times without samples.
fn gap_sentences(recording: &Recording) -> anyhow::Result<Vec<String>> {
    let gaps = recording.gaps();
    let length: f64 = gaps.iter().map(|gap| gap.to - gap.from).sum();
    if gaps.is_empty() {
        return Ok(vec!["no time is without samples".to_owned()]);
    }
    let mut all = vec![format!(
        "{:.1} % of the time is without samples, in {} gaps: no pod was there, or none was scraped",
        length / recording.length() * 100.0,
        gaps.len()
    )];
    for Gap { from, to, requests } in gaps.iter().take(MOST_GAPS) {
        let known = if *requests >= 0.5 {
            format!("{requests:.0} requests, which counters tell of, were spread evenly over it")
        } else {
            "no requests are known of it".to_owned()
        };
        let start = time_text(recording.header.from + from)?;
        all.push(format!("gap at {start} of {:.0} s: {known}", to - from));
    }
    if gaps.len() > MOST_GAPS {
        all.push(format!("and {} gaps more; -o json has all of them", gaps.len() - MOST_GAPS));
    }
    Ok(all)
}
