//! The bytes of every kind of value, as they were when the kind was first written.
//!
//! Stores of users hold these bytes. A line that fails says that a change of a type changed the
//! format: give the value a new version instead, and keep the reader of the old one.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{decode, encode};
use crate::backup::StateHeader;
use crate::index::rows::{AppliedRow, BlobRow, FileRow, LayerRow, NamedBlob, SetRow};
use crate::journal::Position;
use crate::model::audit::{AuditRow, Note};
use crate::model::change::{
    BlobPlace, CatalogueChange, Change, CopyTarget, FileMetadata, HiddenFile, LargeFileId,
    MergePlan, NewFile, Relocation, SegmentId, SetPurpose, SourceAfterMerge,
};
use crate::model::dataset::StackEntry;
use crate::model::{
    AccessToken, AccessTokenId, Dataset, DatasetId, DatasetPatch, Digest, FileCondition,
    FileRecord, Filename, LayerId, Licence, LicenceId, LicencePatch, Membership, NewAccessToken,
    NewDataset, NewLicence, NewNode, NewProject, NewTeam, NewUser, Node, NodeId, NodePatch, Origin,
    PermissionLevel, Project, ProjectId, ProjectPatch, Quota, Sequence, SetId, SubdescriptorEdit,
    SubdescriptorId, SubdescriptorKind, SubdescriptorRef, Subject, SubjectKind, Tags, Team, TeamId,
    TeamPatch, Timestamp, Usage, User, UserId, UserPatch,
};
use crate::noted::NotedChange;
use crate::quarantine::{Fault, QuarantineRow};
use crate::resumable::{ResumableTerms, WholeDigest};
use crate::scrub::{ScrubPass, ScrubRow};

const GOLDEN: &str = include_str!("golden.txt");

/// Compares values with their lines.
struct Book {
    lines: BTreeMap<&'static str, &'static str>,
    seen: Vec<String>,
    differing: Vec<String>,
}

impl Book {
    fn open() -> Self {
        let lines = GOLDEN.lines().filter_map(|line| line.split_once(' ')).collect();
        Self { lines, seen: Vec::new(), differing: Vec::new() }
    }

    fn holds<T>(&mut self, kind: &str, value: &T)
    where
        T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let bytes = encode(value).unwrap();
        let hex = bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        if self.lines.get(kind) != Some(&hex.as_str()) {
            self.differing.push(format!("{kind} {hex}"));
        }
        assert_eq!(&decode::<T>(&bytes).unwrap(), value, "{kind} reads back");
        self.seen.push(kind.to_owned());
    }

    /// As [`Book::holds`], of a kind that has versions of its own and was read back already.
    fn holds_bytes(&mut self, kind: &str, bytes: &[u8]) {
        let hex = bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        if self.lines.get(kind) != Some(&hex.as_str()) {
            self.differing.push(format!("{kind} {hex}"));
        }
        self.seen.push(kind.to_owned());
    }

    fn close(self) {
        let differing = self.differing.join("\n");
        assert!(differing.is_empty(), "the format of these changed:\n{differing}");
        for kind in self.lines.keys() {
            assert!(self.seen.iter().any(|seen| seen == kind), "nobody shows {kind}");
        }
    }
}

const AT: Timestamp = Timestamp(1_795_000_000_123_456);

fn text(text: &str) -> String {
    text.to_owned()
}

fn digest() -> Digest {
    Digest(std::array::from_fn(|at| u8::try_from(at).unwrap()))
}

fn record() -> FileRecord {
    FileRecord {
        digest: digest(),
        length: 20_480,
        crc32: 0xdead_beef,
        creation_time: AT,
        compressible: true,
    }
}

fn files() -> Vec<NewFile> {
    let filename = Filename::exact("d/é.png").unwrap();
    vec![NewFile { filename, record: record(), metadata: text("{}") }]
}

fn copy() -> CopyTarget {
    CopyTarget { new_name: Some(text("copy")), creator: Some(UserId(3)), at: AT }
}

fn merge() -> MergePlan {
    MergePlan {
        target: DatasetId(1),
        target_revision: 5,
        source: DatasetId(2),
        source_revision: 300,
        after: SourceAfterMerge::Destroy,
        at: AT,
    }
}

const IN_SEGMENT: BlobPlace = BlobPlace::Segment { segment: SegmentId(7), offset: 70_000 };
const IN_FILE: BlobPlace = BlobPlace::Large(LargeFileId { start: 4, number: 9 });

