//! Gives the shared library its name for the dynamic linker.

/// Rises when a program that was built with an older library cannot use a newer one any more. `cargo xtask install-capi`
/// and `holdfast.3` have it, too; a test compares.
const ABI: u32 = 0;

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libholdfast.so.{ABI}");
    println!("cargo::rerun-if-changed=build.rs");
}
