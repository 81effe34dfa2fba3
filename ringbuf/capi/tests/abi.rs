//! What C programs count on: the header says what the library exports, no more and no less, with the same types; the list
//! of symbols changes only on purpose; header, links and pkg-config file are where compilers look for them.
#![allow(missing_docs)]

mod installed;
#[path = "../../tests/needs/mod.rs"]
mod needs;

use installed::{Installed, Linked, must, sources};
use needs::can_use;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn read(file: &str) -> String {
    std::fs::read_to_string(sources().join(file)).expect(file)
}

/// Without comments and preprocessor lines.
fn plain_header() -> String {
    let header = read("include/holdfast.h");
    let mut plain = String::new();
    for (number, piece) in header.split("/*").enumerate() {
        plain += if number == 0 { piece } else { piece.split_once("*/").expect("a comment ends").1 };
    }
    plain.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// Each function that the header declares, on one line.
fn declared() -> BTreeSet<String> {
    let plain = plain_header();
    let functions = plain.split([';', '{', '}']).filter(|piece| piece.contains('('));
    functions.map(|piece| piece.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn name(prototype: &str) -> &str {
    let before = prototype.split('(').next().expect("a prototype");
    before.rsplit([' ', '*']).next().expect("a name")
}

/// A type of an exported function as C has it, with the space before what follows.
fn in_c(rust: &str) -> String {
    if let Some(pointee) = rust.strip_prefix("*const ") {
        return format!("const {}*", in_c(pointee));
    }
    if let Some(pointee) = rust.strip_prefix("*mut ") {
        return format!("{}*", in_c(pointee));
    }
    let c = match rust {
        "c_int" => "int",
        "c_char" => "char",
        "c_void" => "void",
        "u32" => "uint32_t",
        "u64" => "uint64_t",
        "usize" => "size_t",
        handle => return format!("struct {handle} "),
    };
    format!("{c} ")
}

/// The prototype that an exported function of Rust has in C.
fn prototype(rust: &str) -> String {
    let rust = rust.split_whitespace().collect::<Vec<_>>().join(" ");
    let (name, rest) = rust.split_once('(').expect("parameters");
    let (parameters, result) = rest.split_once(')').expect("their end");
    let result = result.trim().strip_prefix("-> ").unwrap_or("c_void");
    let pairs =
        parameters.split(", ").map(|pair| pair.trim_end_matches(',').trim()).filter(|pair| !pair.is_empty());
    let parameters: Vec<String> = pairs
        .map(|pair| pair.split_once(": ").expect("a name and a type"))
        .map(|(name, kind)| format!("{}{name}", in_c(kind)))
        .collect();
    let parameters = if parameters.is_empty() { "void".to_owned() } else { parameters.join(", ") };
    format!("{}{name}({parameters})", in_c(result))
}

/// Each function that the library exports, as C would declare it.
fn exported() -> BTreeSet<String> {
    let files = std::fs::read_dir(sources().join("src")).expect("sources");
    let texts = files.map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("text"));
    let functions = |text: String| {
        let pieces =
            text.split("extern \"C\" fn ").skip(1).map(|piece| piece.split(" {\n").next().expect("a body"));
        pieces.map(prototype).collect::<Vec<_>>()
    };
    texts.flat_map(functions).collect()
}

#[test]
fn the_header_declares_what_is_exported_with_the_same_types() {
    let (declared, exported) = (declared(), exported());
    assert!(declared.len() > 20, "the header was understood: {declared:?}");
    let missing: Vec<_> = exported.difference(&declared).collect();
    let strange: Vec<_> = declared.difference(&exported).collect();
    assert!(
        missing.is_empty() && strange.is_empty(),
        "exported only: {missing:#?}\ndeclared only: {strange:#?}"
    );
}

#[test]
fn a_wrong_type_would_be_seen() {
    let rust = "hf_read(\n client: *const hf_client,\n buffer: *mut c_void,\n length: u32,\n) -> c_int";
    assert_eq!(prototype(rust), "int hf_read(const struct hf_client *client, void *buffer, uint32_t length)");
    assert_eq!(prototype("hf_error_message() -> *const c_char"), "const char *hf_error_message(void)");
    assert_eq!(prototype("f(place: *mut *mut hf_queue)"), "void f(struct hf_queue **place)");
}

/// Who adds a function adds a line to `symbols.txt`; who takes one away raises the SONAME.
#[test]
fn the_shared_library_exports_the_listed_symbols_and_no_other() {
    let installed = Installed::new();
    let library = installed.path("lib/libholdfast.so");
    let symbols = must(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(&library));
    let found: Vec<&str> = symbols.lines().map(|line| line.split(' ').next().expect("a name")).collect();
    let listed = read("symbols.txt");
    assert_eq!(found, listed.lines().collect::<Vec<_>>());
    let declared = declared();
    let mut names: Vec<&str> = declared.iter().map(|prototype| name(prototype)).collect();
    names.sort_unstable();
    assert_eq!(names, found);
    let page = read("man/holdfast.3");
    for name in names {
        assert!(page.contains(&format!(".Fn {name} ")), "{name} is not in holdfast.3");
    }
    let dynamic = must(Command::new("readelf").arg("-d").arg(&library));
    assert!(dynamic.contains("soname: [libholdfast.so.0]"), "{dynamic}");
    assert_eq!(std::fs::read_link(&library).expect("a link"), Path::new("libholdfast.so.0"));
    assert!(page.contains(".Pa libholdfast.so.0\n"));
}

#[test]
fn compilers_find_it_by_pkg_config_and_cpp_programs_can_include_it() {
    if !can_use(&["pkg-config", "g++"]) {
        return;
    }
    let installed = Installed::new();
    let mut ask = Command::new("pkg-config");
    ask.env("PKG_CONFIG_PATH", installed.path("lib/pkgconfig")).args(["--cflags", "--libs", "holdfast"]);
    let flags = must(&mut ask);
    assert_eq!(must(ask.arg("--modversion")).trim(), env!("CARGO_PKG_VERSION"));
    let (source, program) = (installed.path("version.cc"), installed.path("version"));
    let text = "#include <holdfast.h>\nint main() { return hf_version() == HF_VERSION ? 0 : 1; }\n";
    std::fs::write(&source, text).expect("written");
    let mut compile = Command::new("g++");
    compile.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"]).arg(&program).arg(&source);
    must(compile.args(flags.split_whitespace()));
    must(Command::new(&program).env("LD_LIBRARY_PATH", installed.path("lib")));
}

#[test]
fn both_examples_compile_with_either_library() {
    let installed = Installed::new();
    for example in ["examples/copy.c", "examples/depth.c"] {
        for linked in [Linked::Shared, Linked::Static] {
            let program = installed.compile(example, linked);
            let said = Command::new(&program).output().expect("it runs");
            let words = String::from_utf8_lossy(&said.stderr);
            assert!(said.status.code() == Some(1) && words.starts_with("usage: "), "{example}: {said:?}");
        }
    }
}
