//! holdfastctl.
fn main() {}
