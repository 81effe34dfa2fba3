//! Posting a notice to a webhook: plain HTTP, one connection a try.

use crate::config::Webhook;
use axum::body::Body;
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::time::Duration;
use tokio::net::TcpStream;

/// The pause after the first try, doubled with each.
const PAUSE: Duration = Duration::from_millis(200);

/// Posts `body` until somebody takes it with a 2xx: `attempts` times at most, each within `timeout`, all while there is time
/// `left`.
///
/// # Errors
/// In words: what the last attempt came to.
pub(super) async fn post(
    webhook: &Webhook,
    body: &str,
    attempts: u32,
    timeout: Duration,
    left: impl Fn() -> Duration,
) -> Result<(), String> {
    let mut pause = PAUSE;
    let mut attempt = 1;
    loop {
        let limit = timeout.min(left());
        let ended = match tokio::time::timeout(limit, exchange(webhook, body)).await {
            Ok(Ok(200..=299)) => return Ok(()),
            Ok(Ok(status)) => format!("it answered with status {status}"),
            Ok(Err(error)) => words(&*error),
            Err(_) => format!("no answer within {} ms", limit.as_millis()),
        };
        if attempt == attempts || left() <= pause {
            return Err(format!("{ended} (attempt {attempt} of {attempts})"));
        }
        tokio::time::sleep(pause).await;
        (attempt, pause) = (attempt + 1, pause * 2);
    }
}

async fn exchange(webhook: &Webhook, body: &str) -> Result<u16, Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect((webhook.host(), webhook.port())).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The connection's own error reaches us through the request's.
    let driver = tokio::spawn(connection);
    let request = Request::post(webhook.path())
        .header("host", webhook.authority())
        .header("user-agent", concat!("holdfastd/", env!("CARGO_PKG_VERSION")))
        .header("content-type", "application/json")
        .header("connection", "close")
        .body(Body::from(body.to_owned()))?;
    let answer = sender.send_request(request).await;
    driver.abort();
    Ok(answer?.status().as_u16())
}

/// An error with its causes.
fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
