//! One member's content: unpacked as far as it was declared, and checked.

use std::error::Error;
use std::fmt;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
#[cfg(feature = "zstd")]
use std::io::{Chain, Cursor};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bzip2::bufread::BzDecoder;
use flate2::bufread::DeflateDecoder;
use lzma_rust2::LzmaReader;
#[cfg(feature = "zstd")]
use ruzstd::decoding::{FrameDecoder, StreamingDecoder, errors::FrameDecoderError};

use super::our_failure;
use super::zip::{IntakeMember, LOCAL_HEADER_BYTES};
use super::zip_directory::Fields;
use crate::error::IntakeError;
use crate::limits::{INTAKE_DICTIONARY_BYTES_MAX, INTAKE_DICTIONARY_BYTES_SMALL};

const LOCAL_HEADER_MAGIC: u32 = 0x0403_4b50;

/// Bytes of packed content that are read at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// How a member is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Stored,
    Deflate,
    Bzip2,
    Lzma,
    #[cfg(feature = "zstd")]
    Zstd,
}

/// A method's number, and its name if it has a common one.
pub(super) fn method_name(number: u16) -> String {
    let name = match number {
        1..=6 => "shrink, reduce or implode",
        9 => "deflate64",
        20 | 93 => "zstd",
        95 => "xz",
        97 => "wavpack",
        98 => "ppmd",
        99 => "AES",
        _ => return number.to_string(),
    };
    format!("{number} ({name})")
}

impl Method {
    /// The method of this number, if it is one that we unpack.
    pub(super) fn of(number: u16) -> Option<Self> {
        match number {
            0 => Some(Self::Stored),
            8 => Some(Self::Deflate),
            12 => Some(Self::Bzip2),
            14 => Some(Self::Lzma),
            #[cfg(feature = "zstd")]
            93 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Opens a member of the archive that `reader` holds.
///
/// # Errors
/// The archive is cut or damaged there; errors while reading on are told by
/// [`IntakeMember::unreadable`].
pub(crate) fn open_member<'r, R: Read + Seek>(
    reader: &'r mut R,
    member: &IntakeMember,
) -> Result<MemberReader<'r, R>, IntakeError> {
    reader.seek(SeekFrom::Start(member.header_offset)).map_err(our_failure)?;
    open(Source(reader), member).map_err(|error| member.unreadable(error))
}

fn open<'r, R: Read + Seek>(
    mut source: Source<'r, R>,
    member: &IntakeMember,
) -> io::Result<MemberReader<'r, R>> {
    let mut header = [0; 30];
    source.read_exact(&mut header)?;
    let name_and_extra_bytes =
        parse_local_header(&header).ok_or_else(|| damaged("its local header is damaged"))?;
    let needed = LOCAL_HEADER_BYTES + u64::from(name_and_extra_bytes) + member.packed_length;
    if needed > member.room {
        return Err(damaged("its content runs into the next member"));
    }
    source.0.seek_relative(name_and_extra_bytes.into()).map_err(failed)?;
    let packed = source.take(member.packed_length);
    let buffered = |packed| BufReader::with_capacity(BUFFER_BYTES, packed);
    let mut memory = None;
    let unpacked = match member.method {
        // Read in long runs, out of what the archive's reader has buffered.
        Method::Stored => Unpacked::Stored(packed),
        Method::Deflate => Unpacked::Deflate(DeflateDecoder::new(buffered(packed))),
        Method::Bzip2 => Unpacked::Bzip2(BzDecoder::new(buffered(packed))),
        Method::Lzma => {
            let mut packed = buffered(packed);
            let (properties, dictionary_bytes) = lzma_properties(&mut packed)?;
            // A dictionary is never larger than what it is a part of.
            let needed = member.length.min(dictionary_bytes.into());
            if needed > INTAKE_DICTIONARY_BYTES_MAX.into() {
                return Err(damaged("its dictionary is too large"));
            }
            memory = large_memory(needed);
            let (length, props) = (member.length, properties);
            let lzma = LzmaReader::new_with_props(packed, length, props, dictionary_bytes, None)?;
            Unpacked::Lzma(Box::new(lzma))
        }
        #[cfg(feature = "zstd")]
        Method::Zstd => {
            let mut packed = buffered(packed);
            let head = zstd_head(&mut packed)?;
            let mut window_max = INTAKE_DICTIONARY_BYTES_SMALL;
            if zstd_window_is_beyond(window_max, &head) {
                window_max = INTAKE_DICTIONARY_BYTES_MAX.into();
                memory = large_memory(window_max);
            }
            let packed = Cursor::new(head).chain(packed);
            let zstd = StreamingDecoder::new_with_max_window_size(packed, window_max);
            Unpacked::Zstd(Box::new(zstd.map_err(of_zstd)?))
        }
    };
    let mut reader = MemberReader {
        unpacked,
        crc32: crc32fast::Hasher::new(),
        crc32_declared: member.crc32,
        left: member.length,
        memory,
    };
    if reader.left == 0 {
        reader.check_end()?;
    }
    Ok(reader)
}

/// Bytes of name and extra fields, which lie between a local header and its content.
fn parse_local_header(header: &[u8]) -> Option<u32> {
    let mut fields = Fields(header);
    fields.magic(LOCAL_HEADER_MAGIC)?;
    // All else is said by the directory, and that is what was checked.
    fields.bytes(22)?;
    Some(u32::from(fields.u16()?) + u32::from(fields.u16()?))
}

