//! The page over HTTP: what it is made of, what its headers forbid, and the data that it shows.

use crate::fake::failed;
use crate::world::World;
use holdfast_engine::ListState;
use serde_json::Value;

const FILES: [(&str, &str, &str); 3] = [
    ("/", "text/html", include_str!("../../src/admin/page/page.html")),
    ("/page.css", "text/css", include_str!("../../src/admin/page/page.css")),
    ("/page.js", "text/javascript", include_str!("../../src/admin/page/page.js")),
];

fn get(world: &World, path: &str) -> (String, String) {
    let answer = world.raw(format!("GET {path} HTTP/1.1\r\nhost: holdfast\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

fn json(world: &World, path: &str) -> Value {
    let (head, body) = get(world, path);
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}\n{body}");
    serde_json::from_str(&body).expect("JSON")
}

#[test]
fn the_page_is_served_with_headers_that_forbid_everything_else() {
    let (world, port) = (World::new(), World::at_port(Some("0123456789abcdef")));
    for (path, kind, text) in FILES {
        // It holds no data: over TCP it is how one gives the token.
        let (at_socket, at_port) = (get(&world, path), port.at(&format!("GET {path}"), ""));
        assert_eq!(at_socket.1, text, "{path}");
        assert!(at_port.ends_with(text), "{path}");
        for head in [&at_socket.0, &at_port] {
            assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
            for header in [
                &format!("content-type: {kind}; charset=utf-8"),
                "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';",
                "frame-ancestors 'none'",
                "x-content-type-options: nosniff",
                "x-frame-options: DENY",
                "cache-control: no-store",
            ] {
                assert!(head.contains(header), "{path} has no '{header}': {head}");
            }
        }
    }
}

/// What the headers forbid is not asked for either, so that nothing breaks: nothing from elsewhere, no code in the markup,
/// no markup from code.
#[test]
fn the_page_asks_for_nothing_from_elsewhere() {
    for (path, _, text) in FILES {
        for word in [
            "http:",
            "https:",
            "src=\"//",
            "url(",
            "@import",
            "style=",
            "onclick=",
            "innerHTML",
            "eval(",
            "document.write",
        ] {
            assert!(!text.contains(word), "{path} has '{word}'");
        }
    }
    let (_, _, html) = FILES[0];
    let scripts = html.matches("<script").count();
    assert_eq!((scripts, html.matches("<script src=\"/page.js\" defer></script>").count()), (1, 1));
}

#[test]
fn a_map_has_no_more_cells_than_were_asked_for_and_shows_what_is_lost() {
    let world = World::new();
    world.state().map = b".dwf".to_vec();
    let map = json(&world, "/v1/volumes/vm1/map?cells=8");
    assert_eq!((map["cells"].as_str(), map["cell_bytes"].as_u64()), (Some(".dwf.dwf"), Some((10 << 30) / 8)));
    assert_eq!(map["lost_known_to"], Value::Null);
    let mut lost = failed((10 << 30) / 4, 8192);
    lost.state = ListState::Lost;
    {
        let mut state = world.state();
        state.extents = vec![lost];
        state.volumes[0].stats.lost = 2;
    }
    assert_eq!(json(&world, "/v1/volumes/vm1/map?cells=8")["cells"], ".dlf.dwf");
    for (path, words) in [
        ("/v1/volumes/vm1/map?cells=0", "1 to 4096"),
        ("/v1/volumes/vm1/map?cells=4097", "1 to 4096"),
        ("/v1/volumes/vm1/map?cells=-1", "The query makes no sense"),
        ("/v1/volumes/vm9/map", "There is no volume 'vm9'"),
    ] {
        let (head, body) = get(&world, path);
        assert!(head.starts_with("HTTP/1.1 4") && body.contains(words), "{path}: {head}\n{body}");
    }
}

#[test]
fn latencies_name_the_buckets_that_have_any() {
    let world = World::new();
    crate::metrics::busy(&mut world.state());
    let latencies = json(&world, "/v1/latencies");
    let (one, two) = (&latencies["volumes"][0], &latencies["volumes"][1]);
    assert_eq!((one["volume"].as_str(), two["requests"].as_array().map(Vec::len)), (Some("vm1"), Some(0)));
    assert_eq!(
        one["requests"],
        serde_json::json!([{ "operation": "write", "count": 3, "sum_ns": 1_500_000_000, "buckets": [[-4, 3]] }])
    );
}
