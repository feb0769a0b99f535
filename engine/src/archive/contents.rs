//! The contents of an archive's files: read in chunks and checked while they pass (I9).
//!
//! The last chunk of a content is withheld until digest and CRC-32 of all of it are known to be
//! right, so a reader of the archive sees a cut file, never a wrong one. Of a part, too, if the
//! content is short enough to be read whole; a part of a larger one cannot be checked without
//! reading the rest, and is not (as ranges of single files).

use std::ops::Range;

use bytes::Bytes;

use super::output::Stop;
use crate::error::ReadError;
use crate::limits::{INLINE_BYTES_MAX, READ_CHUNK_BYTES};
use crate::model::{Digest, FileRecord};

/// A content that is open for reading. Blocking.
pub(crate) trait ContentReader: Send {
    /// Fills the buffer from `offset`, which with the buffer's length lies within the content.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError>;
}

/// Opens contents by digest. Blocking.
pub(crate) type OpenContent = dyn Fn(&Digest) -> Result<Box<dyn ContentReader>, ReadError> + Send;

/// Reads a file's content and hands its chunks on, each at most [`READ_CHUNK_BYTES`] long.
///
/// # Errors
/// [`ReadError::Corrupt`] if the bytes are not those that were stored; the last chunk was not
/// handed on then. Whatever `chunks` answers ends the reading.
pub(crate) fn stream_verified(
    contents: &OpenContent,
    record: &FileRecord,
    mut chunks: impl FnMut(Bytes) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let reader = contents(&record.digest)?;
    let mut blake3 = blake3::Hasher::new();
    let mut crc32 = crc32fast::Hasher::new();
    let mut withheld = Bytes::new();
    let mut offset = 0;
    while offset < record.length {
        let left = usize::try_from(record.length - offset).unwrap_or(usize::MAX);
        let mut buffer = vec![0; left.min(READ_CHUNK_BYTES)];
        reader.read_exact_at(&mut buffer, offset)?;
        blake3.update(&buffer);
        crc32.update(&buffer);
        if !withheld.is_empty() {
            chunks(withheld)?;
        }
        withheld = buffer.into();
        offset += u64::try_from(withheld.len()).unwrap_or(u64::MAX);
    }
    let is_sound =
        Digest(*blake3.finalize().as_bytes()) == record.digest && crc32.finalize() == record.crc32;
    if !is_sound {
        return Err(Stop::Failed(ReadError::Corrupt {
            what: "a content",
            place: record.digest.to_string(),
        }));
    }
    if withheld.is_empty() {
        return Ok(());
    }
    chunks(withheld)
}

/// Hands on a part of a content; nothing is opened for an empty one.
///
/// # Errors
/// As [`stream_verified`].
pub(crate) fn stream_part(
    contents: &OpenContent,
    record: &FileRecord,
    part: Range<u64>,
    mut chunks: impl FnMut(Bytes) -> Result<(), Stop>,
) -> Result<(), Stop> {
    if part.is_empty() {
        return Ok(());
    }
    if part == (0..record.length) {
        return stream_verified(contents, record, chunks);
    }
    if record.length <= INLINE_BYTES_MAX {
        let whole = read_verified(contents, record)?;
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(whole.len());
        return chunks(whole.slice(place(part.start)..place(part.end)));
    }
    let reader = contents(&record.digest)?;
    let mut offset = part.start;
    while offset < part.end {
        let left = usize::try_from(part.end - offset).unwrap_or(usize::MAX);
        let mut buffer = vec![0; left.min(READ_CHUNK_BYTES)];
        reader.read_exact_at(&mut buffer, offset)?;
        offset += u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        chunks(buffer.into())?;
    }
    Ok(())
}

