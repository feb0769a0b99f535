//! Headers of datasets: making, changing, deleting.

use redb::ReadableTable;

use super::{Applied, Group, Stop};
use crate::codec;
use crate::error::{MutationError, UniqueRule};
use crate::index::{IndexError, holdings, tables};
use crate::model::dataset::StackEntry;
use crate::model::{
    Dataset, DatasetId, DatasetPatch, LicenceId, NewDataset, Project, ProjectId, Timestamp,
};

impl Group<'_> {
    pub(super) fn create_dataset(
        &mut self,
        new: &NewDataset,
        at: Timestamp,
    ) -> Result<Applied, Stop> {
        self.expect_active_project(new.project)?;
        self.expect_licence(new.licence)?;
        self.expect_name_free(new.project, &new.name, 1)?;
        let id = DatasetId(self.next_number("dataset")?);
        let top = StackEntry { layer: self.new_layer()?, metadata_void: false };
        let dataset = Dataset {
            id,
            name: new.name.clone(),
            description: new.description.as_str().into(),
            version: 1,
            previous_version: None,
            project: new.project,
            licence: new.licence,
            tags: new.tags.as_str().into(),
            is_public: new.is_public,
            creator: new.creator,
            creation_time: at,
            deletion_time: None,
            file_count: 0,
            file_bytes: 0,
            revision: 0,
            stack: vec![top],
        };
        self.enter_name(&dataset)?;
        holdings::enter_dataset(self.txn, &dataset)?;
        Ok(Applied::Dataset(Box::new(self.put_header(dataset))))
    }

    pub(super) fn update_dataset(
        &mut self,
        id: DatasetId,
        patch: &DatasetPatch,
    ) -> Result<Applied, Stop> {
        let before = self.header(id)?;
        let mut after = before.clone();
        let DatasetPatch { name, description, project, licence, tags, is_public } = patch.clone();
        after.name = name.unwrap_or(after.name);
        after.description = description.map_or(after.description, Into::into);
        after.project = project.unwrap_or(after.project);
        after.licence = licence.unwrap_or(after.licence);
        after.tags = tags.map_or(after.tags, Into::into);
        after.is_public = is_public.unwrap_or(after.is_public);
        if after.project != before.project {
            self.expect_active_project(after.project)?;
            self.expect_room_to_move(&before, after.project)?;
        }
        if after.licence != before.licence {
            self.expect_licence(after.licence)?;
        }
        let renamed = (&after.name, after.project) != (&before.name, before.project);
        if renamed && before.deletion_time.is_none() {
            self.expect_name_free(after.project, &after.name, after.version)?;
            self.leave_name(&before)?;
            self.enter_name(&after)?;
        }
        if (after.project, after.licence) != (before.project, before.licence) {
            holdings::leave_dataset(self.txn, &before)?;
            holdings::enter_dataset(self.txn, &after)?;
        }
        Ok(Applied::Dataset(Box::new(self.put_header(after))))
    }

    pub(super) fn destroy_dataset(
        &mut self,
        id: DatasetId,
        at: Timestamp,
    ) -> Result<Applied, Stop> {
        let header = self.header(id)?;
        Ok(Applied::Dataset(Box::new(self.soft_delete(header, at)?)))
    }

    /// Sets the deletion time; one that is soft-deleted already keeps its first.
    pub(super) fn soft_delete(
        &mut self,
        mut header: Dataset,
        at: Timestamp,
    ) -> Result<Dataset, IndexError> {
        if header.deletion_time.is_none() {
            self.leave_name(&header)?;
            header.deletion_time = Some(at);
            header = self.put_header(header);
        }
        Ok(header)
    }

    pub(super) fn reinstate_dataset(&mut self, id: DatasetId) -> Result<Applied, Stop> {
        let mut header = self.header(id)?;
        if header.deletion_time.is_some() {
            self.expect_name_free(header.project, &header.name, header.version)?;
            self.enter_name(&header)?;
            header.deletion_time = None;
            header = self.put_header(header);
        }
        Ok(Applied::Dataset(Box::new(header)))
    }

    pub(super) fn hard_delete_dataset(&mut self, id: DatasetId) -> Result<Applied, Stop> {
        let header = self.header(id)?;
        self.remove_dataset(&header)?;
        Ok(Applied::Dataset(Box::new(header)))
    }

    /// Soft-deletes all datasets of a project that are not; the names of those are all that is
    /// visited.
    pub(super) fn soft_delete_within(
        &mut self,
        project: ProjectId,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let mut within = Vec::new();
        let names = self.txn.open_table(tables::DATASET_NAMES)?;
        for row in names.range::<(u64, &str, u64)>((project.0, "", 0)..)? {
            let (key, id) = row?;
            if key.value().0 != project.0 {
                break;
            }
            within.push(DatasetId(id.value()));
        }
        drop(names);
        for id in within {
            let header = self.header(id)?;
            self.soft_delete(header, at)?;
            self.bound_headers()?;
        }
        Ok(())
    }

    /// Removes a dataset that is soft-deleted since this very time; one that was reinstated
    /// meanwhile, and perhaps deleted again, stays.
    pub(super) fn purge_dataset(
        &mut self,
        id: DatasetId,
        deleted_at: Timestamp,
    ) -> Result<Applied, Stop> {
        let header = self.header(id)?;
        if header.deletion_time != Some(deleted_at) {
            return Err(MutationError::Moved { dataset: id }.into());
        }
        self.remove_dataset(&header)?;
        Ok(Applied::Dataset(Box::new(header)))
    }

    /// Removes header and name, and lets go of the layers.
    pub(super) fn remove_dataset(&mut self, header: &Dataset) -> Result<(), IndexError> {
        if header.deletion_time.is_none() {
            self.leave_name(header)?;
        }
        holdings::leave_dataset(self.txn, header)?;
        for entry in &header.stack {
            self.release_layer(entry.layer)?;
        }
        self.remove_header(header.id);
        Ok(())
    }

    pub(super) fn expect_active_project(&self, project: ProjectId) -> Result<(), Stop> {
        let table = self.txn.open_table(tables::PROJECTS)?;
        let row = table.get(project.0)?;
        let row: Option<Project> = row.map(|row| codec::decode(row.value())).transpose()?;
        match row {
            Some(row) if row.deletion_time.is_none() => Ok(()),
            Some(_) | None => Err(MutationError::ProjectNotFound { project }.into()),
        }
    }

    fn expect_licence(&self, licence: LicenceId) -> Result<(), Stop> {
        let table = self.txn.open_table(tables::LICENCES)?;
        if table.get(licence.0)?.is_none() {
            return Err(MutationError::LicenceNotFound { licence }.into());
        }
        Ok(())
    }

    pub(super) fn expect_name_free(
        &self,
        project: ProjectId,
        name: &str,
        version: u64,
    ) -> Result<(), Stop> {
        let names = self.txn.open_table(tables::DATASET_NAMES)?;
        if names.get((project.0, name, version))?.is_some() {
            return Err(MutationError::Taken { rule: UniqueRule::DatasetName }.into());
        }
        Ok(())
    }

    /// The highest version of a name among the datasets that are not soft-deleted.
    pub(super) fn highest_version(
        &self,
        project: ProjectId,
        name: &str,
    ) -> Result<u64, IndexError> {
        let names = self.txn.open_table(tables::DATASET_NAMES)?;
        let mut versions =
            names.range::<(u64, &str, u64)>((project.0, name, 0)..=(project.0, name, u64::MAX))?;
        let last = versions.next_back().transpose()?;
        Ok(last.map_or(0, |(key, _)| key.value().2))
    }

    pub(super) fn enter_name(&mut self, header: &Dataset) -> Result<(), IndexError> {
        let mut names = self.txn.open_table(tables::DATASET_NAMES)?;
        names.insert((header.project.0, header.name.as_str(), header.version), header.id.0)?;
        Ok(())
    }

    fn leave_name(&mut self, header: &Dataset) -> Result<(), IndexError> {
        let mut names = self.txn.open_table(tables::DATASET_NAMES)?;
        names.remove((header.project.0, header.name.as_str(), header.version))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
