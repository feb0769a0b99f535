//! Giving back the bytes of removed files behind the back of who removes them.
//!
//! A name goes at once. The bytes go with the last handle, and that takes the file system its time: some 40 ms
//! for 128 MiB on ext4 that discards what it frees, and the index would wait for as long.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Files that wait to be closed at a time; each takes a descriptor. Beyond it whoever removes one waits.
const FILES_WAITING_MAX: usize = 64;

/// Files whose names are gone, and the thread that closes them, which is there while there are any.
#[derive(Debug, Default)]
pub(super) struct Freeing(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    files: Vec<File>,
    /// Whether a thread closes them.
    is_worked_on: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_all(&self) {
        loop {
            let mut waiting = self.lock();
            let Some(file) = waiting.files.pop() else {
                waiting.is_worked_on = false;
                return;
            };
            drop(waiting);
            drop(file);
        }
    }
}

impl Freeing {
    /// Has the last handle of a removed file closed soon.
    pub(super) fn close(&self, file: File) {
        let mut waiting = self.0.lock();
        if waiting.files.len() >= FILES_WAITING_MAX {
            drop(waiting);
            // Closed here.
            return;
        }
        waiting.files.push(file);
        if waiting.is_worked_on {
            return;
        }
        waiting.is_worked_on = true;
        drop(waiting);
        let shared = Arc::clone(&self.0);
        let thread = thread::Builder::new().name("granary-freeing".into());
        if thread.spawn(move || shared.close_all()).is_err() {
            self.0.close_all();
        }
    }

    /// How many may be added before whoever adds one waits.
    pub(super) fn room(&self) -> usize {
        FILES_WAITING_MAX.saturating_sub(self.0.lock().files.len())
    }

    /// Whether bytes of any are not free yet.
    pub(super) fn is_busy(&self) -> bool {
        self.0.lock().is_worked_on
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn files_are_closed_however_many_there_are() {
        let freeing = Freeing::default();
        assert!(!freeing.is_busy());
        let (reader, writer) = io::pipe().unwrap();
        for _ in 0..3 * FILES_WAITING_MAX {
            let writer = std::os::fd::OwnedFd::from(writer.try_clone().unwrap());
            freeing.close(File::from(writer));
        }
        drop(writer);
        // All that could be written to is closed.
        assert_eq!(io::read_to_string(reader).unwrap(), "");
        while freeing.is_busy() {
            thread::yield_now();
        }
        assert!(freeing.0.lock().files.is_empty());
        assert_eq!(freeing.room(), FILES_WAITING_MAX);
    }
}