/// Reads all of a content, of which the caller bounds the length.
///
/// # Errors
/// As [`stream_verified`].
pub(crate) fn read_verified(contents: &OpenContent, record: &FileRecord) -> Result<Bytes, Stop> {
    let mut whole = Vec::with_capacity(usize::try_from(record.length).unwrap_or_default());
    stream_verified(contents, record, |chunk| {
        whole.extend_from_slice(&chunk);
        Ok(())
    })?;
    Ok(whole.into())
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::model::Timestamp;

    impl ContentReader for Vec<u8> {
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
            let start = usize::try_from(offset).unwrap();
            buffer.copy_from_slice(&self[start..start + buffer.len()]);
            Ok(())
        }
    }

    /// The record that an upload of this content makes.
    pub(crate) fn record_of(content: &[u8], compressible: bool) -> FileRecord {
        FileRecord {
            digest: Digest::of(content),
            length: u64::try_from(content.len()).unwrap(),
            crc32: crc32fast::hash(content),
            creation_time: Timestamp(1_700_000_000_000_000),
            compressible,
        }
    }

    /// Serves these contents by digest.
    pub(crate) fn contents_of<'c>(
        contents: impl IntoIterator<Item = &'c [u8]>,
    ) -> Box<OpenContent> {
        let by_digest: HashMap<Digest, Vec<u8>> =
            contents.into_iter().map(|content| (Digest::of(content), content.to_vec())).collect();
        Box::new(move |digest| match by_digest.get(digest) {
            Some(content) => Ok(Box::new(content.clone())),
            None => Err(ReadError::Gone { what: digest.to_string() }),
        })
    }

    fn streamed(content: &[u8], record: &FileRecord) -> (Vec<Bytes>, Result<(), Stop>) {
        let content = content.to_vec();
        let contents: Box<OpenContent> = Box::new(move |_| Ok(Box::new(content.clone())));
        let mut chunks = Vec::new();
        let outcome = stream_verified(&contents, record, |chunk| {
            chunks.push(chunk);
            Ok(())
        });
        (chunks, outcome)
    }

    #[test]
    fn sound_contents_of_any_length_arrive_whole() {
        for length in [0, 1, READ_CHUNK_BYTES - 1, READ_CHUNK_BYTES, 2 * READ_CHUNK_BYTES + 1] {
            let content = vec![5; length];
            let (chunks, outcome) = streamed(&content, &record_of(&content, false));
            outcome.unwrap();
            assert_eq!(chunks.concat(), content);
        }
    }

    #[test]
    fn of_a_rotten_content_the_last_chunk_is_withheld() {
        let content = vec![5; 2 * READ_CHUNK_BYTES + 1];
        for rotten_at in [0, content.len() - 1] {
            let mut rotten = content.clone();
            rotten[rotten_at] ^= 1;
            let (chunks, outcome) = streamed(&rotten, &record_of(&content, false));
            assert!(matches!(outcome, Err(Stop::Failed(ReadError::Corrupt { .. }))));
            assert_eq!(chunks.concat().len(), 2 * READ_CHUNK_BYTES);
        }
        let (chunks, outcome) = streamed(b"x", &record_of(b"y", false));
        assert!(matches!(outcome, Err(Stop::Failed(ReadError::Corrupt { .. }))));
        assert!(chunks.is_empty());
    }

    #[test]
    fn a_crc_that_is_not_the_contents_is_damage_too() {
        let mut record = record_of(b"content", false);
        record.crc32 ^= 1;
        let (_, outcome) = streamed(b"content", &record);
        assert!(matches!(outcome, Err(Stop::Failed(ReadError::Corrupt { .. }))));
    }

    #[test]
    fn a_part_of_a_short_content_is_checked_with_all_of_it() {
        let content = vec![5; READ_CHUNK_BYTES + 1];
        let record = record_of(&content, false);
        let mut rotten = content.clone();
        rotten[READ_CHUNK_BYTES] ^= 1;
        let contents: Box<OpenContent> = Box::new(move |_| Ok(Box::new(rotten.clone())));
        let outcome = stream_part(&contents, &record, 1..3, |_| Ok(()));
        assert!(matches!(outcome, Err(Stop::Failed(ReadError::Corrupt { .. }))));
    }
}
