//! What is in a dataset: names and handles, read from the answer as it arrives.
//!
//! A dataset may hold a million files, so neither the answer's text nor a tree of JSON values is
//! ever held: about 48 bytes and the name's own for each file.

use std::fmt;
use std::io::{self, Read};

use bytes::{Buf, Bytes};
use granary_engine::model::Digest;
use reqwest::Response;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use tokio::sync::mpsc;

use super::content::digest_of_handle;
use super::failure::Failure;
use super::server_url::ServerUrl;

/// Pieces of the answer that wait for the parser.
const PIECES_AHEAD_MAX: usize = 16;

/// Bytes that the parser takes at a time; it asks byte by byte.
const PARSER_BUFFER_BYTES: usize = 64 << 10;

/// Names and handles of a dataset's files, in order of name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FileMap(Vec<(Box<str>, Digest)>);

impl FileMap {
    /// The handle of a file.
    pub(crate) fn get(&self, name: &str) -> Option<Digest> {
        let found = self.0.binary_search_by(|(other, _)| (**other).cmp(name));
        let entry = found.ok().and_then(|at| self.0.get(at));
        entry.map(|(_, digest)| *digest)
    }

    /// Every name with its handle.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.0.iter().map(|(name, digest)| (&**name, *digest))
    }
}

impl<'de> Deserialize<'de> for FileMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = FileMap;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of file names and handles")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FileMap, A::Error> {
        let mut files = Vec::new();
        while let Some((name, handle)) = map.next_entry::<Box<str>, String>()? {
            let digest = digest_of_handle(&handle).ok_or_else(|| {
                Error::custom(format_args!(
                    "handle {handle:?} of {name:?} is not a digest: 64 hexadecimal letters are \
                     expected"
                ))
            })?;
            files.push((name, digest));
        }
        // The server sends them in order already; sorting what is sorted costs next to nothing.
        files.sort_unstable();
        Ok(FileMap(files))
    }
}

#[derive(Deserialize)]
struct DatasetFiles {
    files: FileMap,
}

/// Reads the file map out of a dataset's fields.
///
/// # Errors
/// The answer broke off, or is not a dataset's fields.
pub(crate) async fn read(url: &ServerUrl, mut response: Response) -> Result<FileMap, Failure> {
    let (pieces, receiver) = mpsc::channel(PIECES_AHEAD_MAX);
    let parser = tokio::task::spawn_blocking(move || {
        let reader = io::BufReader::with_capacity(PARSER_BUFFER_BYTES, Pieces::new(receiver));
        serde_json::from_reader::<_, DatasetFiles>(reader)
    });
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => {
                // The parser hangs up early if the answer is not what it expects.
                if pieces.send(piece).await.is_err() {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => return Err(Failure::on_the_way(url, &error)),
        }
    }
    drop(pieces);
    let strange = |reason: String| Failure::Strange { url: url.clone(), reason };
    let parsed = parser.await.map_err(|error| strange(error.to_string()))?;
    let dataset = parsed.map_err(|error| strange(error.to_string()))?;
    Ok(dataset.files)
}

/// The pieces of an answer as a blocking reader.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Pieces {
    fn new(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self { receiver, current: Bytes::new() }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let length = self.current.len().min(buffer.len());
        if let Some(target) = buffer.get_mut(..length) {
            self.current.copy_to_slice(target);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FileMap, serde_json::Error> {
        let (sender, receiver) = mpsc::channel(text.len().max(1));
        for byte in text.bytes() {
            sender.try_send(Bytes::copy_from_slice(&[byte])).unwrap();
        }
        drop(sender);
        let dataset: DatasetFiles = serde_json::from_reader(Pieces::new(receiver))?;
        Ok(dataset.files)
    }

    #[test]
    fn the_map_is_found_among_the_other_fields_however_the_answer_is_cut() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let text = format!(
            r#"{{"pk":1,"files":{{"x \u00fc":"{b}","a/b":"{a}"}},"tags":"{{","domain":null}}"#
        );
        let files = parse(&text).unwrap();
        assert_eq!(files.get("x ü"), Some(b));
        assert_eq!(files.get("a/b"), Some(a));
        assert_eq!(files.get("a"), None);
        let names: Vec<_> = files.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a/b", "x ü"]);
    }

    #[test]
    fn an_answer_that_breaks_off_is_no_shorter_map() {
        let digest = Digest::of(b"a");
        assert!(parse(&format!(r#"{{"files":{{"a":"{digest}""#)).is_err());
    }

    #[test]
    fn a_handle_that_is_no_digest_is_an_error() {
        let error = parse(r#"{"files":{"a":"abc"}}"#).unwrap_err();
        assert!(error.to_string().contains("not a digest"), "{error}");
    }
}