#[test]
fn changes_keep_their_bytes() {
    let mut book = Book::open();
    let dataset = DatasetId(1);
    let filename = Filename::exact("a").unwrap();
    show_file_changes(&mut book, dataset, &filename);
    let new = NewDataset {
        name: text("n"),
        description: text("d"),
        project: ProjectId(2),
        licence: LicenceId(3),
        tags: text("t"),
        is_public: true,
        creator: None,
    };
    book.holds("create_dataset", &Change::CreateDataset { dataset: new, at: AT });
    let patch = DatasetPatch { tags: Some(text("t")), ..DatasetPatch::default() };
    book.holds("update_dataset", &Change::UpdateDataset { dataset, patch });
    book.holds("destroy_dataset", &Change::DestroyDataset { dataset, at: AT });
    book.holds("reinstate_dataset", &Change::ReinstateDataset { dataset });
    book.holds("hard_delete_dataset", &Change::HardDeleteDataset { dataset });
    book.holds("copy_dataset", &Change::CopyDataset { source: dataset, copy: copy() });
    let (source, source_revision) = (dataset, 9);
    let partial = Change::CopyFiles { source, source_revision, copy: copy(), files: files() };
    book.holds("copy_files", &partial);
    let after = SourceAfterMerge::HardDelete;
    let shared = Change::MergeShared { target: dataset, source: DatasetId(2), after, at: AT };
    book.holds("merge_shared", &shared);
    book.holds("merge_files", &Change::MergeFiles { merge: merge(), files: files() });
    book.holds("merge_layers", &Change::MergeLayers { merge: merge(), files: 7 });
    show_sets(&mut book);
    show_bulk_changes(&mut book);
    show_catalogue_changes(&mut book);
    show_rows(&mut book);
    show_terms(&mut book);
    show_records(&mut book);
    show_audit(&mut book);
    book.close();
}

fn show_file_changes(book: &mut Book, dataset: DatasetId, filename: &Filename) {
    let filename = || filename.clone();
    book.holds("add_files", &Change::AddFiles { dataset, files: files() });
    let delete = Change::DeleteFile { dataset, filename: filename(), expects: digest() };
    book.holds("delete_file", &delete);
    let metadata = text("m");
    let expects = digest();
    let set = Change::SetMetadata { dataset, filename: filename(), expects, metadata };
    book.holds("set_metadata", &set);
    let tags = Tags::These(vec![digest()]);
    let condition = FileCondition { matches: Some(tags), matches_none: Some(Tags::Any) };
    let (filename, metadata) = (filename(), text("m"));
    let set_if = Change::SetMetadataIf { dataset, filename, expects, condition, metadata };
    book.holds("set_metadata_if", &set_if);
    let file = files().remove(0);
    book.holds("replace_file", &Change::ReplaceFile { dataset, expects, file });
    book.holds("clear_dataset", &Change::ClearDataset { dataset });
    let moves = vec![Relocation { digest: digest(), from: IN_SEGMENT }];
    book.holds("relocate", &Change::Relocate { moves });
}

fn show_audit(book: &mut Book) {
    let origin = Origin {
        user: Some((UserId(2), text("ann"))),
        access_token: Some(AccessTokenId(3)),
        node: Some(NodeId(4)),
        action: text("files_add_file"),
        address: Some(std::net::Ipv6Addr::LOCALHOST.into()),
        request: text("r"),
        status: 201,
    };
    let subject = Subject {
        team: Some(TeamId(1)),
        project: Some(ProjectId(2)),
        dataset: Some(DatasetId(300)),
        filename: Some(text("a")),
        files: Some(5),
        record: Some((SubjectKind::AccessToken, 6)),
        name: Some(text("n")),
        detail: Some(text("d")),
    };
    let witness = Change::Witness { subject: subject.clone() };
    book.holds("witness", &witness);
    let nobody = Origin { user: None, access_token: None, node: None, ..origin.clone() };
    let nobody = Origin { address: Some([192, 0, 2, 1].into()), ..nobody };
    book.holds(
        "audit_row_nobody",
        &AuditRow { at: AT, origin: nobody, subject: Subject::default() },
    );
    book.holds("audit_row", &AuditRow { at: AT, origin: origin.clone(), subject });
    let note = Note { at: AT, origin };
    let bytes = NotedChange::encode(&witness, Some(&note)).unwrap();
    let noted = NotedChange { change: witness.clone(), note: Some(note) };
    assert_eq!(NotedChange::decode(&bytes).unwrap(), noted);
    book.holds_bytes("noted_change", &bytes);
    let alone = NotedChange::encode(&witness, None).unwrap();
    assert_eq!(alone, encode(&witness).unwrap(), "as before there were notes");
    assert_eq!(NotedChange::decode(&alone).unwrap().note, None);
}

