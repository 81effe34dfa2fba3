//! Who is compared, and what each of them needs of this machine.

use std::path::Path;

use super::holdfast::{Holdfast, Policy};
use super::kernel::{FileSystem, Kernel, has_loops, knows};
use super::patience::Patience;
use super::scene::Scene;
use super::system::System;
use crate::own_daemon::program;

/// One column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kernel(FileSystem),
    Holdfast(Policy),
}

/// All of them, in the order of the table.
pub const CONTENDERS: [Contender; 6] = [
    Contender(Kind::Kernel(FileSystem::Ext4)),
    Contender(Kind::Kernel(FileSystem::Xfs)),
    Contender(Kind::Kernel(FileSystem::Btrfs)),
    Contender(Kind::Holdfast(Policy::EvictImmediately)),
    Contender(Kind::Holdfast(Policy::HoldUntilPressure)),
    Contender(Kind::Holdfast(Policy::HoldForever)),
];

impl Contender {
    /// What `--system` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Kernel(file_system) => file_system.name(),
            Kind::Holdfast(policy) => policy.name(),
        }
    }

    /// The one of a name.
    ///
    /// # Errors
    /// If there is none; the names that there are.
    pub fn named(name: &str) -> Result<Self, String> {
        let names = || CONTENDERS.map(Contender::name).join(", ");
        CONTENDERS.into_iter().find(|one| one.name() == name).ok_or_else(|| format!("one of {}", names()))
    }

    /// Whether it is Holdfast, which has given its promises.
    #[must_use]
    pub fn is_holdfast(self) -> bool {
        matches!(self.0, Kind::Holdfast(_))
    }

    /// As a heading.
    pub(super) fn heading(self) -> String {
        match self.0 {
            Kind::Kernel(file_system) => format!("page cache, {}", file_system.name()),
            Kind::Holdfast(policy) => format!("Holdfast, {}", policy.name()),
        }
    }

    /// Sets it up, with A on a disk in `parent` that is well.
    ///
    /// # Errors
    /// Whatever keeps it from that.
    pub(super) fn set_up(
        self,
        scene: Scene,
        run: u64,
        parent: &Path,
        patience: &Patience,
    ) -> anyhow::Result<Box<dyn System>> {
        Ok(match self.0 {
            Kind::Kernel(kind) => Box::new(Kernel::new(kind, scene, run, parent, patience)?),
            Kind::Holdfast(policy) => Box::new(Holdfast::new(policy, scene, run, parent, patience)?),
        })
    }

    /// What it lacks here, in words, with how to get it. Empty: it can be played.
    pub(super) fn lacks(self, patience: &Patience) -> Vec<String> {
        let mut lacks = Vec::new();
        let mut need = |there: bool, what: String| lacks.extend((!there).then_some(what));
        let program_in_path = |program: &&str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        };
        let mut needed = vec![("nbdkit", "nbdkit"), ("nbdfuse", "libnbd-bin"), ("umount", "mount")];
        need(rustix::process::geteuid().is_root(), "root, who may mount: run it with sudo".to_owned());
        need(
            Path::new("/dev/fuse").exists(),
            "/dev/fuse: `modprobe fuse`; in a container, `--device /dev/fuse`".to_owned(),
        );
        match self.0 {
            Kind::Holdfast(_) => {
                if let Err(error) = program() {
                    need(false, error.to_string());
                }
            }
            Kind::Kernel(kind) => {
                needed.extend([("losetup", "mount"), ("blockdev", "util-linux")]);
                needed.push(match kind {
                    FileSystem::Ext4 => ("mkfs.ext4", "e2fsprogs"),
                    FileSystem::Xfs => ("mkfs.xfs", "xfsprogs"),
                    FileSystem::Btrfs => ("mkfs.btrfs", "btrfs-progs"),
                });
                let name = kind.name();
                need(knows(kind, patience), format!("a kernel with {name}: `modprobe {name}` finds none"));
                need(has_loops(), "/dev/loop-control: `modprobe loop`".to_owned());
            }
        }
        for (program, package) in needed {
            need(program_in_path(&program), format!("{program}: `apt-get install {package}`"));
        }
        lacks
    }
}
