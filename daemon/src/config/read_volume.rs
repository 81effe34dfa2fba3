//! Reads `[[volume]]`.

use super::node::{Node, Sizes};
use super::read_rules;
use super::section::Section;
use super::settings::{Backing, Clients, VolumeSettings};
use holdfast_engine::{FlushOnFailure, Mode};
use std::collections::BTreeMap;

/// The most volumes of one daemon: each has an index and counters on every reactor.
pub(super) const VOLUMES_MAX: usize = 256;
/// Enough for a host name and a disk's; it is part of paths, metrics and the wire protocol's hello.
const NAME_BYTES_MAX: usize = 64;
/// More users or groups than that want a group of their own.
const CLIENTS_MAX: usize = 256;
/// The largest id: the one above it means "nobody in particular" to the kernel.
const ID_MAX: u32 = u32::MAX - 1;
/// Bytes that every device's block divides.
const BLOCK_BYTES: u64 = 4096;

/// A volume whose budget is as it was written, because what it amounts to depends on everything else.
pub(super) struct Draft {
    /// The volume, with a budget of 0.
    pub(super) volume: VolumeSettings,
    /// What it may take; `None`: its fair share.
    pub(super) budget: Option<Budget>,
}

/// A budget as people write it.
#[derive(Clone, Copy)]
pub(super) enum Budget {
    /// A share of all slots, in parts of 1000.
    Share(u16),
    /// Bytes.
    Bytes(u64),
}

/// All volumes; `None` in the place of one that lacks what has no default, or is refused altogether.
pub(super) fn volumes(root: &mut Section<'_>) -> Vec<Option<Draft>> {
    let Some(node) = root.require(
        "volume",
        "add a [[volume]] with `name` and `backing`: without one there is nothing to cache",
    ) else {
        return Vec::new();
    };
    let Some(nodes) = node.list("[[volume]]") else { return Vec::new() };
    if nodes.is_empty() || nodes.len() > VOLUMES_MAX {
        node.refuse(
            format!("{} volumes are not within 1 to {VOLUMES_MAX}", nodes.len()),
            "add one, or start a second daemon",
        );
        return Vec::new();
    }
    let mut taken = Taken::default();
    nodes.iter().map(|node| volume(Section::of(node), &mut taken)).collect()
}

/// What only one volume can have, with the key of the one that has it.
#[derive(Default)]
struct Taken {
    names: BTreeMap<String, String>,
    paths: BTreeMap<String, String>,
}

fn claim(taken: &mut BTreeMap<String, String>, node: &Node<'_>, text: &str, why: &str) {
    match taken.get(text) {
        Some(first) => node.refuse(format!("{text:?} is already the one of {first}"), why),
        None => drop(taken.insert(text.to_owned(), node.path.clone())),
    }
}

