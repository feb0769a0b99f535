//! The store as it should be: plain maps that do what the engine promises, one operation at a
//! time. Tests run the same operations on both and compare.

use crate::told::Told;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use granary_engine::SourceAfterMerge;

/// Bytes of a file; shown by length and beginning.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(pub Arc<[u8]>);

impl Content {
    /// Bytes that are told from those of any other number.
    pub fn numbered(number: u64, length: usize) -> Self {
        let mut bytes = number.to_le_bytes().repeat(length.div_ceil(8));
        bytes.truncate(length);
        Self(bytes.into())
    }

    /// These bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.0[..self.0.len().min(8)];
        write!(formatter, "{} bytes {start:02x?}", self.0.len())
    }
}

/// A file of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub content: Content,
    pub metadata: String,
}

/// A dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    pub version: u64,
    pub previous: Option<u64>,
    pub is_deleted: bool,
    pub files: BTreeMap<String, File>,
}

/// All datasets by primary key.
pub type Sets = BTreeMap<u64, Set>;

/// An operation on the store.
#[derive(Debug, Clone)]
pub enum Op {
    Create {
        name: String,
    },
    Rename {
        set: u64,
        name: String,
    },
    Add {
        set: u64,
        name: String,
        content: Content,
    },
    AddZip {
        set: u64,
        members: Vec<(String, Content)>,
    },
    AddTar {
        set: u64,
        members: Vec<(String, Content)>,
    },
    Delete {
        set: u64,
        name: String,
    },
    SetMetadata {
        set: u64,
        name: String,
        text: String,
    },
    Clear {
        set: u64,
    },
    Copy {
        set: u64,
        new_name: Option<String>,
        only: Option<Vec<String>>,
    },
    Merge {
        target: u64,
        source: u64,
        after: SourceAfterMerge,
    },
    Destroy {
        set: u64,
    },
    Reinstate {
        set: u64,
    },
    HardDelete {
        set: u64,
    },
    DestroyAll,
    DeleteMany {
        set: u64,
        names: Vec<String>,
    },
    DeleteBelow {
        set: u64,
        prefix: String,
    },
    DescribeMany {
        set: u64,
        texts: BTreeMap<String, String>,
    },
    RenameFile {
        set: u64,
        from: String,
        to: String,
    },
    /// Puts a file in the place of the one of its name, if there is one.
    Replace {
        set: u64,
        name: String,
        content: Content,
    },
    /// Sets the metadata of a file that has none.
    DescribeFirst {
        set: u64,
        name: String,
        text: String,
    },
    /// Adds files by the digests of their contents, which must be those of files somewhere.
    Attach {
        set: u64,
        members: Vec<(String, Content)>,
    },
    /// One of the row of changes in `records`, all those before it having been made.
    Record {
        number: usize,
    },
    /// Removes what is soft-deleted since the time that it shows when the operation begins.
    Purge {
        set: u64,
    },
}

/// Why an operation changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    DatasetNotFound,
    FileNotFound,
    FilenameTaken,
    FilenameIsDirectory,
    DirectoryIsFile,
    NameTaken,
    MergeIntoItself,
    RenameToItself,
    DuplicateFilename,
    Moved,
    ConditionFailed,
    ContentsUnknown,
}

/// The model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    pub sets: Sets,
    /// Datasets that were ever made; primary keys are not used twice.
    pub made: u64,
    /// How many of the changes in `records` were made.
    pub records: usize,
    /// What the audit log tells.
    pub told: Told,
}

impl Set {
    fn has_directory(&self, name: &str) -> bool {
        let prefix = format!("{name}/");
        let mut from = self.files.range(prefix.clone()..);
        from.next().is_some_and(|(name, _)| name.starts_with(&prefix))
    }

    fn lies_below_a_file(&self, name: &str) -> bool {
        name.match_indices('/').any(|(at, _)| self.files.contains_key(&name[..at]))
    }

    /// The name under which a file may be added.
    fn free_name(&self, requested: &str) -> Result<String, Refusal> {
        let name = match requested.strip_suffix('/') {
            None => {
                if self.files.contains_key(requested) {
                    return Err(Refusal::FilenameTaken);
                }
                if self.has_directory(requested) {
                    return Err(Refusal::FilenameIsDirectory);
                }
                requested.to_owned()
            }
            Some(directory) => {
                let mut numbers = (1..).map(|number| format!("{directory}/{number}"));
                let in_use = |name: &String| {
                    self.files.contains_key(name.as_str()) || self.has_directory(name)
                };
                numbers.find(|name| !in_use(name)).unwrap()
            }
        };
        if self.lies_below_a_file(&name) {
            return Err(Refusal::DirectoryIsFile);
        }
        Ok(name)
    }

