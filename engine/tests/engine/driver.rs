//! Runs the reference's operations on an engine, and reads an engine back as the reference
//! describes it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Write as _;
use std::sync::Arc;

use granary_engine::model::{
    DatasetId, DatasetPatch, Digest, FileCondition, LicenceId, ProjectId, RequestedFilename,
    StoredFile, Tags, Timestamp, UploadTerms,
};
use granary_engine::{
    ClaimedFile, Engine, FileSelection, IntakeError, IntakeKind, MayRead, MutationError, ReadError,
    UniqueRule,
};

use crate::records;
use crate::reference::{Content, File, Op, Reference, Refusal, Set, Sets};
use crate::support::{content, dataset, read_content};

/// What became of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// It was answered, with the keys of what it made.
    Done(Option<u64>),
    /// It was refused; nothing changed.
    Refused(Refusal),
    /// The store does not take it; nothing changed.
    NotTaken(MutationError),
    /// Nobody knows before the store is opened again.
    Unknown,
}

impl From<MutationError> for Outcome {
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever is no refusal was not taken")]
    fn from(error: MutationError) -> Self {
        match error {
            MutationError::DatasetNotFound { .. } => Self::Refused(Refusal::DatasetNotFound),
            MutationError::FileNotFound { .. } | MutationError::FilesNotFound { .. } => {
                Self::Refused(Refusal::FileNotFound)
            }
            MutationError::DuplicateFilename { .. } => Self::Refused(Refusal::DuplicateFilename),
            MutationError::RenameToItself { .. } => Self::Refused(Refusal::RenameToItself),
            MutationError::Moved { .. } => Self::Refused(Refusal::Moved),
            MutationError::FilenameTaken { .. } => Self::Refused(Refusal::FilenameTaken),
            MutationError::FilenameIsDirectory { .. } => {
                Self::Refused(Refusal::FilenameIsDirectory)
            }
            MutationError::DirectoryIsFile { .. } => Self::Refused(Refusal::DirectoryIsFile),
            MutationError::Taken { rule: UniqueRule::DatasetName } => {
                Self::Refused(Refusal::NameTaken)
            }
            MutationError::MergeIntoItself { .. } => Self::Refused(Refusal::MergeIntoItself),
            MutationError::ConditionFailed { .. } => Self::Refused(Refusal::ConditionFailed),
            MutationError::ContentsUnknown { .. } => Self::Refused(Refusal::ContentsUnknown),
            MutationError::OutcomeUnknown { .. } => Self::Unknown,
            other => Self::NotTaken(other),
        }
    }
}

type Within = (ProjectId, LicenceId);

/// Runs one operation.
pub async fn run(engine: &Engine, within: Within, op: &Op) -> Outcome {
    match ask(engine, within, op).await {
        Ok(made) => Outcome::Done(made),
        Err(error) => error.into(),
    }
}

fn requested(name: &str) -> Result<RequestedFilename, MutationError> {
    let bad_name = |reason| MutationError::BadFilename { filename: name.to_owned(), reason };
    RequestedFilename::parse(name).map_err(bad_name)
}

