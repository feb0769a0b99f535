//! The one change that leaves something of two names.

use actix::{ActorResponse, Handler};

use super::{DatasetActor, opened};
use crate::dataset::message::{Envelope, Planned, RenameFile};
use crate::dataset::plan::{NoPlan, plan_rename_file};
use crate::model::StoredFile;

impl Handler<Envelope<RenameFile>> for DatasetActor {
    type Result = ActorResponse<Self, Planned<StoredFile>>;

    fn handle(&mut self, envelope: Envelope<RenameFile>, ctx: &mut Self::Context) -> Self::Result {
        let (RenameFile { from, to }, slot) = match opened(&envelope) {
            Ok(opened) => opened,
            Err(refusal) => return ActorResponse::reply(Err(refusal)),
        };
        self.used = true;
        match self.planner.plan(|view| plan_rename_file(view, &from, to.clone())) {
            Ok(planned) => ActorResponse::reply(self.planner.submit_renamed(planned, slot)),
            Err(NoPlan::Refused(refusal)) => ActorResponse::reply(Err(refusal)),
            Err(NoPlan::TooLong) => self.plan_standing_still(
                ctx,
                move |view| plan_rename_file(view, &from, to),
                |planner, planned| planner.submit_renamed(planned, slot),
            ),
        }
    }
}
