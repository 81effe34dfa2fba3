//! A volume as a virtual machine's disk.

mod blkio_disk;
mod clients;
mod hostile;
mod machine;
mod restarts;