fn volume(mut section: Section<'_>, taken: &mut Taken) -> Option<Draft> {
    let name = section
        .require("name", r#"clients open the volume by it: name = "vm1""#)
        .and_then(|node| name(&node, taken));
    let backing = section
        .require(
            "backing",
            r#"write backing = { kind = "block", path = "/dev/..." } or { kind = "file", .. }"#,
        )
        .and_then(|node| backing(&node, taken));
    let modes = [("write-back", Mode::WriteBack), ("write-through", Mode::WriteThrough)];
    let mode = section.take("mode").and_then(|node| node.choice(&modes)).unwrap_or(Mode::WriteBack);
    let budget = section.take("budget").and_then(|node| budget(&node));
    let flush_on_failure = section
        .take("flush_on_failure")
        .and_then(|node| flush_on_failure(&node))
        .unwrap_or(FlushOnFailure::Report);
    let parked_flushes_max =
        section.take("parked_flushes_max").and_then(|node| node.integer32(0..=1024)).unwrap_or(16);
    let io_timeout_ms =
        section.take("io_timeout").and_then(|node| node.duration_ms(100..=3_600_000)).unwrap_or(30_000);
    let (write_back_from, write_back_after_ms) = write_back(&mut section);
    let clients = clients(&mut section);
    let read_only = section.take("read_only").and_then(|node| node.boolean()).unwrap_or(false);
    let rules = read_rules::rules(&mut section);
    section.finish();
    let volume = VolumeSettings {
        name: name?,
        backing: backing?,
        mode,
        budget_bytes: 0,
        flush_on_failure,
        parked_flushes_max,
        io_timeout_ms,
        write_back_from,
        write_back_after_ms,
        clients,
        read_only,
        rules: rules?,
    };
    Some(Draft { volume, budget })
}

fn name(node: &Node<'_>, taken: &mut Taken) -> Option<String> {
    let name = node.text("vm1")?;
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = name.starts_with(is_word) && name.chars().all(|c| is_word(c) || "._-".contains(c));
    if !is_name || name.len() > NAME_BYTES_MAX {
        let help =
            format!("use 1 to {NAME_BYTES_MAX} characters of a-z 0-9 . _ - and begin with a letter or digit");
        node.refuse(format!("{name:?} ({} bytes) is no name of a volume", name.len()), help);
        return None;
    }
    claim(&mut taken.names, node, name, "give each volume its own name");
    Some(name.to_owned())
}

#[derive(Clone, Copy)]
enum BackingKind {
    Block,
    File,
}

fn backing(node: &Node<'_>, taken: &mut Taken) -> Option<Backing> {
    let mut section = Section::of(node);
    let kind = section
        .require("kind", r#"write kind = "block" or kind = "file""#)
        .and_then(|node| node.choice(&[("block", BackingKind::Block), ("file", BackingKind::File)]));
    let path_node = section.require("path", "write where the data is to be stored");
    let path = path_node.as_ref().and_then(|node| node.path("/dev/nvme0n1"));
    if let (Some(path), Some(node)) = (&path, &path_node) {
        claim(
            &mut taken.paths,
            node,
            &path.display().to_string(),
            "two volumes on one backing would overwrite each other",
        );
    }
    let backing = match kind? {
        BackingKind::Block => path.map(|path| Backing::Block { path }),
        BackingKind::File => file(&mut section, path),
    };
    section.finish();
    backing
}

fn file(section: &mut Section<'_>, path: Option<std::path::PathBuf>) -> Option<Backing> {
    // 1 PiB: the index of such a volume, were it all written, takes 128 GiB.
    let sizes = Sizes { min: BLOCK_BYTES, max: 1 << 50, multiple_of: BLOCK_BYTES };
    let size_node = section.take("size");
    let size_bytes = size_node.as_ref().and_then(|node| node.size(&sizes));
    let create_node = section.take("create");
    let create = create_node.as_ref().and_then(|node| node.boolean()).unwrap_or(false);
    if let (true, Some(node), None) = (create, &create_node, &size_node) {
        node.refuse(
            "is true and `size` is missing",
            r#"write how large the new file is to be, as size = "10GiB""#,
        );
    }
    let limit_node = section.take("thin_limit");
    let thin_limit_bytes = limit_node.as_ref().and_then(|node| node.size(&sizes));
    if let (Some(limit), Some(size), Some(node)) = (thin_limit_bytes, size_bytes, &limit_node)
        && limit > size
    {
        node.refuse(
            format!("{limit} bytes are more than the file's size of {size} bytes"),
            "make it smaller, or leave it out",
        );
    }
    let buffered = section.take("buffered").and_then(|node| node.boolean()).unwrap_or(false);
    Some(Backing::File { path: path?, size_bytes, create, thin_limit_bytes, buffered })
}

fn budget(node: &Node<'_>) -> Option<Budget> {
    let is_share = node.value.is_float() || node.value.as_str().is_some_and(|text| text.contains('%'));
    if is_share {
        return node.share(1..=980).map(Budget::Share);
    }
    // What is too little is said in lines, with what would do.
    node.size(&Sizes { min: 0, max: u64::MAX, multiple_of: 1 }).map(Budget::Bytes)
}

#[derive(Clone, Copy)]
enum FlushKind {
    Report,
    Stall,
}

fn flush_on_failure(node: &Node<'_>) -> Option<FlushOnFailure> {
    let kinds = [("report", FlushKind::Report), ("stall", FlushKind::Stall)];
    const TIMEOUT_MS: u64 = 300_000;
    if node.value.is_str() {
        return node.choice(&kinds).map(|kind| match kind {
            FlushKind::Report => FlushOnFailure::Report,
            FlushKind::Stall => FlushOnFailure::Stall { timeout_ms: TIMEOUT_MS },
        });
    }
    let mut section = Section::of(node);
    let kind = section
        .require("kind", r#"write kind = "report" or kind = "stall""#)
        .and_then(|node| node.choice(&kinds));
    let chosen = match kind? {
        FlushKind::Report => FlushOnFailure::Report,
        FlushKind::Stall => FlushOnFailure::Stall {
            timeout_ms: section
                .take("timeout")
                .and_then(|node| node.duration_ms(1_000..=86_400_000))
                .unwrap_or(TIMEOUT_MS),
        },
    };
    section.finish();
    Some(chosen)
}

fn write_back(section: &mut Section<'_>) -> (u16, u64) {
    let mut section = section.section("write_back");
    let from = section.take("from").and_then(|node| node.share(0..=1000)).unwrap_or(100);
    let after_ms = section.take("after").and_then(|node| node.duration_ms(1..=3_600_000)).unwrap_or(1_000);
    section.finish();
    (from, after_ms)
}

fn clients(section: &mut Section<'_>) -> Clients {
    let mut section = section.section("clients");
    let mut ids = |key| section.take(key).map(|node| ids(&node)).unwrap_or_default();
    let clients = Clients { uids: ids("uids"), gids: ids("gids") };
    section.finish();
    clients
}

fn ids(node: &Node<'_>) -> Vec<u32> {
    let nodes = node.list("[1000, 1001]").unwrap_or_default();
    if nodes.len() > CLIENTS_MAX {
        node.refuse(
            format!("{} ids are more than {CLIENTS_MAX}", nodes.len()),
            "put the users into a group and name that",
        );
    }
    nodes.iter().filter_map(|node| node.integer32(0..=ID_MAX)).collect()
}
