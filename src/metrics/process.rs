//! The process as the system sees it, read from `/proc` (proc(5)).

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// What is known of the process; what cannot be found out is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProcessFigures {
    /// Time on processors, in milliseconds.
    pub(crate) cpu_milliseconds: Option<u64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) open_files: Option<u64>,
    pub(crate) open_files_max: Option<u64>,
    pub(crate) threads: Option<u64>,
    /// When it was started, in seconds since 1970.
    pub(crate) started: Option<u64>,
}

impl ProcessFigures {
    /// Of this process, now. Blocks for a moment.
    pub(crate) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let memory = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages =
            |at| Some(number(memory.split_ascii_whitespace().nth(at)?)?.saturating_mul(page()));
        let open = fs::read_dir("/proc/self/fd").ok();
        Self {
            cpu_milliseconds: cpu_milliseconds(&stat),
            virtual_bytes: pages(0),
            resident_bytes: pages(1),
            // One of them is the directory itself, while it is read.
            open_files: open.map(|open| u64::try_from(open.count().saturating_sub(1)).unwrap_or(0)),
            open_files_max: getrlimit(Resource::Nofile).current,
            threads: field(&stat, 20),
            started: started(&stat),
        }
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn page() -> u64 {
    u64::try_from(page_size()).unwrap_or(4096)
}

/// A field of `/proc/self/stat` by its number in proc(5); the second one, the program's name, may
/// hold blanks and brackets.
fn field(stat: &str, at: usize) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    number(behind_name.split_ascii_whitespace().nth(at.checked_sub(3)?)?)
}

fn cpu_milliseconds(stat: &str) -> Option<u64> {
    let ticks = field(stat, 14)?.saturating_add(field(stat, 15)?);
    ticks.saturating_mul(1000).checked_div(clock_ticks_per_second())
}

/// The system tells the start since it came up, and when it came up.
fn started(stat: &str) -> Option<u64> {
    let since_boot = field(stat, 22)?.checked_div(clock_ticks_per_second())?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let booted = system.lines().find_map(|line| number(line.strip_prefix("btime ")?.trim()))?;
    Some(booted.saturating_add(since_boot))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn this_process_is_known() {
        let figures = ProcessFigures::read();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let started = figures.started.unwrap();
        assert!((now - 86_400..=now + 2).contains(&started), "{started} at {now}");
        assert!(figures.resident_bytes.unwrap() > 1 << 20);
        assert!(figures.virtual_bytes.unwrap() >= figures.resident_bytes.unwrap());
        assert!(figures.open_files.unwrap() >= 3);
        assert!(figures.threads.unwrap() >= 1);
        assert!(figures.cpu_milliseconds.is_some());
    }

    #[test]
    fn a_program_may_have_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 150 0";
        assert_eq!(field(stat, 4), Some(1));
        assert_eq!(cpu_milliseconds(stat), Some(400_000 / clock_ticks_per_second()));
    }
}
