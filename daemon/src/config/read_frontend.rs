//! Reads `[[frontend]]`.

use super::node::Node;
use super::section::Section;
use super::settings::{FrontendSettings, Listen, NbdSettings, VhostSettings};
use ipnet::IpNet;
use std::net::SocketAddr;

/// More doors than that want another daemon.
const FRONTENDS_MAX: usize = 16;
/// Networks of one frontend.
const NETWORKS_MAX: usize = 64;
/// Queues of one virtual machine: one for each of its processors is as many as it can use.
const QUEUES_MAX: u32 = 64;

/// A frontend with the keys of what must be held against the rest of the file.
pub(super) struct FrontendDraft {
    pub(super) settings: FrontendSettings,
    /// Where its place and its volumes are told.
    pub(super) listen_key: String,
    pub(super) volumes_key: String,
}

/// All frontends; `None` in the place of one that is refused altogether.
pub(super) fn frontends(root: &mut Section<'_>) -> Vec<Option<FrontendDraft>> {
    let Some(node) = root.take("frontend") else { return Vec::new() };
    let Some(nodes) = node.list("[[frontend]]") else { return Vec::new() };
    if nodes.len() > FRONTENDS_MAX {
        node.refuse(
            format!("{} frontends are more than {FRONTENDS_MAX}", nodes.len()),
            "let one frontend serve several volumes",
        );
        return Vec::new();
    }
    nodes.iter().map(|node| frontend(node)).collect()
}

/// What a frontend speaks.
#[derive(Clone, Copy)]
enum Kind {
    Nbd,
    Vhost,
}

