//! What the log of a start says: what is where, and how durable it is.

use std::net::SocketAddr;
use std::path::Path;

use granary::config::{Config, MetricsAccess};
use granary_engine::Engine;
use tracing::{info, warn};

use super::listener::Bounds;

/// File systems by their numbers (statfs(2)), as far as they are met under data directories.
const FILE_SYSTEMS: [(u32, &str, Kind); 15] = [
    (0x0000_ef53, "ext2/ext3/ext4", Kind::Disk),
    (0x5846_5342, "xfs", Kind::Disk),
    (0x9123_683e, "btrfs", Kind::Disk),
    (0xf2f5_2010, "f2fs", Kind::Disk),
    (0x2fc1_2fc1, "zfs", Kind::Disk),
    (0xca45_1a4e, "bcachefs", Kind::Disk),
    (0x0102_1994, "tmpfs", Kind::Memory),
    (0x8584_58f6, "ramfs", Kind::Memory),
    (0x794c_7630, "overlay", Kind::Container),
    (0x0000_6969, "nfs", Kind::Remote),
    (0xff53_4d42, "cifs", Kind::Remote),
    (0xfe53_4d42, "smb2", Kind::Remote),
    (0x00c3_6400, "ceph", Kind::Remote),
    (0x0102_1997, "9p", Kind::Remote),
    (0x6573_5546, "fuse", Kind::Remote),
];

/// What the promises of durability are worth on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What the disk under it keeps.
    Disk,
    /// Nothing.
    Memory,
    /// As long as the container is there.
    Container,
    /// What somebody else keeps, and says.
    Remote,
}

/// Tells of the store that was opened.
pub(super) fn tell_of_store(engine: &Engine, directory: &Path) {
    let directory = directory.canonicalize().unwrap_or_else(|_unknown| directory.to_owned());
    let data = directory.display();
    let (name, kind) = file_system(&directory);
    let space = engine.space().ok();
    let (total, free) = (space.map(|space| space.total), space.map(|space| space.available));
    let reserve_bytes = engine.reserve_bytes();
    info!(
        %data,
        file_system = name,
        disk_total_bytes = total,
        disk_free_bytes = free,
        reserve_bytes,
        is_new = engine.is_new(),
        "opened the store"
    );
    info!(
        "a change is answered when fdatasync has returned for it and readers see it, never before"
    );
    match kind {
        Some(Kind::Memory) => warn!(
            %data,
            file_system = name,
            "the data directory is in memory: nothing of it survives the machine's next start"
        ),
        Some(Kind::Container) => warn!(
            %data,
            "the data directory is in a container's own file system and goes with it: mount a volume"
        ),
        Some(Kind::Remote) => warn!(
            %data,
            file_system = name,
            "the data directory is not on a file system of this machine: answers are as durable as \
             that makes them, and a lock may not keep a second server out"
        ),
        Some(Kind::Disk) | None => {}
    }
}

/// Tells where the server is reached, and what bounds it has.
pub(super) fn tell_of_service(
    config: &Config,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    bounds: Bounds,
) {
    let metrics = match config.metrics {
        MetricsAccess::Open => "open to whoever reaches the server".to_owned(),
        MetricsAccess::Admin => "for administrators".to_owned(),
        MetricsAccess::Off => "off".to_owned(),
        MetricsAccess::At(wanted) => format!("at {}", metrics_address.unwrap_or(wanted)),
    };
    let connections = bounds.connections_max;
    info!(%address, metrics, connections, "serving");
}

/// A file system's name, and what is known of it.
fn file_system(directory: &Path) -> (&'static str, Option<Kind>) {
    let Ok(found) = rustix::fs::statfs(directory) else { return ("unknown", None) };
    // The numbers have 32 bits, whatever the type says.
    let number = u32::try_from(i128::from(found.f_type) & 0xffff_ffff).ok();
    let known = FILE_SYSTEMS.iter().find(|(known, ..)| Some(*known) == number);
    known.map_or(("another", None), |(_, name, kind)| (*name, Some(*kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_told_apart() {
        // Whatever it is, it is in memory.
        assert_eq!(file_system(Path::new("/dev/shm")), ("tmpfs", Some(Kind::Memory)));
        assert_eq!(file_system(Path::new("/nowhere")), ("unknown", None));
    }
}
