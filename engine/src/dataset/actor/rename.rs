//! The one change that leaves something of two names.

use actix::{ActorResponse, Handler};

use super::{DatasetActor, opened};
use crate::dataset::committed::CommittedFiles;
use crate::dataset::message::{Envelope, Planned, RenameFile};
use crate::dataset::plan::{View, plan_rename_file};
use crate::model::StoredFile;

impl Handler<Envelope<RenameFile>> for DatasetActor {
    type Result = ActorResponse<Self, Planned<StoredFile>>;

    fn handle(&mut self, envelope: Envelope<RenameFile>, ctx: &mut Self::Context) -> Self::Result {
        let (RenameFile { from, to }, slot) = match opened(&envelope) {
            Ok(opened) => opened,
            Err(refusal) => return ActorResponse::reply(Err(refusal)),
        };
        self.used = true;
        let planned = self.planner.plan(|view| plan_rename_file(view, &from, &to));
        let rule = move |view: &View<'_, CommittedFiles<'_>>| plan_rename_file(view, &from, &to);
        self.submit_or_plan_again(ctx, planned, rule, |planner, planned| {
            planner.submit_renamed(planned, slot)
        })
    }
}