/// The properties byte and the dictionary's length, from what stands before an lzma content.
fn lzma_properties(packed: &mut impl Read) -> io::Result<(u8, u32)> {
    let mut head = [0; 9];
    packed.read_exact(&mut head)?;
    let [_, _, 5, 0, properties, dictionary @ ..] = head else {
        return Err(damaged("its lzma properties are damaged"));
    };
    Ok((properties, u32::from_le_bytes(dictionary)))
}

/// Reads a member's content: just as many bytes as were declared, or an error.
///
/// The last of them come only if the CRC-32 of all is right, so whoever has read the declared
/// length has read what was packed.
pub(crate) struct MemberReader<'r, R: Read> {
    unpacked: Unpacked<'r, R>,
    crc32: crc32fast::Hasher,
    crc32_declared: u32,
    /// Bytes that are still to come.
    left: u64,
    #[cfg_attr(not(all(test, feature = "zstd")), expect(dead_code, reason = "held, not read"))]
    memory: Option<MutexGuard<'static, ()>>,
}

/// Leave to hold so much memory for unpacking; one member at a time may have much.
fn large_memory(bytes: u64) -> Option<MutexGuard<'static, ()>> {
    static LARGE: Mutex<()> = Mutex::new(());
    let is_large = bytes > INTAKE_DICTIONARY_BYTES_SMALL;
    is_large.then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The first bytes of a zstd content, among them the whole header of its frame.
#[cfg(feature = "zstd")]
fn zstd_head(packed: &mut impl Read) -> io::Result<Vec<u8>> {
    // Magic number, descriptor, window, dictionary, length (RFC 8878, section 3.1.1).
    const FRAME_HEADER_BYTES_MAX: u64 = 4 + 1 + 1 + 4 + 8;
    let mut head = Vec::new();
    packed.take(FRAME_HEADER_BYTES_MAX).read_to_end(&mut head)?;
    Ok(head)
}

/// Whether a frame asks for a larger window. It is held back until it is full, however few bytes the member
/// is said to have; a long content may have a small one.
#[cfg(feature = "zstd")]
fn zstd_window_is_beyond(window_max: u64, head: &[u8]) -> bool {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(window_max);
    matches!(decoder.init(head), Err(FrameDecoderError::WindowSizeTooBig { .. }))
}

/// An error of the decoder; what is below it stays below it.
#[cfg(feature = "zstd")]
fn of_zstd(error: FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

type Packed<'r, R> = Take<Source<'r, R>>;

type Buffered<'r, R> = BufReader<Packed<'r, R>>;

/// Of what was looked at, and the rest.
#[cfg(feature = "zstd")]
type Zstd<P> = StreamingDecoder<Chain<Cursor<Vec<u8>>, P>, FrameDecoder>;

enum Unpacked<'r, R: Read> {
    Stored(Packed<'r, R>),
    Deflate(DeflateDecoder<Buffered<'r, R>>),
    Bzip2(BzDecoder<Buffered<'r, R>>),
    Lzma(Box<LzmaReader<Buffered<'r, R>>>),
    #[cfg(feature = "zstd")]
    Zstd(Box<Zstd<Buffered<'r, R>>>),
}

impl<R: Read> fmt::Debug for MemberReader<'_, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemberReader").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<R: Read> Read for MemberReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(room) = buffer.get_mut(..room).filter(|room| !room.is_empty()) else {
            return Ok(0);
        };
        let count = self.unpacked.read(room)?;
        let Some(bytes) = room.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Err(damaged("it is shorter than it says"));
        };
        self.crc32.update(bytes);
        let left = self.left - u64::try_from(count).unwrap_or(self.left);
        if left == 0 {
            self.check_end()?;
        }
        self.left = left;
        Ok(count)
    }
}

impl<R: Read> MemberReader<'_, R> {
    /// Whether it may hold much memory, and others that want as much wait.
    #[cfg(all(test, feature = "zstd"))]
    pub(super) fn has_large_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Checks that nothing follows and that what came was right.
    fn check_end(&mut self) -> io::Result<()> {
        if self.unpacked.read(&mut [0])? != 0 {
            return Err(damaged("it is longer than it says"));
        }
        if self.crc32.clone().finalize() != self.crc32_declared {
            return Err(damaged("its CRC-32 is wrong"));
        }
        Ok(())
    }
}

impl<R: Read> Read for Unpacked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stored(reader) => reader.read(buffer),
            Self::Deflate(reader) => reader.read(buffer),
            Self::Bzip2(reader) => reader.read(buffer),
            Self::Lzma(reader) => reader.read(buffer),
            #[cfg(feature = "zstd")]
            Self::Zstd(reader) => reader.read(buffer),
        }
    }
}

/// The archive as we put it down ourselves; marks errors that are no fault of the archive's.
struct Source<'r, R>(&'r mut R);

impl<R: Read> Read for Source<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(failed)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the archive cannot be read back")]
struct SourceFailed(#[source] io::Error);

fn failed(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    io::Error::new(error.kind(), SourceFailed(error))
}

/// The failure of our own disk, wherever below a decoder's error, or else the error as it was.
pub(super) fn failure_of_source(error: io::Error) -> Result<io::Error, io::Error> {
    let error = match error.downcast::<SourceFailed>() {
        Ok(SourceFailed(cause)) => return Ok(cause),
        Err(error) => error,
    };
    let mut cause = error.get_ref().and_then(|error| error.source());
    while let Some(below) = cause {
        let inner = below.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(<dyn Error + Send + Sync>::is::<SourceFailed>) {
            return Ok(error);
        }
        cause = below.source();
    }
    Err(error)
}

fn damaged(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
