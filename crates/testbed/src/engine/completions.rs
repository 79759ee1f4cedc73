//! `POST /v1/completions` of the `OpenAI` API, as vLLM serves it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Json, Response};
use chrono::Utc;
use futures::stream;
use llm_autoscaler_sim::EventKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::emulated::{InFlight, Live};

/// The fields of a request that are used. The emulated engine never stops early, as with
/// `ignore_eos`.
#[derive(Debug, Deserialize)]
pub(super) struct Completion {
    prompt: Prompt,
    #[serde(default = "default_max_tokens")]
    max_tokens: u32,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: StreamOptions,
}

fn default_max_tokens() -> u32 {
    16
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
}

impl Prompt {
    /// Returns the length of the prompt in tokens. Text counts as one token per four characters.
    fn tokens(&self) -> u32 {
        let characters = |text: &String| text.chars().count().div_ceil(4);
        let tokens = match self {
            Self::Text(text) => characters(text),
            Self::Tokens(tokens) => tokens.len(),
            Self::Texts(texts) => texts.iter().map(characters).sum(),
        };
        tokens.try_into().unwrap_or(u32::MAX)
    }
}

/// The parts that all events of one answer share.
struct Answer {
    live: Arc<Live>,
    id: String,
    created: i64,
    prompt_tokens: u32,
    output_tokens: u32,
}

const TOKEN: &str = " token";

pub(super) async fn complete(
    State(live): State<Arc<Live>>,
    Json(request): Json<Completion>,
) -> Response {
    let answer = Answer {
        id: format!("cmpl-{:016x}", fastrand::u64(..)),
        created: Utc::now().timestamp(),
        prompt_tokens: request.prompt.tokens(),
        output_tokens: request.max_tokens.max(1),
        live,
    };
    let in_flight = match answer.live.submit(answer.prompt_tokens, answer.output_tokens) {
        Ok(in_flight) => in_flight,
        Err(error) => {
            let error =
                json!({"message": error.to_string(), "type": "BadRequestError", "code": 400});
            return (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
        }
    };
    if request.stream {
        answer.stream(in_flight, request.stream_options.include_usage)
    } else {
        answer.whole(in_flight).await
    }
}

impl Answer {
    async fn whole(self, mut in_flight: InFlight) -> Response {
        while let Some(event) = in_flight.next().await {
            if event == EventKind::Finished {
                let text = TOKEN.repeat(self.output_tokens as usize);
                let mut body = self.body(&text, Some("length"));
                body["usage"] = self.usage();
                return Json(body).into_response();
            }
        }
        StatusCode::SERVICE_UNAVAILABLE.into_response() // the engine stopped
    }

    /// Streams server-sent events: one per token, the last one with the finish reason, then
    /// `[DONE]`.
    fn stream(self, in_flight: InFlight, usage: bool) -> Response {
        let events = stream::unfold(Some((self, in_flight)), move |state| async move {
            let (answer, mut in_flight) = state?;
            let chunk = match in_flight.next().await? {
                EventKind::Finished => return Some((Ok(answer.end(usage)), None)),
                EventKind::FirstToken | EventKind::Token => event(&answer.body(TOKEN, None)),
            };
            Some((Ok::<_, std::convert::Infallible>(chunk), Some((answer, in_flight))))
        });
        ([(CONTENT_TYPE, "text/event-stream; charset=utf-8")], Body::from_stream(events))
            .into_response()
    }

    fn end(&self, usage: bool) -> String {
        let mut text = event(&self.body("", Some("length")));
        if usage {
            let mut body = self.body("", None);
            body["choices"] = json!([]);
            body["usage"] = self.usage();
            text += &event(&body);
        }
        text + "data: [DONE]\n\n"
    }

    fn body(&self, text: &str, finish_reason: Option<&str>) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.live.model,
            "choices": [{
                "index": 0,
                "text": text,
                "logprobs": null,
                "finish_reason": finish_reason,
            }],
        })
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.prompt_tokens + self.output_tokens,
        })
    }
}

fn event(body: &Value) -> String {
    format!("data: {body}\n\n")
}
