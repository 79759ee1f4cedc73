//! Writes the `/metrics` page of vLLM 0.15.1, with the families that an autoscaler reads.

use std::fmt::Write;

use crate::{Engine, Gauges, Histogram, Metrics};

/// The content of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<'a> {
    /// The served model's name (vLLM's `--served-model-name`).
    pub model_name: &'a str,
    /// The engine's start time in seconds since 1970, for the `_created` series.
    pub created: f64,
    /// The engine's gauges.
    pub gauges: Gauges,
    /// The engine's counters and histograms.
    pub metrics: &'a Metrics,
    /// The number of the engine's steps.
    pub steps: u64,
    /// The mean times between two tokens of the finished requests.
    pub time_per_output_token: &'a Histogram,
    /// The number of KV cache blocks, and the tokens of one.
    pub kv_blocks: (u32, u32),
}

impl<'a> Page<'a> {
    /// Returns the page of an engine.
    pub fn of(engine: &'a Engine, model_name: &'a str, created: f64) -> Self {
        let config = engine.config();
        Self {
            model_name,
            created,
            gauges: engine.gauges(),
            metrics: engine.metrics(),
            steps: engine.steps(),
            time_per_output_token: engine.time_per_output_token(),
            kv_blocks: (config.kv_blocks, config.block_size),
        }
    }
}

/// Writes a page in the exposition format as vLLM's Python client library does: labels in
/// alphabetical order, numbers as Python's floats, a `_created` gauge after each counter and
/// histogram.
pub fn render(page: &Page<'_>) -> String {
    let mut writer = Writer::new(page);
    let (gauges, metrics) = (&page.gauges, page.metrics);
    writer.gauge("num_requests_running", "Requests in the running batch.", gauges.running as f64);
    writer.gauge("num_requests_waiting", "Requests in the queue.", gauges.waiting as f64);
    writer.gauge("kv_cache_usage_perc", "Used share of the KV cache, 1 is full.", gauges.kv_usage);
    writer.counter("num_preemptions", "Preempted requests.", metrics.preemptions);
    writer.counter("prompt_tokens", "Prompt tokens computed.", metrics.prompt_tokens);
    writer.counter("generation_tokens", "Tokens generated.", metrics.generation_tokens);
    // There is no prefix cache, as with --no-enable-prefix-caching.
    writer.counter("prefix_cache_hits", "Prompt tokens found in the prefix cache.", 0);
    writer.request_success(metrics);
    writer.iterations(page.steps);
    writer.cache_config(page.kv_blocks);
    for (name, help, histogram) in [
        ("time_to_first_token_seconds", "Time to the first token.", &metrics.time_to_first_token),
        ("inter_token_latency_seconds", "Time between two tokens.", &metrics.inter_token_latency),
        ("e2e_request_latency_seconds", "Time to the last token.", &metrics.e2e_request_latency),
        ("request_queue_time_seconds", "Time in the queue.", &metrics.request_queue_time),
        (
            "request_time_per_output_token_seconds",
            "Mean time between two tokens of a request.",
            page.time_per_output_token,
        ),
    ] {
        writer.histogram(name, help, histogram);
    }
    writer.text
}

struct Writer {
    text: String,
    /// The model's name, escaped for a label.
    model: String,
    created: String,
}

impl Writer {
    fn new(page: &Page<'_>) -> Self {
        let model = page.model_name.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        Self { text: String::with_capacity(16 * 1024), model, created: number(page.created) }
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP vllm:{name} {help}"));
        self.line(format_args!("# TYPE vllm:{name} {kind}"));
    }

