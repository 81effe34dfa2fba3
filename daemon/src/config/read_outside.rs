//! Reads `[http]` and `[events]`: how the world outside of the sockets looks in, and how it is told.

use super::node::Node;
use super::section::Section;
use super::settings::{EventSettings, HttpSettings, Webhook};
use std::net::SocketAddr;

/// The most words of a command, and the most bytes of one: far below what the kernel takes.
const WORDS_MAX: usize = 64;
const WORD_BYTES_MAX: usize = 4096;

/// `[http]`.
pub(super) fn http(root: &mut Section<'_>) -> HttpSettings {
    let mut section = root.section("http");
    let allow_remote = section.take("allow_remote").and_then(|node| node.boolean()).unwrap_or(false);
    let settings = HttpSettings {
        listen: section.take("listen").and_then(|node| listen(&node, allow_remote)),
        allow_remote,
        token_file: section.take("token_file").and_then(|node| node.path("/etc/holdfast/token")),
    };
    section.finish();
    settings
}

fn listen(node: &Node<'_>, allow_remote: bool) -> Option<SocketAddr> {
    let text = node.text("127.0.0.1:9464")?;
    let address = text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    let Some(address) = address else {
        node.refuse(
            format!("{text:?} is no address and port"),
            "write numbers, as \"127.0.0.1:9464\" or \"[::1]:9464\"",
        );
        return None;
    };
    if !address.ip().is_loopback() && !allow_remote {
        node.refuse(
            format!("{} can be reached from other hosts, in plain text", address.ip()),
            "write \"127.0.0.1:9464\", or allow it with `allow_remote = true`",
        );
        return None;
    }
    Some(address)
}

/// `[events]`.
pub(super) fn events(root: &mut Section<'_>) -> EventSettings {
    let mut section = root.section("events");
    let exec = section.take("exec").and_then(|node| command(&node)).unwrap_or_default();
    let webhook = section.take("webhook");
    if let (Some(node), false) = (&webhook, exec.is_empty()) {
        node.refuse("`exec` is set, too", "keep one of them; a command can call any number of others");
    }
    let settings = EventSettings {
        exec,
        webhook: webhook.and_then(|node| address(&node)),
        timeout_ms: section
            .take("timeout")
            .and_then(|node| node.duration_ms(100..=300_000))
            .unwrap_or(10_000),
        attempts: section.take("attempts").and_then(|node| node.integer32(1..=10)).unwrap_or(3),
    };
    section.finish();
    settings
}

fn command(node: &Node<'_>) -> Option<Vec<String>> {
    const EXAMPLE: &str = "[\"/usr/local/bin/tell\", \"--who\", \"oncall\"]";
    let nodes = node.list(EXAMPLE)?;
    if nodes.len() > WORDS_MAX {
        node.refuse(format!("{} words are more than {WORDS_MAX}", nodes.len()), "put them into a script");
        return None;
    }
    let words: Option<Vec<String>> = nodes.iter().map(word).collect();
    let words = words?;
    if words.first().is_some_and(|program| !program.starts_with('/')) {
        nodes[0].refuse(
            format!("{:?} is not an absolute path", words[0]),
            format!("write it from the root on, as {EXAMPLE}: no shell looks for it"),
        );
        return None;
    }
    Some(words)
}

fn word(node: &Node<'_>) -> Option<String> {
    let text = node.text("--who")?;
    if text.contains('\0') || text.len() > WORD_BYTES_MAX {
        node.refuse(
            format!("a word of {} bytes, or one with a zero byte", text.len()),
            format!("use at most {WORD_BYTES_MAX} bytes, none of them zero"),
        );
        return None;
    }
    Some(text.to_owned())
}

fn address(node: &Node<'_>) -> Option<Webhook> {
    const EXAMPLE: &str = "http://127.0.0.1:8080/holdfast";
    let text = node.text(EXAMPLE)?;
    let found = Webhook::parse(text);
    if found.is_none() {
        let help = if text.starts_with("https:") {
            "a webhook is plain HTTP: name a proxy on this host, or let `exec` call a program that speaks TLS"
                .to_owned()
        } else {
            format!("write http://HOST[:PORT][/PATH], as {EXAMPLE:?}")
        };
        node.refuse(format!("{text:?} is no address of a webhook"), help);
    }
    found
}
