//! What the listener serves: the page and two kinds of JSON.

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::{Path, RawQuery, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use super::{guard, store::Store, watch::now};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";

/// The files of the page: path, type and content.
const FILES: [(&str, &str, &str); 13] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/palette.css", CSS, llm_autoscaler_simulate::PALETTE),
    ("/base.css", CSS, include_str!("page/base.css")),
    ("/list.css", CSS, include_str!("page/list.css")),
    ("/detail.css", CSS, include_str!("page/detail.css")),
    ("/timeline.css", CSS, include_str!("page/timeline.css")),
    ("/main.js", SCRIPT, include_str!("page/main.js")),
    ("/list.js", SCRIPT, include_str!("page/list.js")),
    ("/detail.js", SCRIPT, include_str!("page/detail.js")),
    ("/timeline.js", SCRIPT, include_str!("page/timeline.js")),
    ("/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/text.js", SCRIPT, include_str!("page/text.js")),
];

/// Serves the page for the life of the process.
///
/// # Errors
/// The listener has failed.
pub(super) async fn serve(listener: TcpListener, port: u16, store: Arc<Store>) -> io::Result<()> {
    let mut app = Router::new();
    for (path, type_, content) in FILES {
        app = app.route(path, get(async move || typed(type_, content)));
    }
    let app = app
        .route("/api/autoscalers", get(rows))
        .route("/api/autoscalers/{namespace}/{name}", get(detail))
        .fallback(async || (StatusCode::NOT_FOUND, "there is no such page\n"))
        .with_state(store)
        .layer(middleware::from_fn_with_state(port, guarded));
    axum::serve(listener, app).await
}

async fn guarded(State(port): State<u16>, request: Request, next: Next) -> Response {
    let mut response = match guard::refusal(request.method(), request.headers(), port) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    response.headers_mut().extend(guard::HEADERS);
    response
}

fn typed(type_: &'static str, content: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(type_))], content).into_response()
}

/// Answers with the rows that have changed since the version in the query, and all without one.
async fn rows(State(store): State<Arc<Store>>, RawQuery(query): RawQuery) -> Response {
    let since = query.as_deref().and_then(|query| query.strip_prefix("since="));
    typed(JSON, store.changes(since.unwrap_or_default(), now()))
}

async fn detail(
    State(store): State<Arc<Store>>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    match store.detail(&namespace, &name, now()) {
        Some(detail) => typed(JSON, detail),
        None => (StatusCode::NOT_FOUND, "there is no such autoscaler\n").into_response(),
    }
}