async fn ask(engine: &Engine, within: Within, op: &Op) -> Result<Option<u64>, MutationError> {
    let id = |set: &u64| DatasetId(*set);
    match op {
        Op::Create { name } => return Ok(Some(dataset(engine, within, name).await?.id.0)),
        Op::Rename { set, name } => {
            let patch = DatasetPatch { name: Some(name.clone()), ..DatasetPatch::default() };
            engine.update_dataset(id(set), patch).await?;
        }
        Op::Add { set, name, content: bytes } => {
            let staged = content(engine, &bytes.0).await?;
            engine.add_file(id(set), name, staged).await?;
        }
        Op::AddZip { set, members } => {
            taken(add_zip(engine, id(set), members).await, members.len())?;
        }
        Op::AddTar { set, members } => {
            taken(add_tar(engine, id(set), members).await, members.len())?;
        }
        Op::Replace { set, name, content: bytes } => {
            let staged = content(engine, &bytes.0).await?;
            let terms = UploadTerms { replaces: true, ..UploadTerms::default() };
            engine.upload_file(id(set), requested(name)?, staged, terms).await?;
        }
        Op::DescribeFirst { set, name, text } => {
            describe_first(engine, id(set), name, text.clone()).await?;
        }
        Op::Attach { set, members } => {
            attach(engine, id(set), members).await?;
        }
        Op::Record { number } => records::change(engine, *number).await?,
        Op::Delete { set, name } => drop(engine.delete_file(id(set), name).await?),
        Op::SetMetadata { set, name, text } => {
            engine.set_metadata(id(set), name, text.clone()).await?;
        }
        Op::Clear { set } => drop(engine.clear_dataset(id(set)).await?),
        Op::Copy { set, new_name, only } => {
            let copy = engine.copy_dataset(id(set), new_name.clone(), only.clone(), None).await?;
            return Ok(Some(copy.id.0));
        }
        Op::Merge { target, source, after } => {
            engine.merge_datasets(id(target), id(source), *after).await?;
        }
        Op::Destroy { set } => drop(engine.destroy_dataset(id(set)).await?),
        Op::DestroyAll => {
            engine.destroy_project(within.0).await?;
            engine.reinstate_project(within.0).await.map_err(half_done)?;
        }
        Op::Reinstate { set } => drop(engine.reinstate_dataset(id(set)).await?),
        Op::HardDelete { set } => drop(engine.hard_delete_dataset(id(set)).await?),
        Op::DeleteMany { set, names } => {
            let selection = FileSelection::Named(names.clone());
            let count = engine.delete_files(id(set), selection).await?;
            assert_eq!(count, names.len() as u64);
        }
        Op::DeleteBelow { set, prefix } => {
            engine.delete_files(id(set), FileSelection::Prefix(prefix.clone())).await?;
        }
        Op::DescribeMany { set, texts } => {
            let count = engine.set_many_metadata(id(set), texts.clone()).await?;
            assert_eq!(count, texts.len() as u64);
        }
        Op::RenameFile { set, from, to } => drop(engine.rename_file(id(set), from, to).await?),
        Op::Purge { set } => {
            let header = engine.snapshot()?.dataset(id(set))?;
            let deleted_at = header.and_then(|header| header.deletion_time);
            engine.purge_dataset(id(set), deleted_at.unwrap_or(Timestamp(0))).await?;
        }
    }
    Ok(None)
}

async fn describe_first(
    engine: &Engine,
    set: DatasetId,
    name: &str,
    text: String,
) -> Result<(), MutationError> {
    let condition = FileCondition { matches_none: Some(Tags::Any), ..FileCondition::default() };
    engine.set_metadata_if(set, name, text, condition).await.map(drop)
}

async fn attach(
    engine: &Engine,
    set: DatasetId,
    members: &[(String, Content)],
) -> Result<(), MutationError> {
    let claim = |(name, content): &(String, Content)| ClaimedFile {
        filename: name.clone(),
        digest: Digest::of(&content.0),
        length: content.0.len() as u64,
    };
    let claims = members.iter().map(claim).collect();
    let everything: MayRead = Arc::new(|_, _| Ok(true));
    taken(engine.attach_files(set, claims, everything).await, members.len())
}

pub async fn add_zip(
    engine: &Engine,
    set: DatasetId,
    members: &[(String, Content)],
) -> Result<Vec<StoredFile>, IntakeError> {
    let mut upload = engine.begin_spool_upload();
    upload.write(&zip_of(members)).await?;
    let archive = upload.finish().await?;
    engine.add_files(set, archive).await
}

async fn add_tar(
    engine: &Engine,
    set: DatasetId,
    members: &[(String, Content)],
) -> Result<Vec<StoredFile>, IntakeError> {
    let mut intake = engine.begin_intake(set, Some(IntakeKind::Tar), None);
    for chunk in tar_of(members).chunks(100_000) {
        intake.write(chunk).await?;
    }
    intake.finish().await
}

/// What became of an archive of so many files; a sound one is refused for what it would change.
fn taken(
    outcome: Result<Vec<StoredFile>, IntakeError>,
    members: usize,
) -> Result<(), MutationError> {
    match outcome {
        Ok(stored) => assert_eq!(stored.len(), members),
        Err(IntakeError::Mutation(error)) => return Err(error),
        Err(other) => panic!("a sound archive was not taken: {other}"),
    }
    Ok(())
}

