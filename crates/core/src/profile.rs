//! Where decisions deliberately differ from the HPA's, each difference by its name.

/// Whether decisions are the HPA's to the bit, or ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// No deviation at all: what Kubernetes 1.37's HPA would do, its odd parts included.
    HpaExact,
    /// The HPA with the deviations listed in `docs/hpa-compatibility.md`.
    Default,
}