    fn add_all(&mut self, members: &[(String, Content)]) -> Result<(), Refusal> {
        for (name, _) in members {
            self.free_name(name)?;
        }
        for (name, content) in members {
            let file = File { content: content.clone(), metadata: String::new() };
            self.files.insert(name.clone(), file);
        }
        Ok(())
    }

    fn replace(&mut self, name: &str, content: &Content) -> Result<(), Refusal> {
        if self.files.get(name).is_some_and(|file| file.content == *content) {
            return Ok(());
        }
        if self.files.remove(name).is_none() {
            self.free_name(name)?;
        }
        let file = File { content: content.clone(), metadata: String::new() };
        self.files.insert(name.to_owned(), file);
        Ok(())
    }

    fn describe_many(&mut self, texts: &BTreeMap<String, String>) -> Result<(), Refusal> {
        for name in texts.keys() {
            self.file(name)?;
        }
        for (name, text) in texts {
            self.file(name)?.metadata.clone_from(text);
        }
        Ok(())
    }

    fn file(&mut self, name: &str) -> Result<&mut File, Refusal> {
        self.files.get_mut(name).ok_or(Refusal::FileNotFound)
    }
}

impl Reference {
    fn set(&mut self, set: u64) -> Result<&mut Set, Refusal> {
        self.sets.get_mut(&set).ok_or(Refusal::DatasetNotFound)
    }

    fn active(&self, name: &str) -> impl Iterator<Item = &Set> {
        self.sets.values().filter(move |set| !set.is_deleted && set.name == name)
    }

    fn expect_free(&self, name: &str, version: u64) -> Result<(), Refusal> {
        let taken = self.active(name).any(|set| set.version == version);
        if taken { Err(Refusal::NameTaken) } else { Ok(()) }
    }

    fn make(&mut self, set: Set) {
        self.made += 1;
        self.sets.insert(self.made, set);
    }

    /// Does what the operation does, or nothing.
    pub fn apply(&mut self, op: &Op) -> Result<(), Refusal> {
        match op {
            Op::Create { name } => {
                self.expect_free(name, 1)?;
                let (name, files) = (name.clone(), BTreeMap::new());
                self.make(Set { name, version: 1, previous: None, is_deleted: false, files });
            }
            Op::Rename { set, name } => self.rename(*set, name)?,
            Op::Add { set, name, content } => {
                let set = self.set(*set)?;
                let name = set.free_name(name)?;
                let file = File { content: content.clone(), metadata: String::new() };
                set.files.insert(name, file);
            }
            Op::AddZip { set, members } | Op::AddTar { set, members } => {
                self.set(*set)?.add_all(members)?;
            }
            Op::Replace { set, name, content } => self.set(*set)?.replace(name, content)?,
            Op::DescribeFirst { set, name, text } => {
                let file = self.set(*set)?.file(name)?;
                if !file.metadata.is_empty() {
                    return Err(Refusal::ConditionFailed);
                }
                file.metadata.clone_from(text);
            }
            Op::Attach { set, members } => self.attach(*set, members)?,
            Op::Delete { set, name } => {
                self.set(*set)?.files.remove(name).ok_or(Refusal::FileNotFound)?;
            }
            Op::SetMetadata { set, name, text } => {
                self.set(*set)?.file(name)?.metadata.clone_from(text);
            }
            Op::Record { number } => self.records = number + 1,
            Op::Clear { set } => {
                self.set(*set)?.files.values_mut().for_each(|file| file.metadata.clear());
            }
            Op::Copy { set, new_name, only } => {
                self.copy(*set, new_name.as_deref(), only.as_deref())?;
            }
            Op::Merge { target, source, after } => self.merge(*target, *source, *after)?,
            Op::Destroy { set } => self.set(*set)?.is_deleted = true,
            // With the project that holds them all, which is brought back without them.
            Op::DestroyAll => self.sets.values_mut().for_each(|set| set.is_deleted = true),
            Op::Reinstate { set } => {
                let found = self.set(*set)?.clone();
                if found.is_deleted {
                    self.expect_free(&found.name, found.version)?;
                    self.set(*set)?.is_deleted = false;
                }
            }
            Op::HardDelete { set } => {
                self.sets.remove(set).ok_or(Refusal::DatasetNotFound)?;
            }
            Op::Purge { set } => {
                if !self.set(*set)?.is_deleted {
                    return Err(Refusal::Moved);
                }
                self.sets.remove(set);
            }
            Op::DeleteMany { set, names } => self.delete_many(*set, names)?,
            Op::DeleteBelow { set, prefix } => {
                self.set(*set)?.files.retain(|name, _| !name.starts_with(prefix));
            }
            Op::DescribeMany { set, texts } => self.set(*set)?.describe_many(texts)?,
            Op::RenameFile { set, from, to } => self.rename_file(*set, from, to)?,
        }
        Ok(())
    }