/// The first of two changes is made, and nobody knows of the second.
fn half_done(error: MutationError) -> MutationError {
    MutationError::OutcomeUnknown { cause: Arc::new(std::io::Error::other(error)) }
}

/// A tar archive of these members.
fn tar_of(members: &[(String, Content)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.0.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &*content.0).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A zip archive of these members, stored.
pub fn zip_of(members: &[(String, Content)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in members {
        zip.start_file(name.as_str(), options).unwrap();
        zip.write_all(&content.0).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Runs an operation on both, which must agree on what becomes of it.
pub async fn run_on_both(engine: &Engine, within: Within, reference: &mut Reference, op: &Op) {
    let expected = reference.apply(op);
    let made = reference.made;
    match (run(engine, within, op).await, expected) {
        (Outcome::Done(key), Ok(())) => {
            assert!(key.is_none_or(|key| key == made), "{op:?} made {key:?}, not {made}");
        }
        (Outcome::Refused(refusal), Err(expected)) => assert_eq!(refusal, expected, "{op:?}"),
        (outcome, expected) => panic!("{op:?} came to {outcome:?}, not to {expected:?}"),
    }
}

/// A dataset whose contents were not read yet: names, digests, metadata.
type Listed = (u64, Set, Vec<(String, Digest, String)>);

/// Everything that an engine holds; contents are read whole, counts are compared with the files.
pub async fn observe(engine: &Engine) -> Sets {
    let mut found: Vec<Listed> = Vec::new();
    {
        let snapshot = engine.snapshot().unwrap();
        for header in snapshot.datasets().unwrap() {
            let header = header.unwrap();
            let mut metadata = snapshot.all_metadata(&header).unwrap();
            let mut files = Vec::new();
            let mut bytes = 0;
            for file in snapshot.files(&header).unwrap() {
                let (name, record) = file.unwrap();
                let (described, text) = metadata.next().unwrap().unwrap();
                assert_eq!(name, described);
                if files.len() < 16 {
                    assert_eq!(snapshot.metadata(&header, &name).unwrap().as_ref(), Some(&text));
                }
                bytes += record.length;
                files.push((name, record.digest, text));
            }
            assert_eq!((header.file_count, header.file_bytes), (files.len() as u64, bytes));
            let own = files.iter().map(|(_, digest, _)| *digest).take(16);
            let others = found.iter().flat_map(|(_, _, files)| files).map(|(_, digest, _)| *digest);
            for digest in own.chain(others.take(16)) {
                let first = files.iter().find(|(_, held, _)| *held == digest);
                let go_on = || Ok::<_, ReadError>(());
                let by_digest = snapshot.file_by_digest(&header, &digest, go_on).unwrap();
                assert_eq!(by_digest.map(|(name, _)| name).as_ref(), first.map(|(name, ..)| name));
            }
            let set = Set {
                name: header.name.clone(),
                version: header.version,
                previous: header.previous_version,
                is_deleted: header.deletion_time.is_some(),
                files: std::collections::BTreeMap::new(),
            };
            found.push((header.id.0, set, files));
        }
    }
    let mut contents: HashMap<Digest, Content> = HashMap::new();
    let mut sets = Sets::new();
    for (id, mut set, files) in found {
        for (name, digest, metadata) in files {
            let content = match contents.entry(digest) {
                Entry::Occupied(read) => read.get().clone(),
                Entry::Vacant(unread) => {
                    let bytes = read_content(engine, &digest).await;
                    assert_eq!(Digest::of(&bytes), digest);
                    unread.insert(Content::of(&bytes)).clone()
                }
            };
            set.files.insert(name, File { content, metadata });
        }
        sets.insert(id, set);
    }
    sets
}

/// The store is as the reference says, and its invariants hold.
pub async fn assert_agrees(engine: &Engine, reference: &Reference, when: &str) {
    assert_same(&observe(engine).await, &reference.sets, when);
    assert_eq!(engine.check(true).unwrap(), [], "{when}");
}

/// Compares dataset by dataset, so that a difference can be read.
pub fn assert_same(observed: &Sets, expected: &Sets, when: &str) {
    let keys = |sets: &Sets| sets.keys().copied().collect::<Vec<_>>();
    assert_eq!(keys(observed), keys(expected), "{when}");
    for (id, set) in expected {
        assert_eq!(&observed[id], set, "dataset {id}, {when}");
    }
}
