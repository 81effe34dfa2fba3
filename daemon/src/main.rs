//! holdfastd.
fn main() {}
