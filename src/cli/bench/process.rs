//! What a server's processes take of the machine, as the kernel counts it in `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::param::clock_ticks_per_second;

/// What some processes had taken at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) at: Instant,
    /// Processor time, of all threads.
    pub(crate) processor: Duration,
    /// Bytes of memory that are resident, and the most that ever were.
    pub(crate) resident: u64,
    pub(crate) resident_peak: u64,
    /// Bytes that were to be written to a disk; unknown for processes of others.
    pub(crate) written: Option<u64>,
}

/// Some processes of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Processes(Vec<u32>);

impl Processes {
    /// One process.
    pub(crate) fn one(id: u32) -> Self {
        Self(vec![id])
    }

    /// Those that listen on an address of this machine, as far as we may see them.
    pub(crate) fn listening(address: SocketAddr) -> Option<Self> {
        let sockets = listening_sockets(address.port());
        let links: BTreeSet<String> =
            sockets.iter().map(|inode| format!("socket:[{inode}]")).collect();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if holds_one_of(&entry.path().join("fd"), &links) {
                found.push(id);
            }
        }
        (!found.is_empty()).then_some(Self(found))
    }

    /// What they have taken by now; nothing if none of them is left.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let each: Vec<Usage> = self.0.iter().filter_map(|id| usage(*id)).collect();
        each.into_iter().reduce(|sum, one| Usage {
            at: sum.at,
            processor: sum.processor + one.processor,
            resident: sum.resident + one.resident,
            resident_peak: sum.resident_peak + one.resident_peak,
            written: sum.written.zip(one.written).map(|(sum, one)| sum + one),
        })
    }
}

fn usage(id: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let io = fs::read_to_string(format!("/proc/{id}/io")).ok();
    Some(Usage {
        at: Instant::now(),
        processor: processor_time(&stat)?,
        resident: kibibytes(&status, "VmRSS:")?,
        resident_peak: kibibytes(&status, "VmHWM:")?,
        written: io.and_then(|io| value(&io, "write_bytes:")?.parse().ok()),
    })
}

/// User and system time, the 14th and 15th field. The second is a name in parentheses, which may
/// hold blanks and parentheses itself.
fn processor_time(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let nanos_per_tick = 1_000_000_000 / clock_ticks_per_second().max(1);
    Some(Duration::from_nanos((user + system).saturating_mul(nanos_per_tick)))
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let kibibytes: u64 = value(status, name)?.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Inodes of the sockets that listen on a port, over IPv4 or IPv6.
fn listening_sockets(port: u16) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
    tables.flat_map(|table| listening_in(&table, port)).collect()
}

/// Lines hold: number, local address, remote address, state, and as the tenth field the inode.
fn listening_in(table: &str, port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening = lines.filter(|fields| {
        let local = fields.get(1).is_some_and(|local| local.ends_with(&wanted));
        local && fields.get(3) == Some(&"0A")
    });
    listening.filter_map(|fields| fields.get(9).map(|inode| (*inode).to_owned())).collect()
}

fn holds_one_of(descriptors: &Path, links: &BTreeSet<String>) -> bool {
    let Ok(entries) = fs::read_dir(descriptors) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let link = fs::read_link(entry.path());
        link.is_ok_and(|link| link.to_str().is_some_and(|link| links.contains(link)))
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_process_that_listens_is_found_and_measured() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = Processes::listening(listener.local_addr().unwrap()).unwrap();
        assert_eq!(found.0, [std::process::id()]);
        let usage = found.usage().unwrap();
        assert!(usage.resident > 0 && usage.resident_peak >= usage.resident);
        assert!(usage.written.is_some());
    }

    #[test]
    fn a_port_where_nobody_listens_belongs_to_no_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(Processes::listening(address).is_none());
    }

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "17 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 3 0 99";
        let ticks = Duration::from_secs(200) / u32::try_from(clock_ticks_per_second()).unwrap();
        assert_eq!(processor_time(stat), Some(ticks));
    }
}
