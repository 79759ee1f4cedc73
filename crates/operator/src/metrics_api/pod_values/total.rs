//! The sum of a number over the pods of one target.

use llm_autoscaler_api::exported;

use super::{Missing, PodValues, REASONS};
use crate::http::wake::AutoscalerKey;

impl PodValues {
    /// Returns the sum of a number of the pods of one target that are or have been ready: the
    /// others have no requests yet.
    ///
    /// # Errors
    /// A pod has no sample, or the pods are not known: see [`Missing`]. A sum without one of them
    /// would be too small.
    pub(in crate::metrics_api) async fn total(
        &self,
        autoscaler: &AutoscalerKey,
        role: Option<&str>,
        metric: &str,
    ) -> Result<f64, Missing> {
        let AutoscalerKey { namespace, name } = autoscaler;
        let mut targets = self.catalog.targets(namespace, self.profile).into_iter();
        let target = targets
            .find(|target| target.autoscaler == *autoscaler && target.role.name.as_deref() == role);
        let measured = target.and_then(|target| {
            let measure = exported::measure(&target.role.config, metric, &[])?;
            Some((target, measure))
        });
        let (target, measure) = measured.ok_or_else(|| {
            Missing::Metric(format!(
                "the LLMAutoscaler {name} in {namespace} has no metric {metric} of its pods: its \
                 engine or its spec names it otherwise"
            ))
        })?;
        if let Some(problem) = self.sampling.pods.problem(namespace) {
            return Err(Missing::Samples(problem));
        }
        let number = self.number((metric, &[]), target, &measure)?;
        let (values, mut missing) = self.read(number, |pod| pod.was_ready).await;
        missing.truncate(REASONS);
        match (&values[..], &missing[..]) {
            ([], []) => Err(Missing::Samples(format!("{name}: it has no pod that is ready"))),
            (values, []) => Ok(values.iter().map(|it| it.value.0 as f64 / 1000.0).sum()),
            (_, missing) => {
                Err(Missing::Samples(format!("no sample of {metric}: {}", missing.join("; "))))
            }
        }
    }
}