    /// Writes one sample. `label` is a further label, such as `le="0.1"`, between `engine` and
    /// `model_name`.
    fn sample(&mut self, name: &str, label: &str, value: &str) {
        let comma = if label.is_empty() { "" } else { "," };
        let model = std::mem::take(&mut self.model);
        self.line(format_args!(
            r#"vllm:{name}{{engine="0"{comma}{label},model_name="{model}"}} {value}"#
        ));
        self.model = model;
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn created(&mut self, name: &str, help: &str, label: &str) {
        let created = self.created.clone();
        self.head(&format!("{name}_created"), help, "gauge");
        self.sample(&format!("{name}_created"), label, &created);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        self.sample(name, "", &number(value));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(&format!("{name}_total"), help, "counter");
        self.sample(&format!("{name}_total"), "", &number(value as f64));
        self.created(name, help, "");
    }

    fn request_success(&mut self, metrics: &Metrics) {
        let reasons = [
            ("stop", 0),
            ("length", metrics.finished_length),
            ("abort", metrics.finished_abort),
            ("error", 0),
        ];
        let help = "Requests that ended, by reason.";
        let created = self.created.clone();
        self.head("request_success_total", help, "counter");
        for (reason, count) in reasons {
            let label = format!(r#"finished_reason="{reason}""#);
            self.sample("request_success_total", &label, &number(count as f64));
        }
        self.head("request_success_created", help, "gauge");
        for (reason, _) in reasons {
            let label = format!(r#"finished_reason="{reason}""#);
            self.sample("request_success_created", &label, &created);
        }
    }

    /// Writes the number of steps. Of their histogram only the count is known.
    fn iterations(&mut self, steps: u64) {
        let help = "Histogram of number of tokens per engine_step.";
        self.head("iteration_tokens_total", help, "histogram");
        self.sample("iteration_tokens_total_bucket", r#"le="+Inf""#, &number(steps as f64));
        self.sample("iteration_tokens_total_count", "", &number(steps as f64));
    }

    fn cache_config(&mut self, (blocks, block_size): (u32, u32)) {
        self.head("cache_config_info", "Information of the LLMEngine CacheConfig", "gauge");
        self.line(format_args!(
            "vllm:cache_config_info{{block_size=\"{block_size}\",engine=\"0\",\
             num_gpu_blocks=\"{blocks}\"}} 1.0"
        ));
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, help, "histogram");
        for (bound, count) in histogram.cumulative() {
            let label = format!(r#"le="{}""#, number(bound));
            self.sample(&format!("{name}_bucket"), &label, &number(count as f64));
        }
        self.sample(&format!("{name}_count"), "", &number(histogram.count() as f64));
        self.sample(&format!("{name}_sum"), "", &number(histogram.sum()));
        self.created(name, help, "");
    }
}

/// Formats a number as Python's `prometheus_client` does: always with a point, with an exponent
/// from a million on.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let plain = format!("{value:?}");
    match plain.split_once('.') {
        Some((whole, fraction)) if value > 0.0 && whole.len() > 6 && !plain.contains('e') => {
            let digits = format!("{}{fraction}", &whole[1..]);
            let digits = digits.trim_end_matches('0');
            let point = if digits.is_empty() { "" } else { "." };
            format!("{}{point}{digits}e+{:02}", &whole[..1], whole.len() - 1)
        }
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_formatted_like_pythons() {
        for (value, expected) in [
            (0.0, "0.0"),
            (7.0, "7.0"),
            (0.677_165_354_330_708_7, "0.6771653543307087"),
            (420_256.0, "420256.0"),
            (1_000_000.0, "1e+06"),
            (1_073_741_824.0, "1.073741824e+09"),
            (1_795_475_069.503_805_4, "1.7954750695038054e+09"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn a_page_has_the_lines_of_a_real_one() {
        let mut metrics =
            Metrics { generation_tokens: 27_414, finished_length: 275, ..Metrics::default() };
        metrics.time_to_first_token.observe(0.3);
        let text = render(&Page {
            model_name: "qwen3-32b",
            created: 1_795_475_069.503_805_4,
            gauges: Gauges { running: 7, waiting: 11, kv_usage: 86.0 / 127.0 },
            metrics: &metrics,
            steps: 3_614,
            time_per_output_token: &Histogram::new(&[0.01]),
            kv_blocks: (128, 128),
        });
        for line in [
            "# TYPE vllm:num_requests_running gauge",
            r#"vllm:num_requests_running{engine="0",model_name="qwen3-32b"} 7.0"#,
            r#"vllm:num_requests_waiting{engine="0",model_name="qwen3-32b"} 11.0"#,
            r#"vllm:kv_cache_usage_perc{engine="0",model_name="qwen3-32b"} 0.6771653543307087"#,
            "# TYPE vllm:generation_tokens_total counter",
            r#"vllm:generation_tokens_total{engine="0",model_name="qwen3-32b"} 27414.0"#,
            r#"vllm:generation_tokens_created{engine="0",model_name="qwen3-32b"} 1.7954750695038054e+09"#,
            r#"vllm:request_success_total{engine="0",finished_reason="length",model_name="qwen3-32b"} 275.0"#,
            "# TYPE vllm:time_to_first_token_seconds histogram",
            r#"vllm:time_to_first_token_seconds_bucket{engine="0",le="0.25",model_name="qwen3-32b"} 0.0"#,
            r#"vllm:time_to_first_token_seconds_bucket{engine="0",le="0.5",model_name="qwen3-32b"} 1.0"#,
            r#"vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="qwen3-32b"} 1.0"#,
            r#"vllm:time_to_first_token_seconds_sum{engine="0",model_name="qwen3-32b"} 0.3"#,
            "# TYPE vllm:iteration_tokens_total histogram",
            r#"vllm:iteration_tokens_total_count{engine="0",model_name="qwen3-32b"} 3614.0"#,
            "# TYPE vllm:request_time_per_output_token_seconds histogram",
            "# TYPE vllm:cache_config_info gauge",
            r#"vllm:cache_config_info{block_size="128",engine="0",num_gpu_blocks="128"} 1.0"#,
        ] {
            assert!(text.lines().any(|l| l == line), "missing {line:?} in\n{text}");
        }
    }
}
