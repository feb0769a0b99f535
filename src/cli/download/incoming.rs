//! What has arrived of one file, on the disk and in a digest.

use std::path::{Path, PathBuf};

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::cli::content::{Handles, Hasher, PIECE_BYTES, local};
use crate::cli::failure::Failure;

/// What has arrived of a file so far.
pub(super) struct Incoming {
    file: File,
    path: PathBuf,
    handles: Handles,
    pub(super) hasher: Hasher,
    /// Bytes.
    pub(super) length: u64,
    /// Whether its beginning is of an earlier command, and may be anything.
    pub(super) inherited: bool,
}

impl Incoming {
    /// Begins with what an earlier command left in this place, if anything, and no more than a
    /// file of this size can have.
    ///
    /// # Errors
    /// The file system's.
    pub(super) async fn open(
        place: &Path,
        size: Option<u64>,
        handles: Handles,
    ) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).open(place).await;
        let mut incoming = Self {
            file: opened.map_err(|error| local(place, error))?,
            path: place.to_path_buf(),
            handles,
            hasher: Hasher::new(handles),
            length: 0,
            inherited: false,
        };
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let read = incoming.file.read(&mut buffer).await;
            match read.map_err(|error| local(place, error))? {
                0 => break,
                read => {
                    incoming.hasher.update(buffer.get(..read).unwrap_or_default());
                    incoming.length += u64::try_from(read).unwrap_or(u64::MAX);
                    incoming.inherited = true;
                }
            }
        }
        if size.is_none_or(|size| incoming.length > size) {
            incoming.restart().await?;
        }
        Ok(incoming)
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The file system's.
    pub(super) async fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.hasher.update(piece);
        self.length += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let written = self.file.write_all(piece).await;
        written.map_err(|error| local(&self.path, error))
    }

    /// Sees to it that the file has all that has arrived.
    ///
    /// # Errors
    /// The file system's.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        let flushed = self.file.flush().await;
        flushed.map_err(|error| local(&self.path, error))
    }

    /// Forgets what has arrived.
    ///
    /// # Errors
    /// The file system's.
    pub(super) async fn restart(&mut self) -> Result<(), Failure> {
        self.flush().await?;
        let emptied = self.file.set_len(0).await;
        let emptied = match emptied {
            Ok(()) => self.file.rewind().await,
            Err(error) => Err(error),
        };
        emptied.map_err(|error| local(&self.path, error))?;
        self.hasher = Hasher::new(self.handles);
        self.length = 0;
        self.inherited = false;
        Ok(())
    }
}
