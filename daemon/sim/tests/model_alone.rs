//! A model that used the engine's types would make the engine's mistakes.

use std::path::Path;

/// What the model is made of; `wish.rs` is the border, where an engine's request becomes the model's.
const MODEL: [&str; 5] = ["model", "versions", "losses", "note", "told"];

fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name).with_extension("rs");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_model_shares_no_type_with_the_engine_and_is_short() {
    for name in MODEL {
        let source = source(name);
        assert!(!source.contains("holdfast_engine"), "{name}.rs names the engine");
        assert!(!source.contains("holdfast_policy"), "{name}.rs names the policies");
        assert!(source.lines().count() < 300, "{name}.rs has {} lines", source.lines().count());
    }
    assert!(source("wish").contains("use holdfast_engine::"), "the border has moved");
}
