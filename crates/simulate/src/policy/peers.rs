//! Other autoscalers, each as its documentation and code describe it. A figure of one of them is of
//! our reading, not of the product.

pub(super) mod aibrix;
pub(super) mod dynamo;
pub(super) mod knative;
pub(super) mod kthena;
pub(super) mod slo_aware;
pub(super) mod token_aware;
pub(super) mod wva;
