//! What the audit log says of a change: taken from the change and from what it came to, in the
//! state that it leaves, so that names are those of that time.

use super::{Applied, Group};
use crate::index::{IndexError, tables};
use crate::model::change::{CatalogueChange, Change, SetPurpose, SourceAfterMerge};
use crate::model::{
    Dataset, DatasetId, DatasetPatch, Membership, PermissionLevel, ProjectId, Quota, Subject,
    SubjectKind, User, UserPatch,
};
use crate::noted::EncodedNote;

impl Group<'_> {
    /// Remembers a change that was made.
    pub(super) fn tell(
        &mut self,
        change: &Change,
        applied: &Applied,
        note: &EncodedNote,
    ) -> Result<(), IndexError> {
        let subject = if let Change::Witness { subject } = change {
            subject.clone()
        } else if let Change::Catalogue(change) = change {
            Subject { detail: detail_of_record(change), ..self.subject_of(applied)? }
        } else {
            self.subject_of_files(change, applied)?
        };
        self.told.push(note.row(&subject)?);
        Ok(())
    }

    /// What a change came to.
    fn subject_of(&mut self, applied: &Applied) -> Result<Subject, IndexError> {
        let record = |kind, id, name: &str| Subject {
            record: Some((kind, id)),
            name: Some(name.to_owned()),
            ..Subject::default()
        };
        Ok(match applied {
            Applied::Done => Subject::default(),
            Applied::Dataset(dataset) => self.subject_of_dataset(dataset)?,
            Applied::User(user) => record(SubjectKind::User, user.id.0, &user.username),
            Applied::Team(team) => {
                let (team, name) = (Some(team.id), Some(team.name.clone()));
                Subject { team, name, ..Subject::default() }
            }
            Applied::Membership(membership) => {
                let Membership { team, user, .. } = **membership;
                let row: Option<User> = self.record(tables::USERS, user.0)?;
                let name = row.map(|user| user.username);
                let record = Some((SubjectKind::User, user.0));
                Subject { team: Some(team), record, name, ..Subject::default() }
            }
            Applied::Project(project) => Subject {
                team: Some(project.team),
                project: Some(project.id),
                name: Some(project.name.clone()),
                ..Subject::default()
            },
            Applied::Licence(licence) => record(SubjectKind::Licence, licence.id.0, &licence.name),
            Applied::Node(node) => {
                record(SubjectKind::Node, node.id.0, &format!("{} {}", node.ip, node.index))
            }
            Applied::AccessToken(token) => Subject {
                team: Some(token.team),
                ..record(SubjectKind::AccessToken, token.id.0, &token.name)
            },
        })
    }

    fn subject_of_dataset(&mut self, dataset: &Dataset) -> Result<Subject, IndexError> {
        Ok(Subject {
            team: self.owner(dataset.project)?.map(|owner| owner.team),
            project: Some(dataset.project),
            dataset: Some(dataset.id),
            name: Some(dataset.name.clone()),
            ..Subject::default()
        })
    }

    /// Of a change of a dataset, or of files of one.
    fn subject_of_files(
        &mut self,
        change: &Change,
        applied: &Applied,
    ) -> Result<Subject, IndexError> {
        let About { dataset, filename, files, detail } = About::of(change);
        let shown = if let (Applied::Done, Some(id)) = (applied, dataset) {
            // As the group has it already: whoever changes files changes the header.
            let header = self.headers.get(&id).and_then(|header| header.value.as_ref());
            let header = header.map(|header| (header.project, header.name.clone()));
            self.subject_of_header(id, header)?
        } else {
            self.subject_of(applied)?
        };
        Ok(Subject { filename, files, detail, ..shown })
    }

    fn subject_of_header(
        &mut self,
        id: DatasetId,
        header: Option<(ProjectId, String)>,
    ) -> Result<Subject, IndexError> {
        let dataset = Some(id);
        let Some((project, name)) = header else {
            return Ok(Subject { dataset, ..Subject::default() });
        };
        let team = self.owner(project)?.map(|owner| owner.team);
        let (project, name) = (Some(project), Some(name));
        Ok(Subject { team, project, dataset, name, ..Subject::default() })
    }
}

/// What a change of datasets or files says of itself.
#[derive(Debug, Default)]
struct About {
    dataset: Option<DatasetId>,
    filename: Option<String>,
    files: Option<u64>,
    detail: Option<String>,
}

