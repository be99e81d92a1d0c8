//! Serves `/metrics`, `/healthz` and `/readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;

/// What scrapers of prometheus-client's text expect.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Says what the server still waits for; `None` when it is ready. A server that does not lead is ready too, else a
/// Deployment would never see its second pod ready.
pub(crate) type Readiness = Arc<dyn Fn() -> Option<String> + Send + Sync>;

#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    readiness: Readiness,
}

/// Takes an address for `what`; `:8085` means every interface.
///
/// # Errors
/// A sentence that names the address and the flag.
pub(crate) async fn listen(address: &str, what: &str, flag: &str) -> anyhow::Result<TcpListener> {
    let full = if address.starts_with(':') {
        format!("0.0.0.0{address}")
    } else {
        address.to_owned()
    };
    TcpListener::bind(&full)
        .await
        .map_err(|error| anyhow::anyhow!("cannot serve {what} at {address}: {error}; set {flag}"))
}

/// Serves for ever.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: Readiness,
) -> anyhow::Result<()> {
    axum::serve(listener, router(Shared { metrics, readiness })).await?;
    Ok(())
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(shared)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn ready(State(shared): State<Shared>) -> Response {
    match (shared.readiness)() {
        None => "ok\n".into_response(),
        Some(waits_for) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("waiting for {waits_for}\n"),
        )
            .into_response(),
    }
}