fn show_sets(book: &mut Book) {
    let set = SetId(8);
    book.holds("stage_files", &Change::StageFiles { set, files: files() });
    let purposes = [
        ("commit_set_add", SetPurpose::AddFiles { dataset: DatasetId(1), revision: 4 }),
        ("commit_set_merge", SetPurpose::Merge(merge())),
        (
            "commit_set_copy",
            SetPurpose::Copy { source: DatasetId(1), source_revision: 9, copy: copy() },
        ),
    ];
    for (kind, purpose) in purposes {
        book.holds(kind, &Change::CommitSet { set, files: 1, purpose });
    }
    book.holds("abort_set", &Change::AbortSet { set });
}

fn show_bulk_changes(book: &mut Book) {
    let (dataset, revision, set) = (DatasetId(1), 300, SetId(8));
    let filename = |name| Filename::exact(name).unwrap();
    let filenames = vec![filename("a"), filename("d/é.png")];
    book.holds("delete_files", &Change::DeleteFiles { dataset, revision, filenames });
    let entries = || vec![FileMetadata { filename: filename("a"), metadata: text("m") }];
    let described = Change::SetManyMetadata { dataset, revision, entries: entries() };
    book.holds("set_many_metadata", &described);
    let (from, to, expects) = (filename("a"), filename("d/b"), digest());
    book.holds("rename_file", &Change::RenameFile { dataset, from, to, expects });
    book.holds("purge_dataset", &Change::PurgeDataset { dataset, deleted_at: AT });
    let files = vec![HiddenFile { filename: filename("a"), length: 20_480 }];
    book.holds("stage_deletions", &Change::StageDeletions { set, files });
    book.holds("stage_metadata", &Change::StageMetadata { set, entries: entries() });
    for (kind, purpose) in [
        ("commit_set_delete", SetPurpose::DeleteFiles { dataset, revision }),
        ("commit_set_metadata", SetPurpose::SetMetadata { dataset, revision }),
        (
            "commit_set_merge_layers",
            SetPurpose::MergeLayers { merge: merge(), brought: Usage { files: 3, bytes: 1 << 40 } },
        ),
    ] {
        book.holds(kind, &Change::CommitSet { set, files: 1, purpose });
    }
}

fn show_catalogue_changes(book: &mut Book) {
    let mut holds = |kind: &str, change| book.holds(kind, &Change::Catalogue(change));
    let user = NewUser {
        username: text("u"),
        password_hash: text("h"),
        first_name: text("f"),
        last_name: text("l"),
        email: text("e"),
        is_superuser: false,
        is_staff: true,
        is_active: true,
    };
    holds("create_user", CatalogueChange::CreateUser { user, at: AT });
    let password_hash = text("h");
    holds("set_password", CatalogueChange::SetPassword { user: UserId(1), password_hash });
    let team = NewTeam { name: text("t"), creator: Some(UserId(1)) };
    holds("create_team", CatalogueChange::CreateTeam { team, at: AT });
    let add_member = CatalogueChange::AddMember {
        team: TeamId(1),
        user: UserId(2),
        permissions: PermissionLevel::Execute,
        creator: None,
        at: AT,
    };
    holds("add_member", add_member);
    let project = NewProject { name: text("p"), team: TeamId(1), creator: None };
    holds("create_project", CatalogueChange::CreateProject { project, at: AT });
    let licence = NewLicence {
        name: text("l"),
        url: text("u"),
        permissions: vec![text("p")],
        conditions: vec![text("c")],
        limitations: vec![text("l")],
        domains: vec![text("d")],
    };
    holds("create_licence", CatalogueChange::CreateLicence { licence });
    let node = NewNode {
        ip: text("127.0.0.1"),
        index: -1,
        driver_version: Some(text("v")),
        hardware_generation: Some(2),
        gpu_mem: None,
        cpu_mem: 16,
        current_job: None,
    };
    holds("create_node", CatalogueChange::CreateNode { node });
    let (logins, nodes) = (vec![(UserId(1), AT)], vec![(NodeId(2), AT)]);
    holds("touch", CatalogueChange::Touch { logins, nodes });
    show_changes_of_tokens(&mut holds);
    show_changes_of_people(&mut holds);
    show_changes_of_things(&mut holds);
}

