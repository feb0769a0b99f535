//! Many small files as one tar: one request and one change in place of hundreds.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use granary_engine::limits::CHANGE_FILES_MAX;
use granary_engine::model::Digest;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;

use super::batch::Open;
use crate::cli::client::Client;
use crate::cli::content::{Handles, local, steady};
use crate::cli::failure::Failure;

/// Bytes of the largest file that goes into a tar; of larger ones a request each is no burden.
pub(crate) const MEMBER_BYTES_MAX: u64 = 128 << 10;

/// Files of a tar, and bytes of them: what the server makes one record of, and one change.
const BUNDLE_FILES_MAX: usize = CHANGE_FILES_MAX;
const BUNDLE_BYTES_MAX: u64 = 3 << 20;

/// A tar that is ready to be sent.
pub(crate) struct Bundle {
    body: Bytes,
    /// Digest and length of each member, in the order of the files that it was made of; `None` of
    /// those that are not in it, because they are no small files any longer.
    pub(crate) members: Vec<Result<Option<(Digest, u64)>, Failure>>,
}

#[derive(Deserialize)]
struct Stored {
    filename: String,
    handle: String,
}

/// Cuts files into groups that make one tar each.
pub(crate) fn groups(files: Vec<Open>) -> Vec<Vec<Open>> {
    let mut groups: Vec<Vec<Open>> = Vec::new();
    let mut bytes = u64::MAX;
    for open in files {
        let length = open.length();
        let fits = |group: &Vec<Open>| group.len() < BUNDLE_FILES_MAX;
        match groups.last_mut() {
            Some(group) if fits(group) && bytes.saturating_add(length) <= BUNDLE_BYTES_MAX => {
                bytes += length;
                group.push(open);
            }
            _ => {
                bytes = length;
                groups.push(vec![open]);
            }
        }
    }
    groups
}

impl Bundle {
    /// Reads the files; blocks.
    pub(crate) fn read(files: &[Open]) -> io::Result<Self> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut members = Vec::with_capacity(files.len());
        for open in files {
            members.push(match read_member(open) {
                Ok(Some((content, digest))) => {
                    let mut header = tar::Header::new_ustar();
                    header.set_size(content.len().try_into().unwrap_or(u64::MAX));
                    header.set_mode(0o600);
                    tar.append_data(&mut header, &open.file.name, content.as_slice())?;
                    let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
                    Ok(Some((digest, length)))
                }
                Ok(None) => Ok(None),
                Err(failure) => Err(failure),
            });
        }
        Ok(Self { body: Bytes::from(tar.into_inner()?), members })
    }

    /// Sends the tar; all of its members are stored, or none.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn send(
        &self,
        client: &Arc<Client>,
        dataset: u64,
        files: &[Open],
    ) -> Result<(), Failure> {
        let address = client.url.action(&format!("datasets/{dataset}/files-multi"));
        let request = client.http.post(address).header(CONTENT_TYPE, "application/x-tar");
        let stored: Vec<Stored> = client.ask(request.body(self.body.clone())).await?;
        let sent = files.iter().zip(&self.members).filter_map(|(open, member)| {
            let (digest, _) = member.as_ref().ok()?.as_ref()?;
            Some((open.file.name.clone(), digest.to_string()))
        });
        if sent.eq(stored.into_iter().map(|stored| (stored.filename, stored.handle))) {
            return Ok(());
        }
        Err(Failure::Altered {
            reason: "the server stored something else than was read; delete it there",
        })
    }

    /// Whether there is anything to send.
    pub(crate) fn is_empty(&self) -> bool {
        !self.members.iter().any(|member| matches!(member, Ok(Some(_))))
    }
}

fn read_member(open: &Open) -> Result<Option<(Vec<u8>, Digest)>, Failure> {
    let path = &open.file.path;
    let read = || {
        let mut content = Vec::with_capacity(open.length().try_into().unwrap_or(0));
        File::open(path)?.take(MEMBER_BYTES_MAX + 1).read_to_end(&mut content)?;
        Ok(content)
    };
    let steady =
        steady(open.digest(), Handles::Blake3, read).map_err(|error| local(path, error))?;
    let (content, identity) = steady.ok_or_else(Failure::changed_meanwhile)?;
    Ok((identity.length <= MEMBER_BYTES_MAX).then_some((content, identity.digest)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::content::identity_of;
    use crate::cli::stamp::Stamp;
    use crate::cli::walk::LocalFile;

    #[test]
    fn a_file_whose_every_reading_is_another_one_is_no_member() {
        let random = "/proc/sys/kernel/random/uuid";
        let open = [random, "/proc/self/comm"].map(|path| {
            let stamp = Stamp::of(&fs::metadata(path).unwrap());
            let identity = identity_of(path.as_ref(), Handles::Blake3).unwrap();
            Open::new(LocalFile { name: "x".to_owned(), path: path.into(), stamp }, Some(identity))
        });
        let members = Bundle::read(&open).unwrap().members;
        assert!(matches!(members.as_slice(), [Err(Failure::Altered { .. }), Ok(Some(_))]));
    }
}
