//! Tests of the configuration as operators meet it: what is accepted, what is refused and how, and what is documented.

mod accepted;
mod checked;
mod differs;
mod documented;
mod mutated;
mod refused;

use super::{ConfigError, Problem, Settings, parse};

/// The least that a file must say.
const MINIMAL: &str = "[[volume]]\nname = \"vm1\"\nbacking = { kind = \"block\", path = \"/dev/vdb\" }\n";

/// The files of `configs/`, by name.
const EXAMPLES: [(&str, &str); 7] = [
    ("default.toml", include_str!("../../../configs/default.toml")),
    ("quickstart.toml", include_str!("../../../configs/quickstart.toml")),
    ("evict-immediately.toml", include_str!("../../../configs/evict-immediately.toml")),
    ("hold-until-pressure.toml", include_str!("../../../configs/hold-until-pressure.toml")),
    ("nbd.toml", include_str!("../../../configs/nbd.toml")),
    ("vm.toml", include_str!("../../../configs/vm.toml")),
    ("hold-forever.toml", include_str!("../../../configs/hold-forever.toml")),
];

fn accept(text: &str) -> Settings {
    parse(text, "test.toml").unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn problems(text: &str) -> Vec<Problem> {
    match parse(text, "test.toml") {
        Err(ConfigError::Refused { problems, .. }) => problems,
        other => panic!("not refused: {other:?}\n{text}"),
    }
}
