//! What a figure was measured on.

use std::fs;
use std::path::Path;

use super::numbers::count;
use super::report::Machine;

/// Magic numbers of file systems, as `statfs` gives them.
const FILE_SYSTEMS: [(u64, &str); 8] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x2fc1_2fc1, "zfs"),
    (0x794c_7630, "overlay"),
    (0x6969, "nfs"),
    (0xf2f5_2010, "f2fs"),
];

/// This machine; of its file systems the one that holds the directory.
pub(crate) fn describe(directory: Option<&Path>) -> Machine {
    let system = rustix::system::uname();
    let name = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Machine {
        kernel: format!("{} {}", name(system.sysname()), name(system.release())),
        processor: processor(),
        cores: count(cores),
        file_system: directory.map_or_else(String::new, file_system),
    }
}

/// This machine in one line, with what a success means for the bytes of a server on it.
pub(crate) fn line(directory: &Path) -> String {
    let Machine { processor, cores, kernel, file_system } = describe(Some(directory));
    format!("{processor}, {cores} cores, {kernel}, {file_system}; every answer synced")
}

/// The kind of file system that a directory is on.
pub(crate) fn file_system(directory: &Path) -> String {
    let Ok(found) = rustix::fs::statfs(directory) else {
        return "unknown".to_owned();
    };
    let magic = u64::try_from(found.f_type).unwrap_or_default();
    let known = FILE_SYSTEMS.iter().find(|(number, _)| *number == magic);
    known.map_or_else(|| format!("{magic:#x}"), |(_, name)| (*name).to_owned())
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| "unknown".to_owned())
}