fn frontend(node: &Node<'_>) -> Option<FrontendDraft> {
    let mut section = Section::of(node);
    let kinds = [("nbd", Kind::Nbd), ("vhost-user-blk", Kind::Vhost)];
    let kind = section.require("kind", r#"write kind = "nbd" or kind = "vhost-user-blk""#);
    match kind.and_then(|node| node.choice(&kinds))? {
        Kind::Nbd => nbd(node, section),
        Kind::Vhost => vhost(node, section),
    }
}

fn vhost(node: &Node<'_>, mut section: Section<'_>) -> Option<FrontendDraft> {
    const SOCKET: &str = "/run/holdfast/vm1.sock";
    let socket = section.require("socket", r#"write socket = "/run/holdfast/vm1.sock""#);
    let socket = socket.and_then(|node| node.socket_path(SOCKET));
    let socket_mode = section.take("socket_mode").and_then(|node| node.file_mode()).unwrap_or(0o660);
    let volume = section.require("volume", "write volume = \"vm1\", with the name of a [[volume]]");
    let volume = volume.and_then(|node| node.text("vm1").map(str::to_owned));
    let queues = section.take("queues").and_then(|node| node.integer32(1..=QUEUES_MAX)).unwrap_or(1);
    let read_only = section.take("read_only").and_then(|node| node.boolean()).unwrap_or(false);
    section.finish();
    let queues = u16::try_from(queues).expect("few queues");
    let settings = VhostSettings { socket: socket?, socket_mode, volume: volume?, queues, read_only };
    Some(FrontendDraft {
        settings: FrontendSettings::Vhost(settings),
        listen_key: format!("{}.socket", node.path),
        volumes_key: format!("{}.volume", node.path),
    })
}

fn nbd(node: &Node<'_>, mut section: Section<'_>) -> Option<FrontendDraft> {
    let unix = section.take("socket");
    let mode = section.take("socket_mode");
    let tcp = section.take("listen");
    let allow = section.take("allow");
    let listen_key = format!("{}.{}", node.path, if unix.is_some() { "socket" } else { "listen" });
    let listen = match (unix, tcp) {
        (Some(unix), None) => {
            refuse_other(allow, "`allow` is for `listen`: a Unix socket has its `socket_mode`");
            let mode = mode.and_then(|node| node.file_mode()).unwrap_or(0o660);
            unix.socket_path("/run/holdfast/nbd.sock").map(|path| Listen::Unix { path, mode })
        }
        (None, Some(tcp)) => {
            refuse_other(mode, "`socket_mode` is for `socket`: a port has its `allow`");
            address(&tcp).and_then(|address| listen_at(&tcp, address, allow))
        }
        (Some(_), Some(tcp)) => {
            tcp.refuse(
                "a frontend listens at one place",
                "leave out `socket` or `listen`, or write two frontends",
            );
            None
        }
        (None, None) => {
            let help = r#"write socket = "/run/holdfast/nbd.sock", or listen = "127.0.0.1:10809""#;
            node.refuse("says not where it listens", help);
            None
        }
    };
    let volumes = section.take("volumes").map_or(Some(Vec::new()), |node| names(&node));
    let connections_max =
        section.take("connections_max").and_then(|node| node.integer32(1..=1024)).unwrap_or(16);
    let read_only = section.take("read_only").and_then(|node| node.boolean()).unwrap_or(false);
    section.finish();
    let settings = NbdSettings { listen: listen?, volumes: volumes?, connections_max, read_only };
    let settings = FrontendSettings::Nbd(settings);
    Some(FrontendDraft { settings, listen_key, volumes_key: format!("{}.volumes", node.path) })
}

fn refuse_other(node: Option<Node<'_>>, words: &str) {
    if let Some(node) = node {
        node.refuse("has no meaning here", words);
    }
}

fn address(node: &Node<'_>) -> Option<SocketAddr> {
    let text = node.text("127.0.0.1:10809")?;
    let parsed = text.parse();
    if parsed.is_err() {
        let help =
            r#"write a number and a port, as "127.0.0.1:10809" or "[::1]:10809"; names are not looked up"#;
        node.refuse(format!("{text:?} is not an address with a port"), help);
    }
    parsed.ok()
}

/// Beyond the host itself, somebody must have said who may come: NBD asks nobody who he is.
fn listen_at(node: &Node<'_>, address: SocketAddr, allow: Option<Node<'_>>) -> Option<Listen> {
    let Some(allow) = allow else {
        if !address.ip().is_loopback() {
            let help = r#"add allow = ["10.0.0.0/24"] with the networks that may, or listen at 127.0.0.1"#;
            node.refuse(
                format!("{address} can be reached from other hosts, and NBD knows no passwords"),
                help,
            );
            return None;
        }
        let loopback = ["127.0.0.0/8", "::1/128"];
        let allow = loopback.iter().map(|network| network.parse().expect("a network")).collect();
        return Some(Listen::Tcp { address, allow });
    };
    let nodes = allow.list(r#"["10.0.0.0/24"]"#)?;
    if nodes.is_empty() || nodes.len() > NETWORKS_MAX {
        let help = "name at least one, or leave `allow` out for the loopback networks";
        allow.refuse(format!("{} networks are not within 1 to {NETWORKS_MAX}", nodes.len()), help);
        return None;
    }
    let networks: Vec<Option<IpNet>> = nodes.iter().map(network).collect();
    let allow = networks.into_iter().collect::<Option<Vec<_>>>()?;
    Some(Listen::Tcp { address, allow })
}

fn network(node: &Node<'_>) -> Option<IpNet> {
    let text = node.text("10.0.0.0/24")?;
    let parsed =
        text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    if parsed.is_none() {
        node.refuse(
            format!("{text:?} is not a network"),
            r#"write "10.0.0.0/24", "fd00::/8" or one address"#,
        );
    }
    parsed.map(|network| network.trunc())
}

fn names(node: &Node<'_>) -> Option<Vec<String>> {
    let names = node.list(r#"["vm1"]"#)?;
    let names: Vec<Option<String>> = names.iter().map(|name| name.text("vm1").map(str::to_owned)).collect();
    names.into_iter().collect()
}
