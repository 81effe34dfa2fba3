//! Requests that a browser sends because a page of somebody else told it to: refused, whatever they ask.
//!
//! | the attack | what meets it |
//! |---|---|
//! | a page elsewhere loads or posts to us | `Sec-Fetch-Site`, `Origin` |
//! | a name of the attacker's that suddenly means this host (DNS rebinding), in a browser that sends neither | `Host` |
//! | a form elsewhere posts without any of them | changes need a header that no form can send |
//! | the page is shown in somebody's frame | the page's own headers |

use super::refusal::Refusal;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::IpAddr;

/// The header that a change needs from a browser: its presence makes the browser ask us first, and we never say yes.
pub(super) const CHANGE_HEADER: &str = "x-holdfast";

/// Over the operators' socket: `holdfastctl` and curl name the host as they like.
pub(super) async fn at_socket(request: Request, next: Next) -> Result<Response, Refusal> {
    let from_browser = is_from_browser(request.headers());
    check(&request, |name| is_ours(name) || !name.contains('.'), from_browser)?;
    Ok(next.run(request).await)
}

/// Over TCP: every client could be a browser. Where other hosts may ask, a scraper names this one as its configuration does,
/// and what it asks for is for everybody.
pub(super) async fn at_port(
    State(allow_remote): State<bool>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let any_name = allow_remote && request.uri().path() == "/metrics";
    check(&request, |name| any_name || is_ours(name), true)?;
    Ok(next.run(request).await)
}

fn is_from_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// An address, or a name that means this host on every host: nobody else can make it mean us.
fn is_ours(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

fn check(request: &Request, is_known: impl Fn(&str) -> bool, needs_header: bool) -> Result<(), Refusal> {
    let headers = request.headers();
    let host = host(headers)?;
    if host.is_some_and(|host| !is_known(name_of(host))) {
        return Err(refused(
            format!("This is not '{}'.", host.unwrap_or_default()),
            "Ask for it by address, as http://127.0.0.1:PORT/, or as localhost; behind a proxy, let that set the host.",
        ));
    }
    if let Some(site) = headers.get("sec-fetch-site")
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return Err(elsewhere());
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if own.is_none() || own != host {
            return Err(elsewhere());
        }
    }
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    if !looks && needs_header && !headers.contains_key(CHANGE_HEADER) {
        return Err(refused(
            format!("A change needs the header '{CHANGE_HEADER}', and this has none."),
            format!("Use holdfastctl, or send '{CHANGE_HEADER}: 1'."),
        ));
    }
    Ok(())
}

/// What the request says whom it is for, if it says so once.
fn host(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().map(|host| host.to_str().unwrap_or("?"));
    match hosts.next() {
        None => Ok(host),
        Some(_) => Err(Refusal::bad_request("It has two hosts.".to_owned(), "Send one 'host' header.")),
    }
}

/// The host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn elsewhere() -> Refusal {
    refused(
        "A page of another site asks this.".to_owned(),
        "Type the address of the page yourself; nothing was done.",
    )
}

fn refused(message: String, remedy: impl Into<String>) -> Refusal {
    Refusal { status: StatusCode::FORBIDDEN, code: "cross_site", message, remedy: remedy.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_ours() {
        for ours in ["localhost", "a.localhost", "127.0.0.1", "[::1]", "192.168.1.5"] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "holdfast"] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn a_port_is_no_part_of_the_name() {
        let names = ["localhost:9464", "[::1]:9464", "[::1]", "127.0.0.1", "a:b"].map(name_of);
        assert_eq!(names, ["localhost", "[::1]", "[::1]", "127.0.0.1", "a:b"]);
    }
}
