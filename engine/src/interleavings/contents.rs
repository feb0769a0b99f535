//! Contents that die while others name them, move or are read: pins, leases, reclamation,
//! checkpoints and compaction around one index.

use std::sync::Arc;
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread;

use super::explore;
use super::rig::{Rig, SET, new_file, prepare, read_content};
use crate::committer::{Reply, Submission};
use crate::compaction::{Compactor, Thrift};
use crate::model::change::Change;
use crate::model::{Digest, SetId};

/// I2 and I3: a content that clients remove and bring again, each at its own pace.
#[test]
fn a_content_that_is_named_again_while_it_dies_is_there() {
    prepare();
    explore(|| {
        let rig = Rig::new();
        let bytes = b"the content";
        let clients = [["a", "b", "c"], ["d", "e", "f"]].map(|names| {
            let rig = rig.share();
            thread::spawn(move || {
                for name in names {
                    rig.add(name, bytes).unwrap();
                    assert_eq!(rig.read(name).unwrap(), bytes);
                    rig.delete(name, bytes).unwrap();
                }
            })
        });
        rig.committer.checkpoint_blocking().unwrap();
        for client in clients {
            client.join().unwrap();
        }
        rig.add("last", bytes).unwrap();
        rig.committer.checkpoint_blocking().unwrap();
        assert_eq!(rig.read("last").unwrap(), bytes);
        assert_eq!(rig.names_after_power_cut(), ["last"]);
        rig.close();
    });
}

/// A lease keeps the contents of the state that was copied under it.
#[test]
fn what_a_lease_shows_stays_readable() {
    prepare();
    explore(|| {
        let rig = Rig::new();
        for name in ["a", "b"] {
            rig.add(name, name.as_bytes()).unwrap();
        }
        let deleting = rig.share();
        let deleting = thread::spawn(move || {
            for name in ["a", "b"] {
                deleting.delete(name, name.as_bytes()).unwrap();
                deleting.committer.checkpoint_blocking().unwrap();
            }
        });
        let (digests, lease) = {
            let (snapshot, lease) = rig.store.leased_snapshot().unwrap();
            let header = snapshot.dataset(SET).unwrap().unwrap();
            let files = snapshot.files(&header).unwrap();
            (files.map(|file| file.unwrap().1.digest).collect::<Vec<Digest>>(), lease)
        };
        for digest in &digests {
            assert_eq!(Digest::of(&read_content(&rig.store, digest)), *digest);
        }
        deleting.join().unwrap();
        for digest in &digests {
            assert_eq!(Digest::of(&read_content(&rig.store, digest)), *digest);
        }
        drop(lease);
        rig.close();
    });
}

/// What a merge or a copy names in parts, while the file that it found it by is deleted and it gives up:
/// its last parts are applied behind that, when nobody waits for them any more.
#[test]
fn what_a_part_names_is_there_until_it_is_applied() {
    prepare();
    explore(|| {
        let rig = Rig::new();
        let bytes = b"the content";
        let content = rig.content(bytes);
        let file = new_file("a", &content);
        block_on(rig.submit_file("a", content).unwrap().redeem()).unwrap();
        let (_, lease) = rig.store.leased_rows(Duration::from_hours(1)).unwrap();
        let deleting = rig.share();
        let deleting = thread::spawn(move || {
            deleting.delete("a", bytes).unwrap();
            deleting.committer.step_blocking().unwrap();
            deleting.committer.checkpoint_blocking().unwrap();
        });
        let set = SetId::of_upload(1, 1);
        let (reply, ticket) = Reply::new(None);
        let change = Change::StageFiles { set, files: vec![file] };
        let lease = Some(Arc::new(lease));
        let part = Submission { lease, ..Submission::of(change, reply) };
        rig.committer.submit(part).unwrap();
        drop(ticket);
        drop(rig.committer.give_up(set));
        deleting.join().unwrap();
        rig.add("last", b"of another content").unwrap();
        rig.close();
    });
}

/// A content that moves to another segment while it is read, deleted and named again.
#[test]
fn a_content_that_moves_is_never_missing() {
    prepare();
    explore(|| {
        let rig = Rig::new();
        let (kept, dead) = (vec![7; 2_000], vec![8; 50_000]);
        rig.add("kept", &kept).unwrap();
        rig.add("dead", &dead).unwrap();
        // The next one begins a segment, and most of the first is dead.
        rig.add("head", &vec![9; 30_000]).unwrap();
        rig.delete("dead", &dead).unwrap();
        rig.committer.checkpoint_blocking().unwrap();
        let (moving, again) = (rig.share(), rig.share());
        let moving = thread::spawn(move || {
            let (store, committer) = (moving.store.clone(), moving.committer.clone());
            Compactor::new(store, committer).compact(Thrift::Usual, &|| false, &|_| {}).unwrap();
            moving.committer.checkpoint_blocking().unwrap();
        });
        let bytes = kept.clone();
        let again = thread::spawn(move || {
            again.add("again", &bytes).unwrap();
            again.delete("kept", &bytes).unwrap();
            assert_eq!(again.read("again").unwrap(), bytes);
        });
        if let Some(found) = rig.read("kept") {
            assert_eq!(found, kept);
        }
        moving.join().unwrap();
        again.join().unwrap();
        rig.committer.checkpoint_blocking().unwrap();
        assert_eq!(rig.read("again").unwrap(), kept);
        rig.close();
    });
}
