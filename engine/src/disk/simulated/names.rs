//! The names of a simulated disk: as they are seen, as they last, and what lies between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::choice::Choice;
use super::content::Content;

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Entry {
    File(Arc<Content>),
    Directory,
}

impl Entry {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => Arc::ptr_eq(one, other),
            (Self::Directory, Self::Directory) => true,
            (Self::File(_), Self::Directory) | (Self::Directory, Self::File(_)) => false,
        }
    }
}

type Entries = BTreeMap<String, Entry>;

/// All directories by path, the top one being `""`.
pub(super) struct Names {
    directories: BTreeMap<String, Directory>,
    /// Number of the next rename from one directory to another.
    next_move: u64,
    /// Such renames whose new name does not last yet.
    unlanded: BTreeSet<u64>,
}

#[derive(Default)]
struct Directory {
    seen: Entries,
    durable: Entries,
    /// What leads from `durable` to `seen`, in order.
    pending: Vec<Pending>,
}

/// A change of one directory's names.
#[derive(Clone)]
enum Pending {
    /// A name is made, or stands for something else; `lands` if it came from elsewhere.
    Put { name: String, entry: Entry, lands: Option<u64> },
    /// A name goes if it still stands for this; after the move `follows`, if any.
    Remove { name: String, entry: Entry, follows: Option<u64> },
    /// A rename within the directory: one step, so never none and never both.
    Rename { from: String, to: String, entry: Entry },
}

impl Pending {
    fn apply(&self, entries: &mut Entries) {
        match self {
            Self::Put { name, entry, .. } => {
                entries.insert(name.clone(), entry.clone());
            }
            Self::Remove { name, entry, .. } => {
                if entries.get(name).is_some_and(|found| found.is(entry)) {
                    entries.remove(name);
                }
            }
            Self::Rename { from, to, entry } => {
                entries.remove(from);
                entries.insert(to.clone(), entry.clone());
            }
        }
    }

    fn lands(&self) -> Option<u64> {
        match self {
            Self::Put { lands, .. } => *lands,
            Self::Remove { .. } | Self::Rename { .. } => None,
        }
    }

    fn follows(&self) -> Option<u64> {
        match self {
            Self::Remove { follows, .. } => *follows,
            Self::Put { .. } | Self::Rename { .. } => None,
        }
    }
}

impl Directory {
    fn make(&mut self, change: Pending) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            directories: BTreeMap::from([(String::new(), Directory::default())]),
            next_move: 0,
            unlanded: BTreeSet::new(),
        }
    }

    fn directory(&mut self, path: &str) -> io::Result<&mut Directory> {
        self.directories.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What a path stands for, its directory and its name there.
    fn find(&self, path: &str) -> io::Result<Entry> {
        let (directory, name) = split(path);
        let found = self.directories.get(directory).and_then(|found| found.seen.get(name));
        found.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn find_file(&self, path: &str) -> io::Result<Entry> {
        match self.find(path)? {
            Entry::Directory => Err(io::ErrorKind::IsADirectory.into()),
            file @ Entry::File(_) => Ok(file),
        }
    }

    pub(super) fn file(&self, path: &str) -> io::Result<Arc<Content>> {
        match self.find(path)? {
            Entry::Directory => Err(io::ErrorKind::IsADirectory.into()),
            Entry::File(content) => Ok(content),
        }
    }

    pub(super) fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let found = self.directories.get(directory).ok_or(io::ErrorKind::NotFound)?;
        let files = found.seen.iter().filter(|(_name, entry)| matches!(entry, Entry::File(_)));
        Ok(files.map(|(name, _entry)| name.clone()).collect())
    }

    pub(super) fn create(&mut self, path: &str, entry: Entry) -> io::Result<()> {
        let (directory, name) = split(path);
        let is_directory = matches!(entry, Entry::Directory);
        let parent = self.directory(directory)?;
        if parent.seen.contains_key(name) || path.is_empty() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        parent.make(Pending::Put { name: name.into(), entry, lands: None });
        if is_directory {
            self.directories.insert(path.into(), Directory::default());
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let entry = self.find_file(from)?;
        let (source, from) = split(from);
        let (target, to) = split(to);
        if self.directory(target)?.seen.get(to).is_some_and(|found| found.is(&Entry::Directory)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (from, to) = (String::from(from), String::from(to));
        if source == target {
            if from != to {
                self.directory(source)?.make(Pending::Rename { from, to, entry });
            }
            return Ok(());
        }
        let number = self.next_move;
        self.next_move += 1;
        self.unlanded.insert(number);
        let put = Pending::Put { name: to, entry: entry.clone(), lands: Some(number) };
        self.directory(target)?.make(put);
        self.directory(source)?.make(Pending::Remove { name: from, entry, follows: Some(number) });
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str) -> io::Result<()> {
        let entry = self.find_file(path)?;
        let (directory, name) = split(path);
        let removal = Pending::Remove { name: name.into(), entry, follows: None };
        self.directory(directory)?.make(removal);
        Ok(())
    }

    /// Makes a directory's names last. A name that moved away stays until the new one lasts.
    pub(super) fn sync(&mut self, path: &str) -> io::Result<()> {
        let directory = self.directories.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        for change in std::mem::take(&mut directory.pending) {
            if change.follows().is_some_and(|number| self.unlanded.contains(&number)) {
                directory.pending.push(change);
                continue;
            }
            change.apply(&mut directory.durable);
            if let Some(number) = change.lands() {
                self.unlanded.remove(&number);
            }
        }
        Ok(())
    }

    /// The names as a power loss leaves them.
    pub(super) fn image(&self, choice: &mut Choice, available: &Arc<AtomicU64>) -> Self {
        let mut reached = Vec::with_capacity(self.directories.len());
        let mut landed = BTreeSet::new();
        for directory in self.directories.values() {
            let chosen = choice.subset(directory.pending.len());
            let changes = directory.pending.iter().zip(chosen);
            let changes: Vec<&Pending> =
                changes.filter_map(|(change, reached)| reached.then_some(change)).collect();
            landed.extend(changes.iter().filter_map(|change| change.lands()));
            reached.push(changes);
        }
        let is_unlanded = |number| self.unlanded.contains(&number) && !landed.contains(&number);

        let mut image = Self::new();
        // The same file under two names is one file in the image too.
        let mut contents: BTreeMap<usize, Arc<Content>> = BTreeMap::new();
        // In order of path, so that a directory comes after the one that holds it.
        for ((path, directory), changes) in self.directories.iter().zip(reached) {
            if !image.directories.contains_key(path) {
                continue;
            }
            let mut entries = directory.durable.clone();
            for change in changes {
                if !change.follows().is_some_and(is_unlanded) {
                    change.apply(&mut entries);
                }
            }
            for (name, entry) in &mut entries {
                let Entry::File(content) = entry else {
                    image.directories.insert(join(path, name), Directory::default());
                    continue;
                };
                let found = contents
                    .entry(Arc::as_ptr(content).addr())
                    .or_insert_with(|| Arc::new(content.image(choice, available)));
                *content = Arc::clone(found);
            }
            let directory =
                Directory { seen: entries.clone(), durable: entries, pending: Vec::new() };
            image.directories.insert(path.clone(), directory);
        }
        image
    }
}

/// A path's directory and the name in it.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.into() } else { format!("{directory}/{name}") }
}
