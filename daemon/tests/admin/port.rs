//! The TCP port: what is served to whom, and the pages of other sites that want to.

use crate::world::World;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no status: {answer}"))
}

fn keyed(more: &str) -> String {
    format!("authorization: Bearer {TOKEN}\n{more}")
}

#[test]
fn metrics_are_for_everybody_and_the_rest_for_who_has_the_token() {
    let world = World::at_port(Some(TOKEN));
    let metrics = world.at("GET /metrics", "");
    assert_eq!(status(&metrics), 200, "{metrics}");
    assert!(metrics.contains("\nholdfast_health 0.0\n"), "{metrics}");
    for path in [
        "/v1/status",
        "/v1/volumes",
        "/v1/stats",
        "/v1/events",
        "/v1/latencies",
        "/v1/volumes/vm1/map",
        "/v1/volumes/vm1/extents?state=lost",
    ] {
        let line = format!("GET {path}");
        for headers in [
            "",
            "authorization: Bearer 0123456789abcdef0123456789abcdeF",
            "authorization: Bearer ",
            "authorization: 0123456789abcdef0123456789abcdef",
            "authorization: Basic MDEyMzQ1Njc4OWFiY2RlZg==",
        ] {
            let refused = world.at(&line, headers);
            assert_eq!(status(&refused), 401, "{line} {headers}");
            assert!(refused.contains("\"code\":\"no_token\""), "{refused}");
            assert!(!refused.contains("vm1"), "a refusal tells nothing: {refused}");
        }
        assert_eq!(status(&world.at(&line, &keyed(""))), 200, "{line}");
    }
}

#[test]
fn without_a_token_file_there_are_only_metrics() {
    let world = World::at_port(None);
    assert_eq!(status(&world.at("GET /metrics", "")), 200);
    for headers in ["", "authorization: Bearer ", "authorization: Bearer 0123456789abcdef0123456789abcdef"] {
        let refused = world.at("GET /v1/status", headers);
        assert_eq!(status(&refused), 403, "{refused}");
        assert!(refused.contains("Set 'http.token_file'"), "{refused}");
    }
}

/// What loses nothing can be done over TCP, with the token and the header; nothing else can.
#[test]
fn the_only_change_is_a_retry() {
    let world = World::at_port(Some(TOKEN));
    let retry = "POST /v1/volumes/vm1/retry";
    assert_eq!(status(&world.at(retry, "x-holdfast: 1")), 401);
    let bare = world.at(retry, &keyed(""));
    assert_eq!(status(&bare), 403, "{bare}");
    assert!(bare.contains("send 'x-holdfast: 1'"), "{bare}");
    assert!(world.state().commands.is_empty());
    assert_eq!(status(&world.at(retry, &keyed("x-holdfast: 1"))), 202);
    assert_eq!(world.state().commands.len(), 1);
    let others =
        ["/v1/volumes/vm1/drop", "/v1/volumes/vm1/ack-loss", "/v1/volumes/vm1/drain", "/v1/shutdown"];
    for path in others {
        let refused = world.at(&format!("POST {path}"), &keyed("x-holdfast: 1"));
        assert_eq!(status(&refused), 404, "{path}: {refused}");
    }
    let state = world.state();
    assert_eq!((state.commands.len(), state.shutdown), (1, None));
}

/// Each line of headers that only a page of another site makes a browser send.
const ELSEWHERE: [&str; 7] = [
    "sec-fetch-site: cross-site",
    "sec-fetch-site: same-site",
    "sec-fetch-site: nonsense",
    "origin: http://evil.example",
    "origin: null",
    "host: evil.example",
    "host: localhost.evil.example:9464",
];

#[test]
fn pages_of_other_sites_get_nothing() {
    let world = World::at_port(Some(TOKEN));
    for headers in ELSEWHERE {
        for line in ["GET /metrics", "GET /v1/status", "POST /v1/volumes/vm1/retry"] {
            let refused = world.at(line, &keyed(&format!("x-holdfast: 1\n{headers}")));
            assert_eq!(status(&refused), 403, "{line} {headers}: {refused}");
            assert!(refused.contains("\"code\":\"cross_site\""), "{refused}");
        }
    }
    let twice = world.at("GET /metrics", "host: 127.0.0.1\nhost: evil.example");
    assert_eq!(status(&twice), 400, "{twice}");
    assert!(world.state().commands.is_empty());
}

#[test]
fn our_own_page_is_no_other_site() {
    let world = World::at_port(Some(TOKEN));
    let port = world.port.expect("a port").port();
    for headers in [
        format!("host: localhost:{port}\norigin: http://localhost:{port}\nsec-fetch-site: same-origin"),
        format!("host: 127.0.0.1:{port}\norigin: http://127.0.0.1:{port}"),
        format!("host: [::1]:{port}\nsec-fetch-site: none"),
        "host: 10.1.2.3\norigin: https://10.1.2.3".to_owned(),
    ] {
        let looked = world.at("GET /v1/status", &keyed(&headers));
        assert_eq!(status(&looked), 200, "{headers}: {looked}");
        let done = world.at("POST /v1/volumes/vm1/retry", &keyed(&format!("x-holdfast: 1\n{headers}")));
        assert_eq!(status(&done), 202, "{headers}: {done}");
    }
}

/// A browser reaches the socket, too, through somebody's `ssh -L`.
#[test]
fn pages_of_other_sites_get_nothing_at_the_socket() {
    let world = World::new();
    let ask = |headers: &str| {
        let request =
            format!("POST /v1/volumes/vm1/retry HTTP/1.1\r\n{headers}\r\ncontent-length: 0\r\n\r\n");
        status(&world.raw(request.as_bytes()))
    };
    for headers in ELSEWHERE {
        let host = if headers.starts_with("host") {
            "x-holdfast: 1"
        } else {
            "host: localhost:9000\r\nx-holdfast: 1"
        };
        assert_eq!(ask(&format!("{host}\r\n{headers}")), 403, "{headers}");
    }
    let own = "host: localhost:9000\r\norigin: http://localhost:9000\r\nsec-fetch-site: same-origin";
    assert_eq!(ask(own), 403, "a browser's change needs the header");
    assert!(world.state().commands.is_empty());
    assert_eq!(ask(&format!("{own}\r\nx-holdfast: 1")), 202);
    assert_eq!(ask("host: holdfast"), 202, "holdfastctl needs none");
}

/// Prometheus names its target as its configuration does. Only what is for everybody is to be had by any name.
#[test]
fn where_other_hosts_may_ask_metrics_have_any_name() {
    let world = World::at_port_for(Some(TOKEN), true);
    let named = "host: storage1.example:9464";
    assert_eq!(status(&world.at("GET /metrics", named)), 200);
    for line in ["GET /", "GET /page.js", "GET /v1/status", "POST /v1/volumes/vm1/retry"] {
        let refused = world.at(line, &keyed(&format!("x-holdfast: 1\n{named}")));
        assert_eq!(status(&refused), 403, "{line}: {refused}");
    }
    let elsewhere = world.at("GET /metrics", &format!("{named}\norigin: http://evil.example"));
    assert_eq!(status(&elsewhere), 403, "{elsewhere}");
    assert!(world.state().commands.is_empty());
}
