//! Licences and what they say.

use redb::ReadableTable;

use super::super::{Applied, Group, Stop};
use super::taken;
use crate::error::{MutationError, RecordKind, UniqueRule};
use crate::index::{holdings, subdescriptors, tables};
use crate::limits::SUBDESCRIPTORS_MAX;
use crate::model::{
    Licence, LicenceId, LicencePatch, NewLicence, SubdescriptorEdit, SubdescriptorKind,
    SubdescriptorRef,
};

impl Group<'_> {
    fn licence(&self, id: LicenceId) -> Result<Licence, Stop> {
        self.expect_record(tables::LICENCES, RecordKind::Licence, id.0)
    }

    fn put_licence(&mut self, licence: Licence) -> Result<Applied, Stop> {
        self.put_record(tables::LICENCES, licence.id.0, &licence)?;
        Ok(Applied::Licence(Box::new(licence)))
    }

    pub(super) fn create_licence(&mut self, new: &NewLicence) -> Result<Applied, Stop> {
        let mut names = self.txn.open_table(tables::LICENCE_NAMES)?;
        if names.get(new.name.as_str())?.is_some() {
            return Err(taken(UniqueRule::LicenceName));
        }
        let id = LicenceId(self.next_number("licence")?);
        names.insert(new.name.as_str(), id.0)?;
        let NewLicence { name, url, permissions, conditions, limitations, domains } = new.clone();
        let licence = Licence { id, name, url, permissions, conditions, limitations, domains };
        subdescriptors::register_all(self.txn, &licence)?;
        self.put_licence(licence)
    }

    pub(super) fn update_licence(
        &mut self,
        id: LicenceId,
        patch: &LicencePatch,
    ) -> Result<Applied, Stop> {
        let mut licence = self.licence(id)?;
        let LicencePatch { name, url } = patch.clone();
        if let Some(name) = name.filter(|name| *name != licence.name) {
            let mut names = self.txn.open_table(tables::LICENCE_NAMES)?;
            if names.get(name.as_str())?.is_some() {
                return Err(taken(UniqueRule::LicenceName));
            }
            names.remove(licence.name.as_str())?;
            names.insert(name.as_str(), id.0)?;
            licence.name = name;
        }
        licence.url = url.unwrap_or(licence.url);
        self.put_licence(licence)
    }

    pub(super) fn edit_subdescriptors(
        &mut self,
        id: LicenceId,
        kind: SubdescriptorKind,
        edit: SubdescriptorEdit,
        wanted: &[SubdescriptorRef],
    ) -> Result<Applied, Stop> {
        let mut licence = self.licence(id)?;
        let names = self.subdescriptor_names(kind, wanted)?;
        let list = licence.subdescriptors_mut(kind);
        match edit {
            SubdescriptorEdit::Add => {
                for name in &names {
                    if !list.contains(name) {
                        list.push(name.clone());
                    }
                }
                if list.len() > SUBDESCRIPTORS_MAX {
                    let (what, limit) = ("subdescriptors of a licence", SUBDESCRIPTORS_MAX);
                    return Err(MutationError::TooMany { what, limit }.into());
                }
                subdescriptors::register(self.txn, kind, &names)?;
            }
            SubdescriptorEdit::Remove => list.retain(|name| !names.contains(name)),
        }
        self.put_licence(licence)
    }

    /// The names of what is named by name or number; a number must name something.
    fn subdescriptor_names(
        &self,
        kind: SubdescriptorKind,
        wanted: &[SubdescriptorRef],
    ) -> Result<Vec<String>, Stop> {
        let mut names = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            names.push(match wanted {
                SubdescriptorRef::Name(name) => name.clone(),
                SubdescriptorRef::Id(id) => subdescriptors::name_of(self.txn, kind, *id)?
                    .ok_or(MutationError::SubdescriptorNotFound { kind, id: *id })?,
            });
        }
        Ok(names)
    }

    pub(super) fn delete_licence(&mut self, id: LicenceId) -> Result<Applied, Stop> {
        let licence = self.licence(id)?;
        if let Some(first) = holdings::first_of(self.txn, tables::LICENCE_DATASETS, id.0)? {
            let (record, inside) = (RecordKind::Licence, RecordKind::Dataset);
            return Err(MutationError::NotEmpty { record, id: id.0, inside, first }.into());
        }
        self.txn.open_table(tables::LICENCE_NAMES)?.remove(licence.name.as_str())?;
        self.remove_record(tables::LICENCES, id.0)?;
        Ok(Applied::Licence(Box::new(licence)))
    }
}
