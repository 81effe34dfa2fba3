//! `/metrics`: everything that can be counted, in base units, as Prometheus reads it.
//!
//! A scrape looks at what the reactors published and at their histograms, and makes the answer from it; nothing is kept
//! between scrapes and no reactor is asked anything. Whoever can read protobuf gets native histograms with four buckets to
//! each power of two; in the text they become classic ones with one.

mod catalogue;
mod daemon;
mod measured;
mod reactor;
mod sample;
mod volume;

pub use catalogue::{METRICS, Metric};

use super::refusal::Refusal;
use super::{Backend, DaemonView, Measures, Shared, VolumeView, health};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use holdfast_ctl::api::Reason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_protobuf, text};
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// What begins every metric's name.
const PREFIX: &str = "holdfast";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// The route of this file.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/metrics", get(metrics))
}

/// Everything that a scrape tells of, as it was at one time.
#[derive(Debug)]
struct Scrape {
    daemon: DaemonView,
    volumes: Vec<VolumeView>,
    reasons: Vec<Reason>,
    measures: Measures,
}

impl Scrape {
    fn of(backend: &dyn Backend) -> Scrape {
        let (daemon, volumes) = (backend.daemon(), backend.volumes());
        let reasons = health::reasons(&daemon, &volumes);
        let measures = backend.measures(&volumes);
        Scrape { daemon, volumes, reasons, measures }
    }

    /// Lines as bytes.
    fn bytes(&self, lines: u64) -> u64 {
        lines.saturating_mul(u64::from(self.daemon.line_bytes))
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        METRICS.iter().try_for_each(|metric| metric.encode(self, &mut encoder))
    }
}

async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Response, Refusal> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Scrape::of(&*shared.backend)));
    let failed = |error: &dyn fmt::Display| Refusal::internal(format!("The metrics: {error}."));
    if takes_protobuf(&headers) {
        let body = prometheus_protobuf::encode_to_vec(&registry).map_err(|error| failed(&error))?;
        return Ok(([(header::CONTENT_TYPE, PROTOBUF)], body).into_response());
    }
    let mut body = String::new();
    text::encode(&mut body, &registry).map_err(|error| failed(&error))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], body).into_response())
}

/// Whether the scraper names the protobuf among what it takes: it prefers it then, because it asks for native histograms.
fn takes_protobuf(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT);
    let texts = accepts.iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|one| {
        let words: Vec<&str> = one.split(';').map(str::trim).collect();
        words.first() == Some(&"application/vnd.google.protobuf")
            && words.contains(&"proto=io.prometheus.client.MetricFamily")
            && words.contains(&"encoding=delimited")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protobuf_only_for_who_asks_for_it() {
        let asked = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, text.parse().expect("a header"));
            takes_protobuf(&headers)
        };
        assert!(asked(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
             application/openmetrics-text;version=1.0.0;q=0.8,*/*;q=0.1"
        ));
        assert!(!asked("application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5,*/*;q=0.1"));
        assert!(!asked(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text"
        ));
        assert!(!takes_protobuf(&HeaderMap::new()));
    }
}