fn show_changes_of_tokens(holds: &mut impl FnMut(&str, CatalogueChange)) {
    let token = NewAccessToken {
        name: text("t"),
        user: UserId(1),
        team: TeamId(2),
        level: PermissionLevel::Write,
        secret_hash: digest().0,
        expiry_time: Some(AT),
    };
    holds("create_access_token", CatalogueChange::CreateAccessToken { token, at: AT });
    let token = AccessTokenId(3);
    holds("revoke_access_token", CatalogueChange::RevokeAccessToken { token });
    let uses = vec![(token, AT)];
    holds("touch_access_tokens", CatalogueChange::TouchAccessTokens { uses });
    let quota = Quota { files: None, bytes: Some(1 << 40) };
    holds("set_quota", CatalogueChange::SetQuota { team: TeamId(2), quota });
}

fn show_changes_of_people(holds: &mut impl FnMut(&str, CatalogueChange)) {
    let (user, team) = (UserId(1), TeamId(2));
    let patch = UserPatch {
        username: Some(text("u")),
        password_hash: Some(text("h")),
        is_active: Some(false),
        ..UserPatch::default()
    };
    holds("update_user", CatalogueChange::UpdateUser { user, patch });
    let patch = TeamPatch { name: Some(text("t")) };
    holds("update_team", CatalogueChange::UpdateTeam { team, patch });
    holds("destroy_team", CatalogueChange::DestroyTeam { team, at: AT });
    holds("reinstate_team", CatalogueChange::ReinstateTeam { team });
    holds("hard_delete_team", CatalogueChange::HardDeleteTeam { team });
    let permissions = PermissionLevel::Write;
    holds("update_member", CatalogueChange::UpdateMember { team, user, permissions });
    holds("remove_member", CatalogueChange::RemoveMember { team, user, at: AT });
}

fn show_changes_of_things(holds: &mut impl FnMut(&str, CatalogueChange)) {
    let (project, licence, node) = (ProjectId(3), LicenceId(4), NodeId(5));
    let patch = ProjectPatch { name: None, team: Some(TeamId(2)) };
    holds("update_project", CatalogueChange::UpdateProject { project, patch });
    holds("destroy_project", CatalogueChange::DestroyProject { project, at: AT });
    holds("reinstate_project", CatalogueChange::ReinstateProject { project });
    holds("hard_delete_project", CatalogueChange::HardDeleteProject { project });
    let patch = LicencePatch { name: Some(text("l")), url: None };
    holds("update_licence", CatalogueChange::UpdateLicence { licence, patch });
    let (kind, edit) = (SubdescriptorKind::Limitation, SubdescriptorEdit::Remove);
    let names = vec![SubdescriptorRef::Name(text("n")), SubdescriptorRef::Id(SubdescriptorId(6))];
    let edited = CatalogueChange::EditSubdescriptors { licence, kind, edit, names };
    holds("edit_subdescriptors", edited);
    holds("delete_licence", CatalogueChange::DeleteLicence { licence });
    let patch = NodePatch {
        index: Some(-1),
        driver_version: Some(None),
        gpu_mem: Some(Some(8)),
        ..NodePatch::default()
    };
    holds("update_node", CatalogueChange::UpdateNode { node, patch });
    holds("delete_node", CatalogueChange::DeleteNode { node });
}