impl About {
    fn of(change: &Change) -> Self {
        let count = |files: usize| Some(u64::try_from(files).unwrap_or(u64::MAX));
        let detailed = |detail| Self { detail: Some(detail), ..Self::default() };
        match change {
            Change::AddFiles { dataset, files } => match files.as_slice() {
                [file] => Self::file(*dataset, file.filename.as_str()),
                files => Self { files: count(files.len()), ..Self::of_dataset(*dataset) },
            },
            Change::DeleteFile { dataset, filename, .. }
            | Change::SetMetadata { dataset, filename, .. }
            | Change::SetMetadataIf { dataset, filename, .. } => {
                Self::file(*dataset, filename.as_str())
            }
            Change::ReplaceFile { dataset, file, .. } => {
                Self::file(*dataset, file.filename.as_str())
            }
            Change::RenameFile { dataset, from, to, .. } => {
                let detail = Some(format!("to {to}"));
                Self { detail, ..Self::file(*dataset, from.as_str()) }
            }
            Change::DeleteFiles { dataset, filenames, .. } => {
                Self { files: count(filenames.len()), ..Self::of_dataset(*dataset) }
            }
            Change::SetManyMetadata { dataset, entries, .. } => {
                Self { files: count(entries.len()), ..Self::of_dataset(*dataset) }
            }
            Change::UpdateDataset { patch, .. } => {
                Self { detail: detail_of_dataset(patch), ..Self::default() }
            }
            Change::CopyDataset { source, .. } => detailed(format!("of dataset {source}")),
            Change::CopyFiles { source, files, .. } => {
                Self { files: count(files.len()), ..detailed(format!("of dataset {source}")) }
            }
            Change::MergeShared { source, after, .. } => detailed(merged(*source, *after)),
            Change::MergeFiles { merge, files } => {
                let files = count(files.len());
                Self { files, ..detailed(merged(merge.source, merge.after)) }
            }
            Change::MergeLayers { merge, files } => {
                Self { files: Some(*files), ..detailed(merged(merge.source, merge.after)) }
            }
            Change::CommitSet { files, purpose, .. } => {
                let mut subject = Self { files: Some(*files), ..Self::of_set(purpose) };
                if let SetPurpose::MergeLayers { brought, .. } = purpose {
                    // Of the set's own files some stand for what was there before.
                    subject.files = Some(brought.files);
                }
                subject
            }
            Change::ClearDataset { .. }
            | Change::CreateDataset { .. }
            | Change::DestroyDataset { .. }
            | Change::ReinstateDataset { .. }
            | Change::HardDeleteDataset { .. }
            | Change::PurgeDataset { .. }
            | Change::StageFiles { .. }
            | Change::StageDeletions { .. }
            | Change::StageMetadata { .. }
            | Change::AbortSet { .. }
            | Change::Relocate { .. }
            | Change::Catalogue(_)
            | Change::Witness { .. } => Self::default(),
        }
    }

    fn of_set(purpose: &SetPurpose) -> Self {
        match purpose {
            SetPurpose::AddFiles { dataset, .. }
            | SetPurpose::DeleteFiles { dataset, .. }
            | SetPurpose::SetMetadata { dataset, .. } => Self::of_dataset(*dataset),
            SetPurpose::Merge(merge) | SetPurpose::MergeLayers { merge, .. } => {
                let detail = Some(merged(merge.source, merge.after));
                Self { detail, ..Self::of_dataset(merge.target) }
            }
            SetPurpose::Copy { source, .. } => {
                Self { detail: Some(format!("of dataset {source}")), ..Self::default() }
            }
        }
    }

    fn of_dataset(dataset: DatasetId) -> Self {
        Self { dataset: Some(dataset), ..Self::default() }
    }

    fn file(dataset: DatasetId, filename: &str) -> Self {
        Self { filename: Some(filename.to_owned()), ..Self::of_dataset(dataset) }
    }
}

fn merged(source: DatasetId, after: SourceAfterMerge) -> String {
    match after {
        SourceAfterMerge::Keep => format!("from dataset {source}"),
        SourceAfterMerge::Destroy => format!("from dataset {source}, which was deleted"),
        SourceAfterMerge::HardDelete => {
            format!("from dataset {source}, which was removed for good")
        }
    }
}

