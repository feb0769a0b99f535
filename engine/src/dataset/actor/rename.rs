//! The one change that leaves something of two names.

use actix::{ActorResponse, Handler};

use super::{DatasetActor, PlannedFileChange, opened};
use crate::dataset::message::{Envelope, Planned, RenameFile};
use crate::dataset::overlay::Left;
use crate::dataset::plan::{NoPlan, PlannedRename, plan_rename_file};
use crate::in_flight::Slot;
use crate::model::StoredFile;
use crate::model::change::Change;

impl Handler<Envelope<RenameFile>> for DatasetActor {
    type Result = ActorResponse<Self, Planned<StoredFile>>;

    fn handle(&mut self, envelope: Envelope<RenameFile>, ctx: &mut Self::Context) -> Self::Result {
        let (RenameFile { from, to }, slot) = match opened(&envelope) {
            Ok(opened) => opened,
            Err(refusal) => return ActorResponse::reply(Err(refusal)),
        };
        match self.plan(|view| plan_rename_file(view, &from, to.clone())) {
            Ok(planned) => ActorResponse::reply(self.submit_renamed(planned, slot)),
            Err(NoPlan::Refused(refusal)) => ActorResponse::reply(Err(refusal)),
            Err(NoPlan::TooLong) => self.plan_standing_still(
                ctx,
                move |view| plan_rename_file(view, &from, to),
                |actor, planned| actor.submit_renamed(planned, slot),
            ),
        }
    }
}

impl DatasetActor {
    fn submit_renamed(&mut self, planned: PlannedRename, slot: Slot) -> Planned<StoredFile> {
        let PlannedRename { from, to, expects } = planned;
        let left = vec![(from.clone(), Left::Absent), (to.clone(), Left::File(expects))];
        let file = StoredFile { filename: to.clone(), digest: expects };
        let change = Change::RenameFile { dataset: self.parts.dataset, from, to, expects };
        let ticket = self
            .submit_file_change(PlannedFileChange { left, change, contents: Vec::new() }, slot)?;
        Ok((file, ticket))
    }
}
