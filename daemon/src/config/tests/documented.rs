//! The reference is what the readers ask for, neither less nor more, and so are README.md and default.toml.

use super::{EXAMPLES, accept};
use crate::config::section::Reader;
use crate::config::{read, reference};
use std::collections::BTreeSet;

const README: &str = include_str!("../../../../configs/README.md");

/// Every kind of everything, so that the readers ask for every key that they know.
const EVERY_KIND: &str = r#"
[[volume]]
name = "a"
backing = { kind = "file", path = "/a" }
flush_on_failure = { kind = "stall" }
[[volume.on_failure]]
class = "space"
policy = { kind = "hold-until-pressure" }
[[volume.on_failure]]
class = "any"
policy = { kind = "hold-forever" }
[[frontend]]
kind = "nbd"
listen = "127.0.0.1:1"
[[frontend]]
kind = "vhost-user-blk"
socket = "/v"
volume = "a"
"#;

fn documented() -> BTreeSet<String> {
    reference().iter().map(|doc| doc.key.to_owned()).collect()
}

#[test]
fn the_reference_has_every_key_that_is_read_and_no_other() {
    let tree = toml::de::DeTable::parse(EVERY_KIND).expect("TOML");
    let reader = Reader::new(EVERY_KIND);
    assert!(read(&reader, tree.get_ref()).is_some());
    assert_eq!(reader.asked(), documented());
    assert_eq!(documented().len(), reference().len(), "no key twice");
}

/// Copy what this test prints into configs/README.md.
#[test]
fn the_readme_has_every_key_as_the_reference_has_it_and_no_other() {
    let table: Vec<String> = reference().iter().map(|doc| doc.row()).collect();
    let rows =
        README.lines().skip_while(|line| *line != "## Every key").filter(|line| line.starts_with("| `"));
    let rows: Vec<&str> = rows.collect();
    assert!(
        rows == table,
        "configs/README.md should have:
{}",
        table.join(
            "
"
        )
    );
}

/// What the reference calls a default, written into a file, changes nothing.
#[test]
fn the_documented_defaults_are_those_in_force() {
    let plain = "[[volume]]\nname = \"a\"\nbacking = { kind = \"file\", path = \"/a\" }\nflush_on_failure = { kind = \"stall\" }\n\
                 [[volume.on_failure]]\nclass = \"any\"\npolicy = { kind = \"hold-until-pressure\" }\n\
                 [[frontend]]\nkind = \"nbd\"\nlisten = \"127.0.0.1:1\"\n[[frontend]]\nkind = \"vhost-user-blk\"\nvolume = \"a\"\nsocket = \"/v\"\n\
                 [[frontend]]\nkind = \"nbd\"\nsocket = \"/s\"\n";
    let settings = accept(plain);
    let mut tried = 0;
    for doc in reference() {
        let Some((home, key)) = doc.key.rsplit_once('.') else { continue };
        if matches!(doc.default, "required" | "none")
            || doc.key == "volume.on_failure"
            || doc.key == "volume.flush_on_failure"
        {
            continue;
        }
        let pair = format!("{key} = {}", doc.default);
        let text = match home {
            "volume" => plain.replace("flush_on", &format!("{pair}\nflush_on")),
            "volume.backing" => plain.replace("path =", &format!("{pair}, path =")),
            "volume.flush_on_failure" => plain.replace("\"stall\"", &format!("\"stall\", {pair}")),
            "volume.on_failure" => plain.replace("class = \"any\"", &format!("class = \"any\"\n{pair}")),
            "frontend" if key == "queues" => plain.replace("volume =", &format!("{pair}\nvolume =")),
            "frontend" if key == "socket_mode" => format!("{plain}{pair}\n"),
            "frontend" => plain.replace("listen =", &format!("{pair}\nlisten =")),
            "volume.on_failure.policy" => {
                plain.replace("\"hold-until-pressure\"", &format!("\"hold-until-pressure\", {pair}"))
            }
            "volume.on_failure.retry" => {
                plain.replace("class = \"any\"", &format!("class = \"any\"\nretry = {{ {pair} }}"))
            }
            "volume.write_back" | "volume.clients" => {
                let table = home.trim_start_matches("volume.");
                plain.replace("flush_on", &format!("{table} = {{ {pair} }}\nflush_on"))
            }
            section => format!("[{section}]\n{pair}\n{plain}"),
        };
        assert_ne!(text, plain, "{}", doc.key);
        assert_eq!(accept(&text), settings, "{} = {}", doc.key, doc.default);
        tried += 1;
    }
    assert!(tried > 30, "{tried}");
    let report = plain.replace("{ kind = \"stall\" }", "\"report\"");
    let without = plain.replace("flush_on_failure = { kind = \"stall\" }\n", "");
    assert_eq!(accept(&report), accept(&without));
}

/// As a live line or, where a key belongs to another kind of backing, in a comment.
#[test]
fn the_file_of_defaults_has_every_key() {
    let (_, text) = EXAMPLES[0];
    for doc in reference() {
        let key = doc.key.rsplit('.').next().expect("a key");
        let is_there = text.contains(&format!("{key} = ")) || text.contains(&format!("{key}]"));
        assert!(is_there, "{} is not in default.toml", doc.key);
    }
}
