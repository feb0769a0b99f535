//! A small file system of its own under the data directory. Mounting needs a mount namespace in
//! which that is allowed; `tests/disk.sh` makes one.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A mounted file system; unmounted when it is dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    /// Logs and other things of the test, on the disk that everybody uses.
    work: TempDir,
    mounted: PathBuf,
}

impl SmallDisk {
    /// A file system of so many mebibytes: in memory, or with `GRANARY_DISK_FS=ext4` or `xfs`, where
    /// the tests take minutes, in a file, and no smaller than XFS may be.
    pub(crate) fn of(mebibytes: u64) -> Self {
        let work = tempfile::tempdir().unwrap();
        let mounted = work.path().join("disk");
        fs::create_dir(&mounted).unwrap();
        if let Ok(kind) = std::env::var("GRANARY_DISK_FS") {
            let image = work.path().join("image");
            mount_image(&image, &kind, mebibytes.max(320), &mounted);
        } else {
            let size = format!("size={mebibytes}m");
            run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&mounted));
        }
        Self::with_data(work, mounted)
    }

    /// An ext4 of so many mebibytes in a file, through a loop device, whose writes can therefore
    /// fail for reasons that the file system does not know: when `host` is full.
    pub(crate) fn in_file(host: &Self, mebibytes: u64) -> Self {
        let work = tempfile::tempdir().unwrap();
        let mounted = work.path().join("disk");
        fs::create_dir(&mounted).unwrap();
        mount_image(&host.path().join("image"), "ext4", mebibytes, &mounted);
        Self::with_data(work, mounted)
    }

    /// What the server takes for `work/data` lies on the small disk.
    fn with_data(work: TempDir, mounted: PathBuf) -> Self {
        fs::create_dir(mounted.join("data")).unwrap();
        symlink(mounted.join("data"), work.path().join("data")).unwrap();
        Self { work, mounted }
    }

    pub(crate) fn work(&self) -> &Path {
        self.work.path()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mounted
    }

    /// Writes a file that is nobody's business until there are at most so many bytes left.
    pub(crate) fn fill(&self, left: u64) -> PathBuf {
        let path = self.mounted.join("foreign");
        let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let block = vec![0x5a; 64 << 10];
        loop {
            let space = rustix::fs::statvfs(&self.mounted).unwrap();
            let available = space.f_bavail * space.f_frsize;
            if available <= left {
                break;
            }
            let bytes = usize::try_from(available - left).unwrap().min(block.len());
            if file.write_all(&block[..bytes]).is_err() {
                break;
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whatever still has it open keeps it; the name space goes with the test.
        Command::new("umount").arg("-l").arg(&self.mounted).status().ok();
    }
}

fn mount_image(image: &Path, kind: &str, mebibytes: u64, mounted: &Path) {
    let file = OpenOptions::new().write(true).create_new(true).open(image).unwrap();
    file.set_len(mebibytes << 20).unwrap();
    run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(image));
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(mounted));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\nthis test needs a mount namespace; run tests/disk.sh",
        String::from_utf8_lossy(&output.stderr)
    );
}
