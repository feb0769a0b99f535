//! What the machine itself can do, measured in the same minutes: the floors that a server's
//! figures are held against.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::content::Contents;
use super::numbers::{count, float, index, ratio};
use super::recorder::{DIGITS, histogram};
use super::report::Latency;

/// Bytes that one sync is measured with.
const PIECE_BYTES: u64 = 4 << 10;

/// Bytes between two syncs of the sequential writer.
const SYNC_BYTES: u64 = 4 << 20;

/// How long each figure is measured.
const TIME: Duration = Duration::from_secs(1);

/// Syncs of one figure at most.
const SYNCS_MAX: u64 = 2_000;

/// Bytes of a whole file that is synced once at its end, at least; the file of the load is one if that is
/// longer, since the kernel takes some of it into memory and makes writers wait for the rest.
const WHOLE_BYTES: u64 = 256 << 20;

/// The disk's figures. Times are in microseconds, speeds in bytes a second.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Floor {
    /// One `fdatasync` after 4 KiB were appended.
    pub(crate) sync: Latency,
    /// The same where the bytes replace others, so that the file does not grow; earlier files have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sync_in_place: Option<Latency>,
    /// Groups of as many files as there are connections, appended and synced: files a second.
    pub(crate) groups: Vec<Group>,
    /// Sequential writing with a sync every 4 MiB.
    pub(crate) sequential: f64,
    /// Sequential writing with one sync at the end, as `dd conv=fdatasync` does.
    pub(crate) whole: f64,
    /// A request and its answer on one connection, against a server that does nothing.
    pub(crate) round_trip: Latency,
}

/// Files appended in groups, with a sync after each group.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) files_per_second: f64,
}

/// Syncs the file system: what the load before left to be written, and its files that are gone, are
/// not to be in the figures of the next one.
pub(crate) fn settle(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(directory)?)?)
}

/// What of the floor is measured in a directory on a disk; blocks for some seconds.
///
/// # Errors
/// It cannot be written to.
pub(crate) fn measure(
    at: &Path,
    file_bytes: u64,
    connections: u32,
    round_trip: Latency,
) -> io::Result<Floor> {
    let mut sizes = vec![1, u64::from(connections / 4), u64::from(connections)];
    // A group is bounded in a server too; of large files one is a group.
    sizes.retain(|files| *files > 0 && files.saturating_mul(file_bytes) <= WHOLE_BYTES);
    sizes.dedup();
    settle(at)?;
    let groups = sizes.into_iter().map(|files| group(at, files, file_bytes));
    Ok(Floor {
        sync: Latency::of(&appended(&at.join("sync"), PIECE_BYTES, u64::MAX)?.latencies),
        sync_in_place: Some(Latency::of(&replaced(&at.join("in-place"))?)),
        groups: groups.collect::<io::Result<_>>()?,
        sequential: speed(&appended(&at.join("sequential"), SYNC_BYTES, WHOLE_BYTES)?),
        whole: whole(&at.join("whole"), file_bytes.max(WHOLE_BYTES))?,
        round_trip,
    })
}

struct Appended {
    latencies: Histogram<u64>,
    bytes: u64,
    time: Duration,
}

fn speed(appended: &Appended) -> f64 {
    ratio(float(appended.bytes), appended.time.as_secs_f64())
}

/// Appends pieces of so many bytes, each with an `fdatasync`, for a while or up to a length.
fn appended(path: &Path, piece_bytes: u64, bytes_max: u64) -> io::Result<Appended> {
    let noise = Contents::new(0).noise();
    let mut file = new_file(path)?;
    let mut latencies = histogram(DIGITS);
    let (begun, mut bytes) = (Instant::now(), 0);
    while begun.elapsed() < TIME && bytes < bytes_max && latencies.len() < SYNCS_MAX {
        write(&mut file, &noise, piece_bytes)?;
        latencies.record(sync(&file)?).ok();
        bytes += piece_bytes;
    }
    Ok(Appended { latencies, bytes, time: begun.elapsed() })
}

/// Replaces pieces of 4 KiB, each with an `fdatasync`, for a while.
fn replaced(path: &Path) -> io::Result<Histogram<u64>> {
    let noise = Contents::new(0).noise();
    let mut file = new_file(path)?;
    write(&mut file, &noise, SYNC_BYTES)?;
    file.sync_data()?;
    file.rewind()?;
    let pieces = SYNC_BYTES / PIECE_BYTES;
    let mut latencies = histogram(DIGITS);
    let begun = Instant::now();
    while begun.elapsed() < TIME && latencies.len() < SYNCS_MAX {
        if latencies.len().is_multiple_of(pieces) {
            file.rewind()?;
        }
        write(&mut file, &noise, PIECE_BYTES)?;
        latencies.record(sync(&file)?).ok();
    }
    Ok(latencies)
}

/// Nanoseconds that an `fdatasync` takes.
fn sync(file: &File) -> io::Result<u64> {
    let began = Instant::now();
    file.sync_data()?;
    Ok(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn group(directory: &Path, files: u64, file_bytes: u64) -> io::Result<Group> {
    let bytes = files.saturating_mul(file_bytes);
    let path = directory.join(format!("groups-of-{files}"));
    let appended = appended(&path, bytes, WHOLE_BYTES)?;
    std::fs::remove_file(&path)?;
    let files_per_second = ratio(speed(&appended), float(file_bytes));
    Ok(Group { files, bytes, files_per_second })
}

fn whole(path: &Path, bytes: u64) -> io::Result<f64> {
    let noise = Contents::new(0).noise();
    let mut file = new_file(path)?;
    let begun = Instant::now();
    write(&mut file, &noise, bytes)?;
    file.sync_data()?;
    Ok(ratio(float(bytes), begun.elapsed().as_secs_f64()))
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn write(file: &mut File, noise: &[u8], bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let piece = noise.get(..index(left)).unwrap_or(noise);
        file.write_all(piece)?;
        left -= count(piece.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_of_this_machine_has_all_its_figures() {
        let directory = tempfile::tempdir().unwrap();
        let appended = appended(&directory.path().join("a"), 4 << 10, 64 << 10).unwrap();
        assert_eq!((appended.bytes, appended.latencies.len()), (64 << 10, 16));
        let group = group(directory.path(), 3, 1_000).unwrap();
        assert_eq!((group.files, group.bytes), (3, 3_000));
        assert!(group.files_per_second > 0.0 && speed(&appended) > 0.0);
        assert!(!directory.path().join("groups-of-3").exists());
    }
}
