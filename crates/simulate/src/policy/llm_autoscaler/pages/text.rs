//! A metrics page of vLLM with the series that the engine tables name, and no others.

use std::fmt::Write;

use llm_autoscaler_sim::Histogram;

use crate::sight::Reading;

/// The memory of a page, which is written again and again.
#[derive(Debug)]
pub(super) struct PageText {
    text: String,
    has_histograms: bool,
    /// The tokens of the KV cache, if the page has what an engine is learned by.
    kv_tokens: Option<u64>,
}

impl PageText {
    /// Returns an empty page. Histograms are most of a page, and are left out if nothing reads
    /// them.
    pub(super) fn new(has_histograms: bool) -> Self {
        Self { text: String::new(), has_histograms, kv_tokens: None }
    }

    /// Adds what an engine with a KV cache of this many tokens is learned by.
    pub(super) fn set_kv_tokens(&mut self, tokens: u64) {
        self.kv_tokens = Some(tokens);
    }

    /// Writes the page of these numbers.
    pub(super) fn write(&mut self, reading: &Reading) -> &str {
        let Reading { gauges, metrics, .. } = reading;
        self.text.clear();
        for (name, value) in [
            ("num_requests_running", gauges.running),
            ("num_requests_waiting", gauges.waiting),
            ("num_preemptions_total", metrics.preemptions),
            ("prompt_tokens_total", metrics.prompt_tokens),
            ("generation_tokens_total", metrics.generation_tokens),
            ("request_success_total", metrics.finished_length),
        ] {
            self.series(name, value);
        }
        self.series("kv_cache_usage_perc", gauges.kv_usage);
        if self.has_histograms {
            self.histogram("time_to_first_token_seconds", &metrics.time_to_first_token);
            self.histogram("inter_token_latency_seconds", &metrics.inter_token_latency);
            self.histogram("e2e_request_latency_seconds", &metrics.e2e_request_latency);
            self.histogram("request_queue_time_seconds", &metrics.request_queue_time);
        }
        if let Some(tokens) = self.kv_tokens {
            // Only the page of a single API server has times of creation.
            self.series("prompt_tokens_created", 0);
            self.series("prefix_cache_hits_total", reading.cached_tokens);
            self.series("iteration_tokens_total_count", reading.steps);
            self.histogram("request_time_per_output_token_seconds", &reading.time_per_output_token);
            let labels = format!("block_size=\"1\",num_gpu_blocks=\"{tokens}\"");
            let _ = writeln!(self.text, "vllm:cache_config_info{{engine=\"0\",{labels}}} 1");
        }
        &self.text
    }

    fn series(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "vllm:{name}{{engine=\"0\"}} {value}");
    }

    fn histogram(&mut self, name: &str, histogram: &Histogram) {
        for (bound, count) in histogram.cumulative() {
            let bound = if bound.is_finite() { format!("{bound}") } else { "+Inf".to_owned() };
            let _ =
                writeln!(self.text, "vllm:{name}_bucket{{engine=\"0\",le=\"{bound}\"}} {count}");
        }
        self.series(&format!("{name}_count"), histogram.count());
        self.series(&format!("{name}_sum"), histogram.sum());
    }
}
