//! What an audit log must tell of the changes that were asked for.

use std::collections::BTreeMap;

use granary_engine::model::{AuditEntry, Origin, UserId};
use granary_engine::{AuditPage, AuditRange, Engine};

/// The origin of the operation at this place of this step of a workload.
pub fn origin(step: u64, place: u64) -> Origin {
    Origin {
        user: Some((UserId(7), "ann".into())),
        access_token: None,
        node: None,
        action: "test".into(),
        address: Some([192, 0, 2, 1].into()),
        request: format!("{step}/{place}"),
        status: 200,
    }
}

/// What a log must tell: how many entries of each request, at least and at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told(BTreeMap<String, (u64, u64)>);

impl Told {
    /// So many entries of a request.
    pub fn maybe(&mut self, step: u64, place: u64, least: u64, most: u64) {
        self.0.insert(origin(step, place).request, (least, most));
    }

    /// The log is empty.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// Whether the log of an engine tells this: numbered without a gap, so the last number counts
    /// all that ever were, and of each request no more than there were.
    pub fn agrees(&self, engine: &Engine) -> bool {
        let log = log(engine);
        let numbers: Vec<u64> = log.iter().map(|entry| entry.sequence).collect();
        let last = numbers.last().copied().unwrap_or_default();
        let first = last + 1 - numbers.len() as u64;
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in &log {
            *counts.entry(&entry.origin.request).or_default() += 1;
        }
        let sum = |bound: fn(&(u64, u64)) -> u64| self.0.values().map(bound).sum::<u64>();
        let most = |request: &str| self.0.get(request).map_or(0, |(_, most)| *most);
        numbers == (first..=last).collect::<Vec<_>>()
            && (sum(|(least, _)| *least)..=sum(|(_, most)| *most)).contains(&last)
            && counts.iter().all(|(request, count)| *count <= most(request))
    }
}

/// The whole log, oldest first.
pub fn log(engine: &Engine) -> Vec<AuditEntry> {
    page(engine, None, false, usize::MAX).entries
}

pub fn page(engine: &Engine, after: Option<u64>, newest_first: bool, limit: usize) -> AuditPage {
    let range = AuditRange { after, newest_first, limit };
    engine.snapshot().unwrap().audit(range, |_| true).unwrap()
}
