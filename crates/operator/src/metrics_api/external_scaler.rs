//! KEDA's external scaler: recommendations and numbers of LLMAutoscalers, by gRPC.
//!
//! KEDA requests the value at each of its polls and at each look of the HPA that it creates, and
//! has a stream by which a target at zero is woken within a second. A value that is not known is an
//! error and never zero; KEDA then keeps the size, or takes the `fallback` of the ScaledObject.

mod protocol;
mod trigger;

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use llm_autoscaler_api::{LLMAutoscaler, ScalingMode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{
    Status,
    server::{Grpc, ServerStreamingService, UnaryService},
};
use tonic_prost::ProstCodec;

use self::{
    protocol::{
        GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec,
        MetricValue, ScaledObjectRef,
    },
    trigger::{Number, Trigger},
};
use crate::{
    http::wake::AutoscalerKey,
    metrics_api::{
        pod_values::{Missing, PodValues},
        recommendations::Recommendations,
    },
};

/// The service in paths.
const SERVICE: &str = "/externalscaler.ExternalScaler/";
/// The largest message of a client, in bytes.
const MESSAGE: usize = 16 << 10;
/// The number of calls that are answered at once, streams not counted.
const AT_ONCE: usize = 128;
/// The number of streams that are open at once: one for each trigger of the type `external-push`.
const STREAMS: usize = 2000;
/// The time between two looks of a stream at a recommendation.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The time between two looks of a stream at a number of pods, which are scraped for each.
const LOOK_AT_PODS_EVERY: Duration = Duration::from_secs(15);

/// Answers KEDA. Cheap to clone.
#[derive(Clone)]
pub(super) struct ExternalScaler {
    pod_values: Arc<PodValues>,
    recommendations: Recommendations,
    turns: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

type Reply<T> = BoxFuture<'static, Result<tonic::Response<T>, Status>>;

impl ExternalScaler {
    /// Answers by these.
    pub(super) fn new(pod_values: Arc<PodValues>, recommendations: Recommendations) -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Self { pod_values, recommendations, turns, streams: Arc::new(Semaphore::new(STREAMS)) }
    }

    /// Answers a call.
    pub(super) async fn answer(self, request: Request) -> Response {
        let method = request.uri().path().strip_prefix(SERVICE).map(ToOwned::to_owned);
        let response = match method.as_deref() {
            Some("IsActive") => grpc().unary(IsActive(self), request).await,
            Some("StreamIsActive") => grpc().server_streaming(IsActive(self), request).await,
            Some("GetMetricSpec") => grpc().unary(GetMetricSpec(self), request).await,
            Some("GetMetrics") => grpc().unary(GetMetrics(self), request).await,
            // KEDA reads the targets again at each poll, so that StreamMetricSpec is not needed.
            _ => return Status::unimplemented("there is no such call").into_http::<Body>(),
        };
        response.map(Body::new).into_response()
    }

    /// Returns the value that a trigger asks for.
    async fn value(&self, trigger: &Trigger) -> Result<f64, Status> {
        let _turn = self
            .turns
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("too many calls at once: try again"))?;
        let object = self.object(trigger)?;
        let role = trigger.role.as_deref();
        match &trigger.number {
            Number::Recommendation => {
                let found = self.recommendations.of(&object, role);
                found.map(f64::from).map_err(Status::unavailable)
            }
            Number::OfPods(metric) => {
                let found = self.pod_values.total(&trigger.autoscaler, role, metric).await;
                found.map_err(|missing| match missing {
                    Missing::Metric(reason) => Status::not_found(reason),
                    Missing::Samples(reason) => Status::unavailable(reason),
                })
            }
        }
    }

    /// Returns the LLMAutoscaler of a trigger, which only recommends and has the role. Where it
    /// scales its target itself, KEDA's HPA would undo that.
    fn object(&self, trigger: &Trigger) -> Result<Arc<LLMAutoscaler>, Status> {
        let AutoscalerKey { namespace, name } = &trigger.autoscaler;
        let object = self.recommendations.catalog.object(&trigger.autoscaler);
        let object = object.ok_or_else(|| {
            Status::not_found(format!("there is no LLMAutoscaler {name} in {namespace}"))
        })?;
        if object.spec.mode != ScalingMode::Recommend {
            return Err(Status::failed_precondition(format!(
                "the LLMAutoscaler {name} in {namespace} scales its target itself: set \
                 spec.mode: Recommend, or remove the trigger"
            )));
        }
        let roles: Vec<&str> = object.spec.roles.iter().flatten().map(|it| &*it.name).collect();
        let fits = match trigger.role.as_deref() {
            Some(role) => roles.contains(&role),
            None => roles.is_empty(),
        };
        if fits {
            return Ok(object);
        }
        Err(Status::invalid_argument(match &roles[..] {
            [] => format!("metadata.role: leave it out, the LLMAutoscaler {name} has no roles"),
            roles => format!("metadata.role: name one of {}", roles.join(", ")),
        }))
    }

    /// Streams whether there is anything to do: at the beginning, and when it changes. While it is
    /// not known nothing is sent.
    fn activity(
        self,
        trigger: Trigger,
        permit: OwnedSemaphorePermit,
    ) -> BoxStream<'static, Result<IsActiveResponse, Status>> {
        let pause = match trigger.number {
            Number::Recommendation => LOOK_EVERY,
            Number::OfPods(_) => LOOK_AT_PODS_EVERY,
        };
        let start = (self, trigger, permit, None);
        let looks = stream::unfold(start, move |(scaler, trigger, permit, sent)| async move {
            loop {
                let value = scaler.value(&trigger).await;
                let result = value.ok().map(|value| value > 0.0);
                if let Some(result) = result.filter(|result| sent != Some(*result)) {
                    let next = (scaler, trigger, permit, Some(result));
                    return Some((Ok(IsActiveResponse { result }), next));
                }
                tokio::time::sleep(pause).await;
            }
        });
        looks.boxed()
    }
}

