//! A client of the admin socket: one request, one connection, one answer of bounded size in bounded time.

use crate::api::{ApiError, Failure, VERSION};
use crate::error::Error;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// The largest answer that is read. The daemon's largest page has some 1.5 MB.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// How long one request may take: longer than the daemon's own limit, so that its words come before ours.
const TIMEOUT: Duration = Duration::from_secs(40);

/// Silence after which a waiting operator is told what is waited for.
const QUIET: Duration = Duration::from_secs(2);

/// How a refusal begins if nobody is there who could have refused.
const NOBODY_ANSWERS: &str = "no daemon answers on";

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A client of one daemon.
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Client {
        Client { socket: socket.to_owned() }
    }

    /// Asks for `path` and gives back the answer's JSON.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Error> {
        self.send(Method::GET, path, &Value::Null)
    }

    /// Sends a changing request with a JSON body.
    pub(crate) fn post(&self, path: &str, body: &impl serde::Serialize) -> Result<Value, Error> {
        let body = serde_json::to_value(body).expect("requests are plain data");
        self.send(Method::POST, path, &body)
    }

    /// Takes what is at `path` away.
    pub(crate) fn delete(&self, path: &str) -> Result<Value, Error> {
        self.send(Method::DELETE, path, &Value::Null)
    }

    /// An answer as its type.
    pub(crate) fn read<T: DeserializeOwned>(&self, answer: &Value) -> Result<T, Error> {
        T::deserialize(answer).map_err(|error| self.strange(error.to_string()))
    }

    fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Error> {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.unreachable(&error))?;
        let exchange = async {
            let exchange = tokio::time::timeout(TIMEOUT, self.exchange(method, path, body));
            tokio::pin!(exchange);
            tokio::select! {
                answered = &mut exchange => answered,
                () = tokio::time::sleep(QUIET) => {
                    self.tell_of_silence();
                    exchange.await
                }
            }
        };
        match runtime.block_on(exchange) {
            Ok(Ok((status, bytes))) => self.judge(status, &bytes),
            Ok(Err(cause)) => Err(self.unreachable(&*cause)),
            Err(_) => Err(self.silent()),
        }
    }

    /// To standard error: the answer, if it comes, stays what it is.
    fn tell_of_silence(&self) {
        let (socket, most) = (self.socket.display(), TIMEOUT.as_secs());
        eprintln!("holdfastctl: {socket} has not answered yet; waiting, for {most} s at most");
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<(u16, Bytes), Cause> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The connection's own error reaches us through the request's.
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "holdfast")
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let bytes = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
        driver.abort();
        Ok((status, bytes))
    }

    fn judge(&self, status: u16, bytes: &[u8]) -> Result<Value, Error> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| self.strange(error.to_string()))?;
        match value.get("version").and_then(Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => return Err(self.strange(format!("it has version {version}"))),
            None => return Err(self.strange("it has no version".to_owned())),
        }
        if status < 400 {
            return Ok(value);
        }
        let Failure { error } = self.read(&value)?;
        Err(Error::Refused { status, error: plain(error) })
    }

    fn unreachable(&self, cause: &(dyn std::error::Error + 'static)) -> Error {
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let (what, remedy) = match kind {
            Some(ErrorKind::PermissionDenied) => (
                "this user may not connect to",
                "Root, the daemon's user and the socket's group may look: run it as one of them, with sudo, say.",
            ),
            _ if self.is_no_socket() => (
                "there is no socket at",
                "Give the daemon's admin_socket: --socket PATH, or HOLDFAST_ADMIN_SOCKET.",
            ),
            _ => (
                NOBODY_ANSWERS,
                "Is holdfastd running, and is this its admin_socket (--socket PATH)? 'systemctl status holdfast' and 'journalctl \
                 -u holdfast' tell how it ended. What was acknowledged is in its arena: leave that alone, and start it again; if \
                 it does not start, 'holdfastd salvage' exports what is there.",
            ),
        };
        Error::Unreachable {
            what,
            socket: self.socket.clone(),
            cause: cause.to_string(),
            remedy: remedy.to_owned(),
        }
    }

    /// Whether there is something that no daemon ever listened on.
    fn is_no_socket(&self) -> bool {
        use std::os::unix::fs::FileTypeExt;
        std::fs::metadata(&self.socket).is_ok_and(|found| !found.file_type().is_socket())
    }

    /// Somebody listens, who is stopped or stuck.
    fn silent(&self) -> Error {
        let cause = format!("no answer within {} s", TIMEOUT.as_secs());
        let remedy = "It runs, and does not answer. Look before you kill it: 'journalctl -u holdfast', and as root 'cat \
                      /proc/$(pidof holdfastd)/task/*/stack'. What was acknowledged is in its arena, and the next daemon serves it.";
        Error::Unreachable {
            what: NOBODY_ANSWERS,
            socket: self.socket.clone(),
            cause,
            remedy: remedy.to_owned(),
        }
    }

    fn strange(&self, cause: String) -> Error {
        Error::Strange { socket: self.socket.clone(), cause }
    }
}

/// The error without control characters: its words may repeat what somebody else wrote, and go to a terminal. Its lines
/// stay lines: a configuration's line is drawn with what is wrong with it.
fn plain(error: ApiError) -> ApiError {
    let seen = |letter: char| letter == '\n' || !letter.is_control();
    let plain = |text: &str| text.chars().map(|letter| if seen(letter) { letter } else { '?' }).collect();
    ApiError { code: plain(&error.code), message: plain(&error.message), remedy: plain(&error.remedy) }
}

/// `text` as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_segment() {
        assert_eq!(segment("vm-1_a.b"), "vm-1_a.b");
        assert_eq!(segment("a/b?c d"), "a%2Fb%3Fc%20d");
    }

    #[test]
    fn what_is_no_socket_is_called_so() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = Client::new(file.path()).get("/v1/status").expect_err("nobody is there").to_string();
        assert!(error.contains("there is no socket at"), "{error}");
        let error = Client::new(Path::new("/nowhere")).get("/v1/status").expect_err("nobody is there");
        assert!(error.to_string().contains(NOBODY_ANSWERS), "{error}");
    }

    #[test]
    fn an_answer_of_another_version_is_not_guessed_at() {
        let client = Client::new(Path::new("/x"));
        for bytes in [&b"{\"version\":2}"[..], b"{}", b"hello"] {
            let error = client.judge(200, bytes).expect_err("not ours");
            assert_eq!(error.exit(), crate::Exit::Unreachable);
        }
        assert!(client.judge(200, b"{\"version\":1}").is_ok());
    }
}
