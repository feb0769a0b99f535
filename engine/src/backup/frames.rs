//! Contents on their way from a store to a backup: frames, so that a content that cannot be read
//! is told as such and does not end the others.
//!
//! A frame is four bytes and what they announce: a length, little endian, and so many bytes of the
//! content under way; zero, its end; all ones, its failure, two bytes of length, and the reason.

use crate::blobs::capped;

/// A content ends.
const END: u32 = 0;

/// A content cannot be read.
const FAILED: u32 = u32::MAX;

/// Bytes of a reason that travel.
const REASON_BYTES_MAX: usize = 1000;

/// Appends bytes of a content.
pub(super) fn put_bytes(frames: &mut Vec<u8>, bytes: &[u8]) {
    // Never empty and never that long, so that it is neither end nor failure.
    for chunk in bytes.chunks(1 << 30) {
        frames.extend(u32::try_from(chunk.len()).unwrap_or(FAILED).to_le_bytes());
        frames.extend(chunk);
    }
}

/// Appends the end of a content.
pub(super) fn put_end(frames: &mut Vec<u8>) {
    frames.extend(END.to_le_bytes());
}

/// Appends the failure of a content.
pub(super) fn put_failure(frames: &mut Vec<u8>, reason: &str) {
    let end =
        (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|at| reason.is_char_boundary(*at));
    let reason = reason.get(..end.unwrap_or(0)).unwrap_or_default();
    frames.extend(FAILED.to_le_bytes());
    frames.extend(u16::try_from(reason.len()).unwrap_or(0).to_le_bytes());
    frames.extend(reason.as_bytes());
}

/// What frames say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said<'a> {
    Bytes(&'a [u8]),
    End,
    Failed(String),
}

/// Reads frames that arrive in pieces of any length.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    /// Bytes of the content that the last length announced and that have not come.
    announced: u64,
    /// The beginning of a frame that has not come whole: a length, or a failure.
    begun: Vec<u8>,
}

impl FrameReader {
    /// Hands over what a piece says.
    ///
    /// # Errors
    /// Those of `say`.
    pub(super) fn read<E>(
        &mut self,
        mut piece: &[u8],
        mut say: impl FnMut(Said<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !piece.is_empty() {
            if self.announced > 0 {
                let (now, later) = piece.split_at(capped(self.announced, piece.len()));
                self.announced -= u64::try_from(now.len()).unwrap_or(0);
                piece = later;
                say(Said::Bytes(now))?;
                continue;
            }
            let missing = self.missing();
            let (now, later) = piece.split_at(missing.min(piece.len()));
            self.begun.extend_from_slice(now);
            piece = later;
            if self.missing() == 0 {
                let begun = std::mem::take(&mut self.begun);
                match begun.split_first_chunk::<4>() {
                    Some((length, reason)) => match u32::from_le_bytes(*length) {
                        END => say(Said::End)?,
                        FAILED => {
                            let reason = reason.get(2..).unwrap_or_default();
                            say(Said::Failed(String::from_utf8_lossy(reason).into_owned()))?;
                        }
                        length => self.announced = length.into(),
                    },
                    None => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// Bytes without which the frame that has begun says nothing.
    fn missing(&self) -> usize {
        let wanted = match self.begun.split_first_chunk::<4>() {
            Some((length, reason)) if u32::from_le_bytes(*length) == FAILED => {
                let reason_bytes = reason.first_chunk::<2>();
                6 + reason_bytes.map_or(0, |length| usize::from(u16::from_le_bytes(*length)))
            }
            Some(_) | None => 4,
        };
        wanted.saturating_sub(self.begun.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_say_the_same_however_they_are_cut() {
        let mut frames = Vec::new();
        put_bytes(&mut frames, b"con");
        put_bytes(&mut frames, b"");
        put_bytes(&mut frames, b"tent");
        put_end(&mut frames);
        put_end(&mut frames);
        put_failure(&mut frames, "ro\u{fc}ten");
        put_failure(&mut frames, "");
        put_bytes(&mut frames, b"x");
        put_end(&mut frames);
        for cut in 1..frames.len() {
            let mut said = String::new();
            let mut reader = FrameReader::default();
            for piece in frames.chunks(cut) {
                let say = |what: Said<'_>| {
                    match what {
                        Said::Bytes(bytes) => said.push_str(std::str::from_utf8(bytes).unwrap()),
                        Said::End => said.push('.'),
                        Said::Failed(reason) => said.extend(["(", &reason, ")"]),
                    }
                    Ok::<(), ()>(())
                };
                reader.read(piece, say).unwrap();
            }
            assert_eq!(said, "content..(ro\u{fc}ten)()x.", "cut to {cut}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        let mut frames = Vec::new();
        put_failure(&mut frames, &"\u{fc}".repeat(1000));
        let mut reader = FrameReader::default();
        let mut told = String::new();
        let say = |what: Said<'_>| {
            if let Said::Failed(reason) = what {
                told = reason;
            }
            Ok::<(), ()>(())
        };
        reader.read(&frames, say).unwrap();
        assert_eq!(told, "\u{fc}".repeat(500));
    }
}
