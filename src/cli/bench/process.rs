//! What a server's processes take of the machine, as the kernel counts it in `/proc`.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{major, minor};
use rustix::param::clock_ticks_per_second;

/// What the kernel calls a sector in its counts, whatever the disk's own are.
const SECTOR_BYTES: u64 = 512;

/// Descriptors of what a process reads and says, not of its data.
const STANDARD_FILES: [&str; 3] = ["0", "1", "2"];

/// What some processes had taken at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) at: Instant,
    /// Processor time, of all threads.
    pub(crate) processor: Duration,
    /// Bytes of memory that are resident, and the most that ever were.
    pub(crate) resident: u64,
    pub(crate) resident_peak: u64,
    /// Bytes that the disks under their data have taken, if somebody looked at those too.
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
            written: None,
        })
    }

    /// The disks under the files that they have open now; none for processes of others, and where there
    /// is no disk below.
    pub(crate) fn disks(&self) -> Disks {
        let table = fs::read_to_string("/proc/diskstats").unwrap_or_default();
        let devices = self.0.iter().flat_map(|id| devices_of(*id));
        Disks(devices.filter(|device| sectors_written(&table, *device).is_some()).collect())
    }
}

/// Disks by major and minor number: the same ones at each look, since what they took is counted from
/// their own beginning.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Disks(BTreeSet<(u32, u32)>);

impl Disks {
    /// Bytes that all of them have taken, whoever wrote them; unknown if one of them is gone.
    ///
    /// Not `write_bytes` of `/proc/PID/io`: that counts pages that became dirty, and where a file
    /// system caches in large folios, all pages of a folio for a byte that changed in it.
    pub(crate) fn written(&self) -> Option<u64> {
        self.written_of(&fs::read_to_string("/proc/diskstats").ok()?)
    }

    fn written_of(&self, table: &str) -> Option<u64> {
        let taken: Option<Vec<u64>> =
            self.0.iter().map(|device| sectors_written(table, *device)).collect();
        let sectors: u64 = taken.filter(|taken| !taken.is_empty())?.into_iter().sum();
        Some(sectors * SECTOR_BYTES)
    }
}

/// Whether an address is one of this machine: nobody can bind another one's.
pub(crate) fn is_of_this_machine(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

fn usage(id: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    Some(Usage {
        at: Instant::now(),
        processor: processor_time(&stat)?,
        resident: kibibytes(&status, "VmRSS:")?,
        resident_peak: kibibytes(&status, "VmHWM:")?,
        written: None,
    })
}

/// The devices that hold the regular files that a process has open; what it says need not lie where its
/// data do.
fn devices_of(id: u32) -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{id}/fd")) else {
        return Vec::new();
    };
    let is_standard =
        |entry: &DirEntry| STANDARD_FILES.iter().any(|name| entry.file_name() == *name);
    let entries = entries.flatten().filter(|entry| !is_standard(entry));
    let files = entries.filter_map(|entry| fs::metadata(entry.path()).ok());
    let devices = files.filter(fs::Metadata::is_file).map(|file| file.dev());
    devices.map(|device| (major(device), minor(device))).collect()
}

/// Lines hold: major and minor number, name, and as the tenth field the sectors written.
fn sectors_written(disks: &str, (major, minor): (u32, u32)) -> Option<u64> {
    let lines = disks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let number = |fields: &[&str], at: usize| fields.get(at)?.parse::<u64>().ok();
    let is_it = |fields: &Vec<&str>| {
        number(fields, 0) == Some(major.into()) && number(fields, 1) == Some(minor.into())
    };
    number(&lines.into_iter().find(is_it)?, 9)
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
    use std::fs::File;
    use std::io::Read;
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_process_that_listens_is_found_and_measured() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let begun = Instant::now();
        let found = loop {
            let found = Processes::listening(address).unwrap();
            if found.0 == [std::process::id()] {
                break found;
            }
            // Another test's child has what we have open until it begins its own program.
            assert!(found.0.contains(&std::process::id()), "{found:?}");
            assert!(begun.elapsed() < Duration::from_mins(1), "others listen too: {found:?}");
        };
        let usage = found.usage().unwrap();
        assert!(usage.resident > 0 && usage.resident_peak >= usage.resident);
    }

    #[test]
    fn bytes_written_are_those_of_the_disk_below() {
        let disks = "   7   0 loop0 173 3 6382 292 455 201 145544 1374 0 628\n 254  16 vdb 1 2 3 4 \
                     5 6 70 8 9 10\n 254   1 vda1 9 9 9 9 9 9 99 9\n";
        assert_eq!(sectors_written(disks, (7, 0)), Some(145_544));
        assert_eq!(sectors_written(disks, (254, 16)), Some(70));
        assert_eq!(sectors_written(disks, (0, 27)), None, "memory is no disk");
        let of = |devices: &[(u32, u32)]| Disks(devices.iter().copied().collect());
        assert_eq!(of(&[(254, 16), (254, 1)]).written_of(disks), Some((70 + 99) * 512));
        assert_eq!(of(&[(254, 16), (9, 9)]).written_of(disks), None, "one of them is gone");
        assert_eq!(of(&[]).written_of(disks), None);
    }

    #[test]
    fn where_a_process_complains_its_data_need_not_lie() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create_new(directory.path().join("a")).unwrap();
        let devices = |script: &str| {
            let mut command = Command::new("sh");
            // It says when it has opened its files, and lives until its input ends.
            command.args(["-c", &format!("{script}; echo; read -r line")]);
            command.arg(directory.path().join("b")).stderr(file.try_clone().unwrap());
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            assert_eq!(child.stdout.as_mut().unwrap().read(&mut [0]).unwrap(), 1);
            let devices = devices_of(child.id());
            drop(child.stdin.take());
            child.wait().unwrap();
            devices
        };
        assert_eq!(devices("true"), []);
        let device = file.metadata().unwrap().dev();
        assert_eq!(devices("exec 3>$0"), [(major(device), minor(device))]);
    }

    #[test]
    fn addresses_of_this_machine_are_told_from_those_of_others() {
        // The last one stands for all that this machine has; 240.0.0.1 is reserved, so nobody has it.
        for (address, is_here) in
            [("127.0.0.1", true), ("::1", true), ("240.0.0.1", false), ("0.0.0.0", true)]
        {
            assert_eq!(is_of_this_machine(address.parse().unwrap()), is_here, "{address}");
        }
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
