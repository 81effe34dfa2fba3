//! A volume as a virtual machine's disk.

mod blkio_disk;
mod clients;
mod grown;
mod guest;
mod hostile;
mod initramfs;
mod large_blocks;
mod machine;
mod offered;
mod qemu;
mod restarts;

/// So many operations hang that a test never sees one that does not.
const HANG: &str = "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh";