fn show_rows(book: &mut Book) {
    book.holds("file_row", &FileRow::File(record()));
    book.holds("tombstone_row", &FileRow::Tombstone);
    book.holds("layer_row", &LayerRow { stacks: 2, rows: 1_000_000, metadata_rows: 3 });
    let (length, crc32, died) = (20_480, 0xdead_beef, Sequence(11));
    let blob = |place| BlobRow { place, length, crc32, count: 2, died };
    book.holds("blob_row_segment", &blob(IN_SEGMENT));
    book.holds("blob_row_large", &blob(IN_FILE));
    let mut named = NamedBlob { row: blob(IN_SEGMENT), namings: Vec::new() };
    for (what, name) in [("blob_row_named", "d/x"), ("blob_row_named_twice", "y")] {
        assert!(named.enter(LayerId(300), name));
        let bytes = named.encode().unwrap();
        assert_eq!(NamedBlob::decode(&bytes).unwrap(), named);
        assert_eq!(BlobRow::decode(&bytes).unwrap(), named.row);
        book.holds_bytes(what, &bytes);
    }
    book.holds("set_row", &SetRow { layer: LayerId(4), files: 5, bytes: 6 });
    let position = Position { segment: SegmentId(7), generation: u64::MAX, offset: 8192 };
    let mark = |place, fault| QuarantineRow { place, fault, since: AT };
    book.holds("quarantine_row_wrong", &mark(IN_SEGMENT, Fault::WrongBytes));
    book.holds("quarantine_row_short", &mark(IN_FILE, Fault::EndsEarly));
    book.holds("quarantine_row_missing", &mark(IN_FILE, Fault::Missing));
    book.holds("quarantine_row_unreadable", &mark(IN_FILE, Fault::Unreadable));
    let pass = |finished| ScrubPass { started: AT, finished, contents: 300, bytes: 7, damaged: 1 };
    let (running, last) = ((pass(None), [9; 32]), pass(Some(AT)));
    book.holds("scrub_row_running", &ScrubRow { pass: Some(running), last: Some(last) });
    book.holds("scrub_row_new", &ScrubRow::default());
    let token = AccessToken {
        id: AccessTokenId(1),
        name: text("t"),
        user: UserId(2),
        team: TeamId(3),
        level: PermissionLevel::Execute,
        secret_hash: digest().0,
        creation_time: AT,
        expiry_time: Some(AT),
        last_use: Some(AT),
    };
    book.holds("access_token", &token);
    book.holds("usage", &Usage { files: 3, bytes: 1 << 40 });
    book.holds("quota", &Quota { files: Some(1), bytes: None });
    book.holds("applied_row", &AppliedRow { position, sequence: Sequence(12), start: 3 });
    let state = StateHeader::V1 {
        store_format: 1,
        key: digest().0,
        start: 7,
        sequence: Sequence(300),
        taken: AT,
    };
    book.holds("backup_state", &state);
    let dataset = Dataset {
        id: DatasetId(1),
        name: text("n"),
        description: text("d").into(),
        version: 2,
        previous_version: Some(1),
        project: ProjectId(2),
        licence: LicenceId(3),
        tags: text("t").into(),
        is_public: false,
        creator: Some(UserId(4)),
        creation_time: AT,
        deletion_time: Some(AT),
        file_count: 10,
        file_bytes: 1 << 40,
        revision: 77,
        stack: vec![StackEntry { layer: LayerId(9), metadata_void: true }],
    };
    book.holds("dataset_row", &dataset);
}

/// Kept in a file of its own for as long as the upload goes on.
fn show_terms(book: &mut Book) {
    let terms = ResumableTerms {
        owner: UserId(3),
        dataset: DatasetId(300),
        filename: text("d/é"),
        length: 1 << 40,
        replaces: true,
        condition: FileCondition {
            matches: Some(Tags::These(vec![digest()])),
            matches_none: Some(Tags::Any),
        },
        digests: vec![WholeDigest::Blake3(digest()), WholeDigest::Sha256([9; 32])],
        metadata: text("filename ZA=="),
    };
    book.holds("resumable_terms", &terms);
}

fn show_records(book: &mut Book) {
    let user = User {
        id: UserId(1),
        username: text("u"),
        password_hash: text("h"),
        first_name: text("f"),
        last_name: text("l"),
        email: text("e"),
        is_superuser: true,
        is_staff: false,
        is_active: true,
        date_joined: AT,
        last_login: Some(AT),
    };
    book.holds("user_row", &user);
    let (creation_time, deletion_time) = (AT, None);
    let name = || text("n");
    let creator = Some(UserId(1));
    book.holds(
        "team_row",
        &Team { id: TeamId(1), name: name(), creator, creation_time, deletion_time },
    );
    let (team, user, permissions) = (TeamId(1), UserId(2), PermissionLevel::Admin);
    let membership =
        Membership { team, user, permissions, creator, creation_time, deletion_time: Some(AT) };
    book.holds("membership_row", &membership);
    let id = ProjectId(1);
    book.holds(
        "project_row",
        &Project { id, name: name(), team, creator, creation_time, deletion_time },
    );
    let list = || vec![text("x")];
    let licence = Licence {
        id: LicenceId(1),
        name: name(),
        url: text("u"),
        permissions: list(),
        conditions: list(),
        limitations: list(),
        domains: list(),
    };
    book.holds("licence_row", &licence);
    let node = Node {
        id: NodeId(1),
        ip: text("::1"),
        index: 0,
        driver_version: None,
        hardware_generation: None,
        gpu_mem: Some(8),
        cpu_mem: 16,
        last_seen: Some(AT),
        current_job: Some(3),
    };
    book.holds("node_row", &node);
}
