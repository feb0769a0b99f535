//! The one place that knows bincode: values of the index and the journal as bytes.
//!
//! Every value starts with a format version byte, then bincode 2 `standard()`: variable-length
//! integers, fields in order. Bytes left over, a length beyond the limit and an unknown version
//! are errors, since bytes from the disk are input.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::ENCODED_BYTES_MAX;

/// Version of the encoding; the first byte of every value.
pub(crate) const FORMAT_VERSION: u8 = 1;

/// Bytes that are not a value of the expected type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a value of the expected kind: {reason}")]
pub(crate) struct CodecError {
    reason: String,
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<ENCODED_BYTES_MAX>()
}

/// Bytes that most values stay below.
pub(crate) const BYTES_USUAL: usize = 256;

/// Encodes a value.
///
/// # Errors
/// The value is longer than the limit, which bounds elsewhere prevent.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    encode_as(FORMAT_VERSION, value)
}

/// Encodes a value of a kind that has versions of its own.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_as<T: Serialize>(version: u8, value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(BYTES_USUAL);
    bytes.push(version);
    append(&mut bytes, value)?;
    Ok(bytes)
}

/// Encodes fields behind others: what the fields of one value give in their order.
///
/// # Errors
/// As [`encode`].
pub(crate) fn append<T: Serialize>(bytes: &mut Vec<u8>, value: &T) -> Result<(), CodecError> {
    let appended = bincode::serde::encode_into_std_write(value, bytes, config());
    appended.map(drop).map_err(|error| CodecError { reason: error.to_string() })
}

/// Decodes a value that takes all of the bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_rest(without_version(bytes)?)
}

/// What follows the version byte, if the version is known.
pub(crate) fn without_version(bytes: &[u8]) -> Result<&[u8], CodecError> {
    let error = |reason: String| CodecError { reason };
    let (&version, encoded) = bytes.split_first().ok_or_else(|| error("no bytes".into()))?;
    if version != FORMAT_VERSION {
        return Err(error(format!("encoding version {version}, known is {FORMAT_VERSION}")));
    }
    Ok(encoded)
}

/// The version byte and what follows it, whatever the version.
pub(crate) fn split_version(bytes: &[u8]) -> Result<(u8, &[u8]), CodecError> {
    let split = bytes.split_first().map(|(version, rest)| (*version, rest));
    split.ok_or_else(|| CodecError { reason: "no bytes".into() })
}

/// Decodes fields at the front of the bytes behind the version, whatever follows them.
pub(crate) fn decode_front<T: DeserializeOwned>(encoded: &[u8]) -> Result<T, CodecError> {
    let front = bincode::serde::decode_from_slice(encoded, config());
    let (value, _used) = front.map_err(|error| CodecError { reason: error.to_string() })?;
    Ok(value)
}

/// Decodes fields, in order, that take all of the bytes behind the version.
pub(crate) fn decode_rest<T: DeserializeOwned>(encoded: &[u8]) -> Result<T, CodecError> {
    let error = |reason: String| CodecError { reason };
    let (value, used) = bincode::serde::decode_from_slice(encoded, config())
        .map_err(|cause| error(cause.to_string()))?;
    if used != encoded.len() {
        return Err(error(format!("{} bytes are left over", encoded.len() - used)));
    }
    Ok(value)
}

#[cfg(test)]
mod golden;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_left_over_and_other_versions_are_errors() {
        let mut bytes = encode(&(7u64, "name")).unwrap();
        assert_eq!(decode::<(u64, String)>(&bytes), Ok((7, "name".into())));
        bytes.push(0);
        assert!(decode::<(u64, String)>(&bytes).is_err());
        bytes.pop();
        bytes[0] = 2;
        assert!(decode::<(u64, String)>(&bytes).is_err());
        assert!(decode::<(u64, String)>(&[]).is_err());
    }

    #[test]
    fn a_length_beyond_the_bytes_is_an_error_and_allocates_nothing() {
        let mut bytes = vec![FORMAT_VERSION, 253];
        bytes.extend(u64::MAX.to_le_bytes());
        assert!(decode::<Vec<u8>>(&bytes).is_err());
    }
}