fn grpc<T, U>() -> Grpc<ProstCodec<T, U>>
where
    T: prost::Message + 'static,
    U: prost::Message + Default + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(MESSAGE)
}

/// The calls `IsActive` and `StreamIsActive`.
struct IsActive(ExternalScaler);

impl UnaryService<ScaledObjectRef> for IsActive {
    type Response = IsActiveResponse;
    type Future = Reply<IsActiveResponse>;

    fn call(&mut self, request: tonic::Request<ScaledObjectRef>) -> Self::Future {
        let scaler = self.0.clone();
        let answer = async move {
            let value = scaler.value(&Trigger::read(request.get_ref())?).await?;
            Ok(tonic::Response::new(IsActiveResponse { result: value > 0.0 }))
        };
        answer.boxed()
    }
}

impl ServerStreamingService<ScaledObjectRef> for IsActive {
    type Response = IsActiveResponse;
    type ResponseStream = BoxStream<'static, Result<IsActiveResponse, Status>>;
    type Future = Reply<Self::ResponseStream>;

    fn call(&mut self, request: tonic::Request<ScaledObjectRef>) -> Self::Future {
        let scaler = self.0.clone();
        let answer = async move {
            let trigger = Trigger::read(request.get_ref())?;
            scaler.object(&trigger)?;
            let permit = scaler.streams.clone().try_acquire_owned();
            let permit = permit.map_err(|_| {
                Status::resource_exhausted(format!("{STREAMS} other streams are open"))
            })?;
            Ok(tonic::Response::new(scaler.activity(trigger, permit)))
        };
        answer.boxed()
    }
}

/// The call `GetMetricSpec`.
struct GetMetricSpec(ExternalScaler);

impl UnaryService<ScaledObjectRef> for GetMetricSpec {
    type Response = GetMetricSpecResponse;
    type Future = Reply<GetMetricSpecResponse>;

    fn call(&mut self, request: tonic::Request<ScaledObjectRef>) -> Self::Future {
        let scaler = self.0.clone();
        let answer = async move {
            let trigger = Trigger::read(request.get_ref())?;
            scaler.object(&trigger)?;
            let spec = MetricSpec {
                metric_name: trigger.metric_name(),
                target_size: trigger.target.ceil() as i64,
                target_size_float: trigger.target,
            };
            Ok(tonic::Response::new(GetMetricSpecResponse { metric_specs: vec![spec] }))
        };
        answer.boxed()
    }
}

/// The call `GetMetrics`.
struct GetMetrics(ExternalScaler);

impl UnaryService<GetMetricsRequest> for GetMetrics {
    type Response = GetMetricsResponse;
    type Future = Reply<GetMetricsResponse>;

    fn call(&mut self, request: tonic::Request<GetMetricsRequest>) -> Self::Future {
        let scaler = self.0.clone();
        let answer = async move {
            let object = request.into_inner().scaled_object_ref.unwrap_or_default();
            let trigger = Trigger::read(&object)?;
            let value = scaler.value(&trigger).await?;
            let value = MetricValue {
                metric_name: trigger.metric_name(),
                metric_value: value.ceil() as i64,
                metric_value_float: value,
            };
            Ok(tonic::Response::new(GetMetricsResponse { metric_values: vec![value] }))
        };
        answer.boxed()
    }
}

#[cfg(test)]
mod tests;
