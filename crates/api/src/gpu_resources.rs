//! The extended resources of pods that are GPUs or other accelerators.

/// Resources that are a whole accelerator each, although their names do not end in `/gpu`.
const KNOWN: [&str; 7] = [
    "gpu.intel.com/i915",
    "gpu.intel.com/xe",
    "habana.ai/gaudi",
    "google.com/tpu",
    "aws.amazon.com/neuron",
    "aws.amazon.com/neurondevice",
    "cambricon.com/mlu",
];

/// Huawei's device plugin names each model of its accelerators, such as `huawei.com/Ascend910`. A
/// hyphen follows in the names of slices.
const ASCEND: &str = "huawei.com/Ascend";

/// The names of the extended resources that count as GPUs: those that are known, and further ones
/// of the operator's configuration.
///
/// Known are `gpu` of any domain (`nvidia.com/gpu`, `amd.com/gpu`), Intel's `gpu.intel.com/i915`
/// and `gpu.intel.com/xe`, `habana.ai/gaudi`, `huawei.com/Ascend…`, `google.com/tpu`,
/// `aws.amazon.com/neuron`, `aws.amazon.com/neurondevice` and `cambricon.com/mlu`. Slices and
/// shares of a GPU, such as `nvidia.com/mig-1g.10gb` or `nvidia.com/gpu.shared`, are not known,
/// because they are not whole GPUs.
///
/// ```
/// use llm_autoscaler_api::GpuResources;
///
/// let resources = GpuResources::new(vec!["nvidia.com/mig-3g.40gb".to_owned()]);
/// assert!(resources.has("amd.com/gpu") && resources.has("nvidia.com/mig-3g.40gb"));
/// assert!(!resources.has("rdma/hca"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuResources(Vec<String>);

impl GpuResources {
    /// Adds further names to those that are known.
    pub fn new(further: Vec<String>) -> Self {
        Self(further)
    }

    /// Returns whether a resource counts as GPUs.
    pub fn has(&self, resource: &str) -> bool {
        let is_ascend = resource.strip_prefix(ASCEND).is_some_and(|model| !model.contains('-'));
        is_ascend
            || resource.split_once('/').is_some_and(|(_, name)| name == "gpu")
            || KNOWN.contains(&resource)
            || self.0.iter().any(|further| further == resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_accelerators_are_gpus_and_slices_are_not() {
        let table = [
            ("nvidia.com/gpu", true),
            ("amd.com/gpu", true),
            ("metax-tech.com/gpu", true),
            ("gpu.intel.com/i915", true),
            ("huawei.com/Ascend910", true),
            ("huawei.com/Ascend310P-4c", false),
            ("nvidia.com/mig-1g.10gb", false),
            ("nvidia.com/gpu.shared", false),
            ("gpu.intel.com/i915_monitoring", false),
            ("rdma/hca", false),
            ("cpu", false),
            ("gpu", false),
        ];
        for (name, expected) in table {
            assert_eq!(GpuResources::default().has(name), expected, "{name}");
        }
    }
}
