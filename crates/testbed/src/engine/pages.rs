//! Metrics pages of all engines: the recorded fixtures with other numbers in them.

use std::fmt;

/// An engine, and the recorded page of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnginePage {
    /// vLLM 0.15.1.
    Vllm,
    /// The same vLLM as Ray Serve publishes it, with other names.
    VllmUnderRay,
    /// SGLang 0.5.23.
    Sglang,
    /// A worker of NVIDIA Dynamo 1.6.1 that runs vLLM.
    DynamoWorker,
    /// A frontend of NVIDIA Dynamo 1.6.1.
    DynamoFrontend,
    /// TensorRT-LLM.
    TensorRtLlm,
    /// LMDeploy 0.18.0.
    LmDeploy,
    /// Text Generation Inference 3.
    Tgi,
    /// Modular MAX 26.7.0.
    Max,
}

/// A series on a page, and the value it is set to.
struct Setting {
    /// The name of the series.
    name: &'static str,
    /// A further text that the line must contain, such as a label.
    label: &'static str,
    of: Quantity,
}

#[derive(Clone, Copy)]
enum Quantity {
    Running,
    Waiting,
    InFlight,
}

impl EnginePage {
    /// All pages.
    pub const ALL: [Self; 9] = [
        Self::Vllm,
        Self::VllmUnderRay,
        Self::Sglang,
        Self::DynamoWorker,
        Self::DynamoFrontend,
        Self::TensorRtLlm,
        Self::LmDeploy,
        Self::Tgi,
        Self::Max,
    ];

    /// Returns the engine's name in a spec.
    pub fn engine(self) -> &'static str {
        match self {
            Self::Vllm | Self::VllmUnderRay => "VLLM",
            Self::Sglang => "SGLang",
            Self::DynamoWorker | Self::DynamoFrontend => "Dynamo",
            Self::TensorRtLlm => "TensorRTLLM",
            Self::LmDeploy => "LMDeploy",
            Self::Tgi => "TGI",
            Self::Max => "MAX",
        }
    }

    /// Returns the page with `running` requests in the batch and `waiting` ones in the queue.
    pub fn page(self, running: u64, waiting: u64) -> String {
        let settings = self.settings();
        let mut page = String::new();
        for line in self.fixture().lines() {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let setting = settings
                .iter()
                .find(|setting| setting.name == name && line.contains(setting.label));
            match (setting, line.rsplit_once(' ')) {
                (Some(setting), Some((series, _))) => {
                    let value = match setting.of {
                        Quantity::Running => running,
                        Quantity::Waiting => waiting,
                        Quantity::InFlight => running + waiting,
                    };
                    page.extend([series, " ", &value.to_string()]);
                }
                _ => page.push_str(line),
            }
            page.push('\n');
        }
        if self == Self::VllmUnderRay { page.replace("vllm:", "ray_vllm_") } else { page }
    }

    fn fixture(self) -> &'static str {
        macro_rules! fixture {
            ($name:literal) => {
                include_str!(concat!("../../../../tests/fixtures/engines/", $name))
            };
        }
        match self {
            Self::Vllm | Self::VllmUnderRay => fixture!("vllm-0.15.1-busy.txt"),
            Self::Sglang => fixture!("sglang-0.5.23-collector.txt"),
            Self::DynamoWorker => fixture!("dynamo-1.6.1-mocker-vllm-busy.txt"),
            Self::DynamoFrontend => fixture!("dynamo-1.6.1-frontend-busy.txt"),
            Self::TensorRtLlm => fixture!("trtllm-050f80d-declared.txt"),
            Self::LmDeploy => fixture!("lmdeploy-0.18.0-rank0-collector.txt"),
            Self::Tgi => fixture!("tgi-3.x-by-hand.txt"),
            Self::Max => fixture!("max-26.7.0-declared.txt"),
        }
    }

    fn settings(self) -> Vec<Setting> {
        let set = |name, of| Setting { name, label: "", of };
        let generate =
            |name| Setting { name, label: "dynamo_endpoint=\"generate\"", of: Quantity::InFlight };
        match self {
            Self::Vllm | Self::VllmUnderRay => vec![
                set("vllm:num_requests_running", Quantity::Running),
                set("vllm:num_requests_waiting", Quantity::Waiting),
            ],
            Self::Sglang => vec![
                set("sglang:num_running_reqs", Quantity::Running),
                set("sglang:num_queue_reqs", Quantity::Waiting),
            ],
            Self::DynamoWorker => vec![
                generate("dynamo_component_inflight_requests"),
                set("vllm:num_requests_running", Quantity::Running),
                set("vllm:num_requests_waiting", Quantity::Waiting),
            ],
            Self::DynamoFrontend => vec![
                set("dynamo_frontend_inflight_requests", Quantity::InFlight),
                set("dynamo_frontend_queued_requests", Quantity::Waiting),
            ],
            Self::TensorRtLlm => vec![
                set("trtllm_num_requests_running", Quantity::Running),
                set("trtllm_num_requests_waiting", Quantity::Waiting),
            ],
            Self::LmDeploy => vec![
                set("lmdeploy:num_requests_running", Quantity::Running),
                set("lmdeploy:num_api_requests_routed", Quantity::Running),
                set("lmdeploy:num_api_requests_waiting", Quantity::Waiting),
            ],
            Self::Tgi => vec![
                set("tgi_batch_current_size", Quantity::Running),
                set("tgi_queue_size", Quantity::Waiting),
            ],
            Self::Max => vec![
                set("maxserve_num_requests_running", Quantity::InFlight),
                set("maxserve_num_requests_queued", Quantity::Waiting),
            ],
        }
    }
}

impl fmt::Display for EnginePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vllm => "vllm",
            Self::VllmUnderRay => "vllm-under-ray",
            Self::Sglang => "sglang",
            Self::DynamoWorker => "dynamo-worker",
            Self::DynamoFrontend => "dynamo-frontend",
            Self::TensorRtLlm => "tensorrt-llm",
            Self::LmDeploy => "lmdeploy",
            Self::Tgi => "tgi",
            Self::Max => "max",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_on_its_page_once() {
        for engine in EnginePage::ALL {
            for Setting { name, label, .. } in engine.settings() {
                let is = |line: &&str| {
                    line.split(['{', ' ']).next() == Some(name) && line.contains(label)
                };
                assert_eq!(engine.fixture().lines().filter(is).count(), 1, "{engine} {name}");
            }
            let page = engine.page(7, 5);
            assert_eq!(page.lines().count(), engine.fixture().lines().count());
        }
    }
}
