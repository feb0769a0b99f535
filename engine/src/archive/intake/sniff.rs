//! What kind of archive a body is, by how it begins and by what its sender calls it.

/// Kinds of archive that are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntakeKind {
    /// Zip; its list of members stands at its end.
    Zip,
    /// Tar; read while it arrives.
    Tar,
    /// Tar inside gzip; read while it arrives.
    TarGz,
}

/// Bytes at the start of a body that are enough to tell: a tar's first header.
pub(crate) const SNIFF_BYTES: usize = 512;

/// Where a tar header's checksum stands; it counts as spaces in itself.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// The kind of a body that begins like this.
///
/// What the bytes say counts before what the sender says, who may just have guessed. A zip may
/// begin with anything, so it is what is left.
pub(crate) fn sniff(start: &[u8], declared: Option<IntakeKind>) -> IntakeKind {
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        IntakeKind::Zip
    } else if start.starts_with(&[0x1f, 0x8b]) {
        IntakeKind::TarGz
    } else if start.get(..SNIFF_BYTES).is_some_and(is_tar_header) {
        IntakeKind::Tar
    } else {
        declared.unwrap_or(IntakeKind::Zip)
    }
}

/// Whether a block has the checksum that it says.
pub(super) fn is_tar_header(block: &[u8]) -> bool {
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| u32::from(if CHECKSUM.contains(&at) { b' ' } else { *byte }))
        .sum();
    let field = block.get(CHECKSUM).unwrap_or_default();
    let digits = field.trim_ascii_start().split(|byte| matches!(byte, 0 | b' ')).next();
    let said = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    said.and_then(|said| u32::from_str_radix(said, 8).ok()) == Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_decide_before_the_sender_does() {
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_cksum();
        let mut tar = header.as_bytes().to_vec();
        for declared in [None, Some(IntakeKind::Zip), Some(IntakeKind::TarGz)] {
            assert_eq!(sniff(b"PK\x03\x04 and more", declared), IntakeKind::Zip);
            assert_eq!(sniff(b"\x1f\x8b\x08", declared), IntakeKind::TarGz);
            assert_eq!(sniff(&tar, declared), IntakeKind::Tar);
        }
        tar[0] ^= 1;
        assert_eq!(sniff(&tar, None), IntakeKind::Zip, "the checksum is wrong");
        assert_eq!(sniff(&[0; 1024], Some(IntakeKind::Tar)), IntakeKind::Tar, "an empty one");
        assert_eq!(sniff(b"", None), IntakeKind::Zip);
    }
}
