//! The page and the pictures of the comparison.

use std::fmt::Write;

use crate::{
    FITTED, Setting,
    measured::{Request, Run, mean, percentile},
};

const HEAD: &str = "# The engine model beside a real engine

Written by `make simulate-vllm` from what it has measured; do not edit. One process of vLLM, with a
tiny model on CPU cores ([tests/vllm](../tests/vllm/README.md)), gets requests at random times: a
Poisson process at five rates, prompts of 800 and answers of 60 tokens on average
with lognormal lengths, 8 sequences at a time, 2048 tokens in a step. The capacity, of which the
rates are percents, is the throughput of a burst of 80 requests. The model of
[simulate.md](simulate.md#the-engines) gets the same requests at the same times. Its four
coefficients are fitted to the runs at 50 % and 110 %; the others were not looked at for that. Client,
HTTP server, tokenizer and stream are in the measured latencies, and not in the model.
[tests/fixtures/vllm-curves](../tests/fixtures/vllm-curves/README.md) has every request.

TTFT and ITL are of requests, as the client sees them; running and waiting requests are means over
time, of one sample each second.";

/// The figures of a run.
pub(crate) struct Figures {
    ttft: f64,
    ttft_p90: f64,
    itl: f64,
    running: f64,
    waiting: f64,
}

/// The differences between the figures of the model and those of the engine: shares of the latter,
/// and requests.
#[derive(Debug)]
pub(crate) struct Errors {
    pub(crate) ttft: f64,
    pub(crate) ttft_p90: f64,
    pub(crate) itl: f64,
    pub(crate) waiting: f64,
    /// The waiting requests of the engine.
    pub(crate) waiting_of_engine: f64,
}

impl Figures {
    fn of(run: &Run) -> Self {
        let gauges = |of: fn(&crate::measured::Gauges) -> f64| {
            mean(&run.gauges.iter().map(of).collect::<Vec<_>>())
        };
        Self {
            ttft: mean(&run.each(|it| it.ttft)),
            ttft_p90: percentile(run.each(|it| it.ttft), 90.0),
            itl: mean(&run.each(|it| it.itl)),
            running: gauges(|it| it.running),
            waiting: gauges(|it| it.waiting),
        }
    }
}

impl Errors {
    pub(crate) fn between(real: &Run, model: &Run) -> Self {
        let (real, model) = (Figures::of(real), Figures::of(model));
        Self {
            ttft: model.ttft / real.ttft - 1.0,
            ttft_p90: model.ttft_p90 / real.ttft_p90 - 1.0,
            itl: model.itl / real.itl - 1.0,
            waiting: model.waiting - real.waiting,
            waiting_of_engine: real.waiting,
        }
    }
}

/// Returns the page.
pub(crate) fn page(settings: &[Setting]) -> String {
    let mut text = wrapped(HEAD);
    for setting in settings {
        write!(text, "\n\n{}", section(setting)).unwrap();
    }
    text.push('\n');
    text
}

fn section(setting: &Setting) -> String {
    let Setting { title, about, profile, name, .. } = setting;
    let mut text = format!(
        "## {title}\n\n{}. vLLM {} on {}, {}; capacity {:.2} requests/s. Profile \
         `{name}`: {} ms, {} ms for each prompt token, {} ms for each decoding sequence, {} µs for \
         each token in the KV cache.\n\n",
        setting.what,
        about.version,
        about.machine,
        about.date,
        about.capacity,
        profile.base_ms,
        profile.prefill_ms_per_token,
        profile.sequence_ms,
        profile.kv_us_per_token
    );
    text = wrapped(&text);
    text.push_str(
        "\n\n| load | requests | | TTFT mean | TTFT p90 | ITL mean | running | waiting |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for (real, model) in &setting.pairs {
        let use_of = if FITTED.contains(&real.share) { "fitted" } else { "validated" };
        let (measured, found) = (Figures::of(real), Figures::of(model));
        writeln!(
            text,
            "| {} %, {use_of} | {} | vLLM | {} | {} | {} | {:.1} | {:.1} |",
            real.share,
            real.requests.len(),
            latency(measured.ttft),
            latency(measured.ttft_p90),
            latency(measured.itl),
            measured.running,
            measured.waiting,
        )
        .unwrap();
        let off = Errors::between(real, model);
        writeln!(
            text,
            "| | | model | {} ({}) | {} ({}) | {} ({}) | {:.1} | {:.1} |",
            latency(found.ttft),
            percents(off.ttft),
            latency(found.ttft_p90),
            percents(off.ttft_p90),
            latency(found.itl),
            percents(off.itl),
            found.running,
            found.waiting,
        )
        .unwrap();
    }
    let picture = format!(
        "![{title}: waiting requests over time, and the time to first token by arrival](pictures/{name}.svg)"
    );
    format!("{text}\n{}\n\n{picture}", wrapped(&result(setting)))
}

/// Says how far the model is off in the runs that it is not fitted to.
fn result(setting: &Setting) -> String {
    let validated = setting.pairs.iter().filter(|(real, _)| !FITTED.contains(&real.share));
    let errors: Vec<Errors> = validated.map(|(real, model)| Errors::between(real, model)).collect();
    let most = |of: fn(&Errors) -> f64| {
        errors.iter().map(|errors| of(errors).abs() * 100.0).fold(0.0, f64::max)
    };
    format!(
        "In the runs that the profile is not fitted to, the model's mean TTFT is within {:.0} % of \
         the engine's, its P90 within {:.0} %, and its mean ITL within {:.0} %.",
        most(|it| it.ttft),
        most(|it| it.ttft_p90),
        most(|it| it.itl),
    )
}

/// Breaks a paragraph into lines of at most 100 columns.
fn wrapped(paragraphs: &str) -> String {
    let mut text = String::new();
    for paragraph in paragraphs.trim().split("\n\n") {
        let mut column = 0;
        for word in paragraph.split_whitespace() {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > 100 {
                text.push('\n');
                column = 0;
            } else if column > 0 {
                text.push(' ');
                column += 1;
            }
            text.push_str(word);
            column += length;
        }
        text.push_str("\n\n");
    }
    text.trim_end().to_owned()
}

fn latency(seconds: f64) -> String {
    if seconds < 0.0995 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 0.9995 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

fn percents(share: f64) -> String {
    // The sum with zero is no negative zero.
    format!("{:+.0} %", (share * 100.0).round() + 0.0)
}

/// The width and the height of a plot, and the room around it.
const PLOT: (f64, f64) = (150.0, 90.0);
const ROOM: (f64, f64) = (46.0, 34.0);

/// The most dots of a series.
const DOTS: usize = 300;

const STYLE: &str = "<style>text{font:11px system-ui,sans-serif;fill:#333}\
    .axis{stroke:#999;fill:none}.real{stroke:#1f6feb;fill:none;stroke-width:1.4}\
    .model{stroke:#d1570a;fill:none;stroke-width:1.4;stroke-dasharray:4 2}\
    .dots{stroke-width:2.4;stroke-linecap:round;stroke-dasharray:none;opacity:.6}\
    .of-real{fill:#1f6feb}.of-model{fill:#d1570a}\
    @media(prefers-color-scheme:dark){text{fill:#ccc}.axis{stroke:#777}}</style>";

/// Returns a picture: for each rate the waiting requests over time, and below them the time to
/// first token by the time of arrival.
pub(crate) fn picture(setting: &Setting) -> String {
    let columns = setting.pairs.len() as f64;
    let (width, height) = (columns * (PLOT.0 + ROOM.0) + 10.0, 2.0 * (PLOT.1 + ROOM.1) + 24.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"{}\">\n{STYLE}\n<text x=\"{}\" y=\"14\" class=\"of-real\">vLLM</text>\
         <text x=\"{}\" y=\"14\" class=\"of-model\">model, dashed</text>\n",
        setting.title,
        ROOM.0,
        ROOM.0 + 44.0
    );
    for (column, (real, model)) in setting.pairs.iter().enumerate() {
        let x = column as f64 * (PLOT.0 + ROOM.0) + ROOM.0;
        let end = real.gauges.last().map_or(60.0, |gauges| gauges.second);
        let waiting = |run: &Run| -> Vec<(f64, f64)> {
            run.gauges.iter().map(|gauges| (gauges.second, gauges.waiting)).collect()
        };
        let ttft = |run: &Run| -> Vec<(f64, f64)> {
            run.requests.iter().map(|Request { at, ttft, .. }| (*at, *ttft)).collect()
        };
        let plot = Plot { x, y: 24.0 + 14.0, end, lines: true };
        let title = format!("{} %: waiting requests", real.share);
        svg.push_str(&plot.svg(&title, &waiting(real), &waiting(model)));
        let plot = Plot { y: plot.y + PLOT.1 + ROOM.1, lines: false, ..plot };
        svg.push_str(&plot.svg("TTFT, s", &ttft(real), &ttft(model)));
    }
    svg + "</svg>\n"
}

struct Plot {
    x: f64,
    y: f64,
    /// The last second.
    end: f64,
    lines: bool,
}

impl Plot {
    fn svg(&self, title: &str, real: &[(f64, f64)], model: &[(f64, f64)]) -> String {
        let (x, y, base) = (self.x, self.y, self.y + PLOT.1);
        let highest = real.iter().chain(model).map(|point| point.1).fold(0.0, f64::max);
        let top = round_up(if self.lines { highest.max(1.0) } else { highest });
        let mut svg = format!(
            "<text x=\"{x}\" y=\"{}\">{title}</text><path class=\"axis\" d=\"M{x} {y}V{base}H{}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{top}</text>\
             <text x=\"{}\" y=\"{base}\" text-anchor=\"end\">0</text>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.0} s</text>\n",
            y - 4.0,
            x + PLOT.0,
            x - 4.0,
            y + 9.0,
            x - 4.0,
            x + PLOT.0,
            base + 12.0,
            self.end,
        );
        for (class, points) in [("real", real), ("model", model)] {
            svg.push_str(&self.marks(class, points, top));
            svg.push('\n');
        }
        svg
    }

    fn marks(&self, class: &str, points: &[(f64, f64)], top: f64) -> String {
        let places = points.iter().map(|(second, value)| {
            let x = self.x + second / self.end * PLOT.0;
            (x, self.y + (1.0 - value / top) * PLOT.1)
        });
        if self.lines {
            let points: Vec<_> = places.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            return format!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
        }
        // Strokes without a length are dots.
        let every = points.len().div_ceil(DOTS).max(1);
        let mut svg = format!("<path class=\"{class} dots\" d=\"");
        for (x, y) in places.step_by(every) {
            write!(svg, "M{x:.1} {y:.1}h0").unwrap();
        }
        svg + "\"/>"
    }
}

/// Returns the next round number: 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-3).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|it| *it >= value).unwrap()
}
