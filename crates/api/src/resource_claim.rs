//! ResourceClaims of Dynamic Resource Allocation (`resource.k8s.io/v1`), as far as the bill needs
//! them.

use serde::Deserialize;
use serde_json::Value;

use crate::GpuResources;

/// A part of the names of devices that are a slice of a GPU with NVIDIA's driver, such as
/// `gpu-0-mig-1g10gb-19-0`.
const SLICE: &str = "-mig-";

#[derive(Deserialize)]
struct Status {
    allocation: Option<Allocation>,
}

#[derive(Deserialize)]
struct Allocation {
    #[serde(default)]
    devices: Devices,
}

#[derive(Deserialize, Default)]
struct Devices {
    #[serde(default)]
    results: Vec<Device>,
}

/// A device that is allocated for a request of the claim.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    driver: String,
    #[serde(rename = "device")]
    name: String,
    /// The device is looked at, and used by others meanwhile.
    #[serde(default)]
    admin_access: bool,
    /// The device is shared with other claims.
    #[serde(rename = "shareID")]
    share_id: Option<String>,
}

/// Returns the number of GPUs that are allocated to a claim, over all of its requests, from its
/// status; `None` while nothing is allocated. Slices and shares are no whole GPUs, and count as
/// none, as those of extended resources do.
///
/// ```
/// use llm_autoscaler_api::{GpuResources, allocated_gpus};
///
/// let status = serde_json::json!({"allocation": {"devices": {"results": [
///     {"request": "gpus", "driver": "gpu.nvidia.com", "pool": "node-1", "device": "gpu-0"},
///     {"request": "gpus", "driver": "gpu.nvidia.com", "pool": "node-1", "device": "gpu-1"},
/// ]}}});
/// assert_eq!(allocated_gpus(&status, &GpuResources::default()), Some(2));
/// ```
pub fn allocated_gpus(status: &Value, gpus: &GpuResources) -> Option<u32> {
    let Allocation { devices } = Status::deserialize(status).ok()?.allocation?;
    let is_gpu = |device: &&Device| {
        gpus.has_driver(&device.driver)
            && !device.name.contains(SLICE)
            && !device.admin_access
            && device.share_id.is_none()
    };
    u32::try_from(devices.results.iter().filter(is_gpu).count()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_gpus_are_counted_once_something_is_allocated() {
        let device = |driver: &str, device: &str| json!({"driver": driver, "device": device});
        let nvidia = |name: &str| device("gpu.nvidia.com", name);
        let with = |field: &str, value: Value| {
            let mut device = nvidia("gpu-0");
            device[field] = value;
            device
        };
        let status = |devices: &[Value]| json!({"allocation": {"devices": {"results": devices}}});
        let table = [
            (json!(null), None),
            (json!({}), None),
            (json!({"reservedFor": []}), None),
            (json!({"allocation": "damaged"}), None),
            (json!({"allocation": {}}), Some(0)),
            (status(&[nvidia("gpu-0"), device("gpu.amd.com", "gpu-56-184")]), Some(2)),
            (status(&[nvidia("gpu-0"), device("compute-domain.nvidia.com", "channel-0")]), Some(1)),
            (status(&[nvidia("gpu-0-mig-1g10gb-19-0")]), Some(0)),
            (status(&[with("adminAccess", json!(true))]), Some(0)),
            (status(&[with("shareID", json!("a671734a-e8e5-11e4-8fde-42010af09327"))]), Some(0)),
        ];
        for (status, expected) in table {
            assert_eq!(allocated_gpus(&status, &GpuResources::default()), expected, "{status}");
        }
    }
}
