//! The extended resources of pods, and the DRA drivers, that provide GPUs or other accelerators.

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

/// DRA drivers of accelerators with names that do not begin with `gpu.`.
const DRIVERS: [&str; 3] = ["gaudi.intel.com", "neuron.aws.com", "tpu.google.com"];

/// Huawei's device plugin names each model of its accelerators, such as `huawei.com/Ascend910`. A
/// hyphen follows in the names of slices.
const ASCEND: &str = "huawei.com/Ascend";

/// The names of the extended resources, and of the DRA drivers, that count as GPUs: those that are
/// known, and further ones of the operator's configuration.
///
/// Known are `gpu` of any domain (`nvidia.com/gpu`, `amd.com/gpu`), Intel's `gpu.intel.com/i915`
/// and `gpu.intel.com/xe`, `habana.ai/gaudi`, `huawei.com/Ascend…`, `google.com/tpu`,
/// `aws.amazon.com/neuron`, `aws.amazon.com/neurondevice` and `cambricon.com/mlu`. Slices and
/// shares of a GPU, such as `nvidia.com/mig-1g.10gb` or `nvidia.com/gpu.shared`, are not known,
/// because they are not whole GPUs. Known drivers of Dynamic Resource Allocation are those with a
/// name that begins with `gpu.` (`gpu.nvidia.com`, `gpu.amd.com`, `gpu.intel.com`),
/// `gaudi.intel.com`, `neuron.aws.com` and `tpu.google.com`.
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
            || self.is_further(resource)
    }

    /// Returns whether the devices of a DRA driver count as GPUs.
    pub fn has_driver(&self, driver: &str) -> bool {
        driver.starts_with("gpu.") || DRIVERS.contains(&driver) || self.is_further(driver)
    }

    fn is_further(&self, name: &str) -> bool {
        self.0.iter().any(|further| further == name)
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

    #[test]
    fn drivers_of_accelerators_are_known_and_others_can_be_added() {
        let further = GpuResources::new(vec!["npu.example.com".to_owned()]);
        let table = [
            ("gpu.nvidia.com", true),
            ("gpu.amd.com", true),
            ("gaudi.intel.com", true),
            ("npu.example.com", true),
            ("compute-domain.nvidia.com", false),
            ("nic.example.com", false),
        ];
        for (name, expected) in table {
            assert_eq!(further.has_driver(name), expected, "{name}");
        }
    }
}
