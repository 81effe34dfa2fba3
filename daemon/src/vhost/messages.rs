//! The messages of a front end, each turned into a change of its device. Whatever makes no sense is refused, which ends
//! the connection unless the front end asked for acknowledgements.

use super::config_space::{self, CONFIG_BYTES};
use super::device::Device;
use super::guest::{REGIONS_MAX, Region};
use super::inflight::{Inflight, QUEUE_SIZE_MAX};
use rustix::fs::OFlags;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVirtioFeatures, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};

impl Device {
    fn offered(&self) -> u64 {
        config_space::features(self.disk.read_only) | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn place(&self, index: impl Into<u32>) -> Result<usize> {
        let index = index.into() as usize;
        if index < self.rings.len() { Ok(index) } else { Err(Error::InvalidParam) }
    }

    fn set_regions(&mut self, regions: Vec<Region>) {
        self.change_memory();
        self.regions = regions;
    }
}

/// A descriptor that wakes somebody: an eventfd, and nothing that could hold up whoever polls or writes to it.
fn eventfd(file: Option<File>) -> Result<Option<Arc<OwnedFd>>> {
    let Some(file) = file else { return Ok(None) };
    let failed = |error: io::Error| Error::ReqHandlerError(error);
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(failed)?;
    if link.as_os_str() != "anon_inode:[eventfd]" {
        return Err(Error::InvalidOperation("a queue's descriptor is no eventfd"));
    }
    let flags = rustix::fs::fcntl_getfl(&file).map_err(|errno| failed(errno.into()))?;
    rustix::fs::fcntl_setfl(&file, flags | OFlags::NONBLOCK).map_err(|errno| failed(errno.into()))?;
    Ok(Some(Arc::new(OwnedFd::from(file))))
}

impl VhostUserBackendReqHandlerMut for Device {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.reset_device()
    }

