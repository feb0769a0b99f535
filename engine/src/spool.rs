//! Bytes on their way somewhere: in memory only. A stand-in with the signatures of the spool.

use std::io::{self, Cursor, Read, Seek, Write};
use std::sync::Arc;

use crate::disk::Disk;

/// Takes bytes, in order.
#[derive(Debug)]
pub(crate) struct Spool {
    bytes: Vec<u8>,
}

impl Spool {
    /// A spool without bytes.
    pub(crate) fn new(_disk: Arc<dyn Disk>) -> Self {
        Self { bytes: Vec::new() }
    }

    /// Ends writing.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the spool on a disk may fail here"
    )]
    pub(crate) fn finish(self) -> io::Result<Spooled> {
        Ok(Spooled {
            bytes: self.bytes.into(),
        })
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a spool took.
#[derive(Debug)]
pub(crate) struct Spooled {
    bytes: Arc<[u8]>,
}

impl Spooled {
    /// Reads from the start.
    pub(crate) fn reader(&self) -> impl Read + Seek + Send + use<> {
        Cursor::new(Arc::clone(&self.bytes))
    }
}
