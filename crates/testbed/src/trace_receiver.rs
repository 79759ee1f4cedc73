//! A receiver of traces: the part of an OpenTelemetry collector that takes spans by HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message;
use tokio::net::TcpListener;

use crate::task::Task;

/// A receiver of traces on loopback. Dropping it stops it.
#[derive(Debug)]
pub struct TraceReceiver {
    address: SocketAddr,
    received: Received,
    _server: Task,
}

type Received = Arc<Mutex<Vec<Span>>>;

/// A span that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The name of the service that sent it.
    pub service: String,
    /// The name.
    pub name: String,
    /// The identity.
    pub id: Vec<u8>,
    /// The identity of the span around it; empty without one.
    pub parent: Vec<u8>,
    /// The attributes with texts and numbers, as texts.
    pub attributes: Vec<(String, String)>,
    /// True if its status is an error.
    pub is_error: bool,
}

impl Span {
    /// Returns the text of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl TraceReceiver {
    /// Starts the receiver on a free port.
    ///
    /// # Errors
    /// Fails if it cannot listen.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening for traces")?;
        let (address, received) = (listener.local_addr()?, Received::default());
        let app = Router::new().route("/v1/traces", post(receive)).with_state(received.clone());
        let server = Task::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, received, _server: server })
    }

    /// Returns the URL to export to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the spans that have been received.
    pub fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn receive(State(received): State<Received>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let type_ = headers.get(header::CONTENT_TYPE).and_then(|type_| type_.to_str().ok());
    if type_ != Some("application/x-protobuf") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    received.lock().unwrap_or_else(PoisonError::into_inner).extend(spans(request));
    StatusCode::OK
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut found = Vec::new();
    for resource in request.resource_spans {
        let of_resource = texts(resource.resource.unwrap_or_default().attributes);
        let service = of_resource.into_iter().find(|(key, _)| key == "service.name");
        let service = service.map(|(_, name)| name).unwrap_or_default();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let status = span.status.map(|status| status.code());
            found.push(Span {
                service: service.clone(),
                name: span.name,
                id: span.span_id,
                parent: span.parent_span_id,
                attributes: texts(span.attributes),
                is_error: status == Some(SpanStatus::Error),
            });
        }
    }
    found
}

/// Returns the attributes with texts and numbers.
fn texts(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let text = |value: AnyValue| match value.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    };
    attributes.into_iter().filter_map(|it| Some((it.key, text(it.value?)?))).collect()
}