/// Parts of a sentence, as far as there are any.
fn joined(parts: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// That a field was changed, without what it says: that may be long.
fn changed<T>(field: Option<&T>, name: &str) -> Option<String> {
    field.map(|_| name.to_owned())
}

fn detail_of_dataset(patch: &DatasetPatch) -> Option<String> {
    let DatasetPatch { name, description, project, licence, tags, is_public } = patch;
    joined([
        changed(name.as_ref(), "name"),
        changed(description.as_ref(), "description"),
        project.map(|project| format!("project {project}")),
        licence.map(|licence| format!("licence {licence}")),
        changed(tags.as_ref(), "tags"),
        is_public.map(|is_public| (if is_public { "public" } else { "not public" }).to_owned()),
    ])
}

/// Never a hash, and nothing of a password but that it was set.
fn detail_of_user(patch: &UserPatch) -> Option<String> {
    let UserPatch { username, password_hash, first_name, last_name, email, is_staff, is_active } =
        patch;
    let flag = |flag: Option<bool>, yes: &str, no: &str| {
        flag.map(|flag| (if flag { yes } else { no }).to_owned())
    };
    joined([
        changed(username.as_ref(), "username"),
        changed(password_hash.as_ref(), "password"),
        changed(first_name.as_ref(), "first name"),
        changed(last_name.as_ref(), "last name"),
        changed(email.as_ref(), "email"),
        flag(*is_staff, "administrator", "no administrator"),
        flag(*is_active, "active", "not active"),
    ])
}

fn detail_of_record(change: &CatalogueChange) -> Option<String> {
    match change {
        CatalogueChange::CreateUser { user, .. } => {
            (user.is_superuser || user.is_staff).then(|| "administrator".to_owned())
        }
        CatalogueChange::SetPassword { .. } => Some("password".to_owned()),
        CatalogueChange::UpdateUser { patch, .. } => detail_of_user(patch),
        CatalogueChange::AddMember { permissions, .. }
        | CatalogueChange::UpdateMember { permissions, .. } => Some(level(*permissions).to_owned()),
        CatalogueChange::SetQuota { quota, .. } => Some(detail_of_quota(*quota)),
        CatalogueChange::CreateAccessToken { token, .. } => {
            Some(format!("{} for user {}", level(token.level), token.user))
        }
        CatalogueChange::UpdateProject { patch, .. } => joined([
            changed(patch.name.as_ref(), "name"),
            patch.team.map(|team| format!("team {team}")),
        ]),
        CatalogueChange::UpdateTeam { patch, .. } => changed(patch.name.as_ref(), "name"),
        CatalogueChange::UpdateLicence { patch, .. } => {
            joined([changed(patch.name.as_ref(), "name"), changed(patch.url.as_ref(), "url")])
        }
        CatalogueChange::EditSubdescriptors { kind, names, .. } => {
            Some(format!("{} of kind {kind}", names.len()))
        }
        CatalogueChange::CreateTeam { .. }
        | CatalogueChange::CreateProject { .. }
        | CatalogueChange::CreateLicence { .. }
        | CatalogueChange::CreateNode { .. }
        | CatalogueChange::Touch { .. }
        | CatalogueChange::DestroyTeam { .. }
        | CatalogueChange::ReinstateTeam { .. }
        | CatalogueChange::HardDeleteTeam { .. }
        | CatalogueChange::RemoveMember { .. }
        | CatalogueChange::DestroyProject { .. }
        | CatalogueChange::ReinstateProject { .. }
        | CatalogueChange::HardDeleteProject { .. }
        | CatalogueChange::DeleteLicence { .. }
        | CatalogueChange::UpdateNode { .. }
        | CatalogueChange::DeleteNode { .. }
        | CatalogueChange::RevokeAccessToken { .. }
        | CatalogueChange::TouchAccessTokens { .. } => None,
    }
}

fn level(level: PermissionLevel) -> &'static str {
    match level {
        PermissionLevel::Read => "read",
        PermissionLevel::Write => "write",
        PermissionLevel::Execute => "execute",
        PermissionLevel::Admin => "admin",
    }
}

fn detail_of_quota(quota: Quota) -> String {
    let bound = |bound: Option<u64>, what: &str| match bound {
        Some(bound) => format!("{bound} {what}"),
        None => format!("any number of {what}"),
    };
    format!("{}, {}", bound(quota.bytes, "bytes"), bound(quota.files, "files"))
}
