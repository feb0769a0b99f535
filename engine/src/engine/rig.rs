//! What tests of the engine begin with.

use super::Engine;
use crate::model::{DatasetId, NewDataset, NewLicence, NewProject, NewTeam};

/// Makes a dataset, and what it belongs to.
pub(crate) async fn dataset(engine: &Engine) -> DatasetId {
    let licence = NewLicence {
        name: "CC0".into(),
        url: "https://example.org/".into(),
        permissions: vec![],
        conditions: vec![],
        limitations: vec![],
        domains: vec![],
    };
    let licence = engine.create_licence(licence).await.unwrap().id;
    let team = engine.create_team(NewTeam { name: "team".into(), creator: None }).await.unwrap();
    let project = NewProject { name: "project".into(), team: team.id, creator: None };
    let project = engine.create_project(project).await.unwrap().id;
    let dataset = NewDataset {
        name: "cats".into(),
        description: String::new(),
        project,
        licence,
        tags: String::new(),
        is_public: false,
        creator: None,
    };
    engine.create_dataset(dataset).await.unwrap().id
}