    fn reset_device(&mut self) -> Result<()> {
        self.change();
        for ring in &mut self.rings {
            *ring = super::device::Ring::default();
        }
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.offered())
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !self.offered() != 0 {
            return Err(Error::FeatureMismatch);
        }
        if features != self.features {
            self.change();
            self.features = features;
            self.set_durable();
        }
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        table: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        if table.len() != files.len() || table.len() > REGIONS_MAX {
            return Err(Error::InvalidParam);
        }
        let region = |(told, file): (&VhostUserMemoryRegion, File)| Region {
            guest: told.guest_phys_addr,
            bytes: told.memory_size,
            user: told.user_addr,
            offset: told.mmap_offset,
            file: Arc::new(file),
        };
        self.set_regions(table.iter().zip(files).map(region).collect());
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let place = self.place(index)?;
        let size = u16::try_from(num).ok().filter(|size| size.is_power_of_two() && *size <= QUEUE_SIZE_MAX);
        self.change();
        self.rings[place].size = size.ok_or(Error::InvalidParam)?;
        Ok(())
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        let place = self.place(index)?;
        self.change();
        self.rings[place].addresses = Some((descriptor, used, available));
        Ok(())
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let place = self.place(index)?;
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        self.change();
        self.set_base(place, base);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let place = self.place(index)?;
        let base = self.stop(place).map_err(Error::InvalidOperation)?;
        Ok(VhostUserVringState::new(index, u32::from(base)))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let (place, file) = (self.place(index)?, eventfd(fd)?);
        // Without one the device would have to poll alone; a reactor that sleeps has to be woken.
        let file = file.ok_or(Error::InvalidOperation("a queue without a kick"))?;
        self.change();
        self.rings[place].kick = Some(file);
        Ok(())
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let (place, file) = (self.place(index)?, eventfd(fd)?);
        self.change();
        self.rings[place].call = file;
        Ok(())
    }

    fn set_vring_err(&mut self, index: u8, _fd: Option<File>) -> Result<()> {
        // Nobody is rung when a queue breaks: it is in the log, and a bell that a peer shares is not for this thread.
        self.place(index).map(|_| ())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        use VhostUserProtocolFeatures as Feature;
        Ok(Feature::MQ
            | Feature::REPLY_ACK
            | Feature::CONFIG
            | Feature::INFLIGHT_SHMFD
            | Feature::RESET_DEVICE
            | Feature::CONFIGURE_MEM_SLOTS)
    }

    fn set_protocol_features(&mut self, _features: u64) -> Result<()> {
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(self.rings.len() as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        let place = self.place(index)?;
        if self.rings[place].enabled != enable {
            self.change();
            self.rings[place].enabled = enable;
        }
        Ok(())
    }

    fn get_config(&mut self, offset: u32, size: u32, _flags: VhostUserConfigFlags) -> Result<Vec<u8>> {
        let (offset, size) = (offset as usize, size as usize);
        let end = offset.checked_add(size).filter(|&end| end <= CONFIG_BYTES).ok_or(Error::InvalidParam)?;
        Ok(self.config()[offset..end].to_vec())
    }

    fn set_config(&mut self, offset: u32, data: &[u8], _flags: VhostUserConfigFlags) -> Result<()> {
        if Device::set_config(self, offset, data) { Ok(()) } else { Err(Error::InvalidParam) }
    }

    fn set_gpu_socket(&mut self, _backend: GpuBackend) -> Result<()> {
        Err(Error::InvalidOperation("a disk has no GPU"))
    }

    fn get_shared_object(&mut self, _uuid: VhostUserSharedMsg) -> Result<File> {
        Err(Error::InvalidOperation("a disk shares no objects"))
    }

    fn get_inflight_fd(&mut self, wanted: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        let (queues, size) = (wanted.num_queues, wanted.queue_size);
        let fits =
            (1..=self.rings.len()).contains(&usize::from(queues)) && (1..=QUEUE_SIZE_MAX).contains(&size);
        if !fits {
            return Err(Error::InvalidParam);
        }
        let (_, file) = Inflight::create(queues, size).map_err(Error::ReqHandlerError)?;
        Ok((VhostUserInflight::new(Inflight::bytes(queues, size), 0, queues, size), file))
    }

    fn set_inflight_fd(&mut self, told: &VhostUserInflight, file: File) -> Result<()> {
        let (queues, size) = (told.num_queues, told.queue_size);
        let fits = (1..=self.rings.len()).contains(&usize::from(queues))
            && (1..=QUEUE_SIZE_MAX).contains(&size)
            && told.mmap_size == Inflight::bytes(queues, size)
            && told.mmap_offset.is_multiple_of(4096)
            && told.mmap_offset < 1 << 40;
        if !fits {
            return Err(Error::InvalidParam);
        }
        self.change();
        let region = Inflight::map(file, told.mmap_offset, queues, size).map_err(Error::ReqHandlerError)?;
        self.kept = Some(Arc::new(region));
        Ok(())
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(REGIONS_MAX as u64)
    }

    fn add_mem_region(
        &mut self,
        told: &VhostUserSingleMemoryRegion,
        file: File,
        _postcopy: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        if self.regions.len() == REGIONS_MAX {
            return Err(Error::InvalidParam);
        }
        let mut regions = self.regions.clone();
        regions.push(Region {
            guest: told.guest_phys_addr,
            bytes: told.memory_size,
            user: told.user_addr,
            offset: told.mmap_offset,
            file: Arc::new(file),
        });
        self.set_regions(regions);
        Ok(None)
    }

    fn remove_mem_region(&mut self, told: &VhostUserSingleMemoryRegion) -> Result<()> {
        let meant = |region: &Region| {
            (region.guest, region.bytes, region.user)
                == (told.guest_phys_addr, told.memory_size, told.user_addr)
        };
        if !self.regions.iter().any(meant) {
            return Err(Error::InvalidParam);
        }
        let regions = self.regions.iter().filter(|region| !meant(region)).cloned().collect();
        self.set_regions(regions);
        Ok(())
    }

    fn set_device_state_fd(
        &mut self,
        _direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        _file: File,
    ) -> Result<Option<File>> {
        Err(Error::InvalidOperation("a volume has no state to transfer"))
    }

    fn check_device_state(&mut self) -> Result<()> {
        Err(Error::InvalidOperation("a volume has no state to transfer"))
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        Err(Error::InvalidOperation("a disk has no memory of its own"))
    }

    fn set_log_base(&mut self, _log: &VhostUserLog, _file: File) -> Result<()> {
        Err(Error::InvalidOperation(
            "dirty pages of the guest are not logged: it cannot migrate while it runs",
        ))
    }
}