    fn attach(&mut self, set: u64, members: &[(String, Content)]) -> Result<(), Refusal> {
        for (name, _) in members {
            self.set(set)?.free_name(name)?;
        }
        let files = || self.sets.values().flat_map(|set| set.files.values());
        for (_, content) in members {
            if !files().any(|file| file.content == *content) {
                return Err(Refusal::ContentsUnknown);
            }
        }
        self.set(set)?.add_all(members)
    }

    fn delete_many(&mut self, set: u64, names: &[String]) -> Result<(), Refusal> {
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        if distinct.len() < names.len() {
            return Err(Refusal::DuplicateFilename);
        }
        let set = self.set(set)?;
        for name in names {
            set.file(name)?;
        }
        set.files.retain(|name, _| !names.contains(name));
        Ok(())
    }

    fn rename_file(&mut self, set: u64, from: &str, to: &str) -> Result<(), Refusal> {
        let set = self.set(set)?;
        let mut without = set.clone();
        let file = without.files.remove(from).ok_or(Refusal::FileNotFound)?;
        let name = without.free_name(to)?;
        if name == from {
            return Err(Refusal::RenameToItself);
        }
        without.files.insert(name, file);
        *set = without;
        Ok(())
    }

    fn rename(&mut self, set: u64, name: &str) -> Result<(), Refusal> {
        let found = self.set(set)?.clone();
        if found.name != name && !found.is_deleted {
            self.expect_free(name, found.version)?;
        }
        name.clone_into(&mut self.set(set)?.name);
        Ok(())
    }

    fn copy(
        &mut self,
        set: u64,
        new_name: Option<&str>,
        only: Option<&[String]>,
    ) -> Result<(), Refusal> {
        let mut copy = self.set(set)?.clone();
        copy.is_deleted = false;
        if let Some(name) = new_name {
            if self.active(name).next().is_some() {
                return Err(Refusal::NameTaken);
            }
            (copy.name, copy.version, copy.previous) = (name.to_owned(), 1, None);
        } else {
            let highest = self.active(&copy.name).map(|set| set.version).max();
            copy.previous = Some(copy.version);
            copy.version = highest.unwrap_or(0) + 1;
        }
        if let Some(only) = only {
            copy.files.retain(|name, _| only.contains(name));
        }
        self.make(copy);
        Ok(())
    }

    fn merge(&mut self, target: u64, source: u64, after: SourceAfterMerge) -> Result<(), Refusal> {
        if target == source && after != SourceAfterMerge::Keep {
            return Err(Refusal::MergeIntoItself);
        }
        let mut into = self.set(target)?.clone();
        let from = self.set(source)?.clone();
        for (name, file) in &from.files {
            let name = match into.files.get(name) {
                Some(there) if there.content == file.content => continue,
                Some(_) => suffixed(&into, &from, name),
                None if into.has_directory(name) => return Err(Refusal::FilenameIsDirectory),
                None if into.lies_below_a_file(name) => return Err(Refusal::DirectoryIsFile),
                None => name.clone(),
            };
            into.files.insert(name, file.clone());
        }
        self.sets.insert(target, into);
        match after {
            SourceAfterMerge::Keep => {}
            SourceAfterMerge::Destroy => self.set(source)?.is_deleted = true,
            SourceAfterMerge::HardDelete => drop(self.sets.remove(&source)),
        }
        Ok(())
    }
}

/// The first free name with a number before its extension.
fn suffixed(into: &Set, from: &Set, name: &str) -> String {
    let last_part = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name.rfind('.').filter(|dot| *dot > last_part).unwrap_or(name.len());
    let (base, extension) = name.split_at(dot);
    let mut numbers = (1..).map(|number| format!("{base}-{number:04}{extension}"));
    let in_use = |name: &String| {
        into.files.contains_key(name.as_str())
            || into.has_directory(name)
            || from.has_directory(name)
    };
    numbers.find(|name| !in_use(name)).unwrap()
}
