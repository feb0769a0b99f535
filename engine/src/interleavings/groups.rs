//! The way of a group: queue, journal thread, index thread, answers.

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::explore;
use super::rig::{Rig, SET, names_on, prepare};
use crate::disk::{At, Fault, Reached};
use crate::error::MutationError;
use crate::model::change::Change;
use crate::model::{Digest, Filename};

/// I1, in the order of the threads: durable, then visible, then answered.
#[test]
fn what_is_answered_is_durable_and_visible() {
    prepare();
    explore(|| {
        let rig = Rig::new();
        let clients: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|name| {
                let rig = rig.share();
                thread::spawn(move || {
                    rig.add(name, name.as_bytes()).unwrap();
                    assert_eq!(rig.read(name).unwrap(), name.as_bytes());
                    assert!(rig.names_after_power_cut().iter().any(|found| found == name));
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        rig.close();
    });
}

/// What a client was told, and of which file.
type Told = (&'static str, Result<(), MutationError>);

/// I1 and I7: whatever fails, and whenever the store is stopped, everyone is told something, and
/// what a success says is there when the machine starts again.
#[test]
fn everyone_is_answered_once_and_truly_whatever_fails() {
    prepare();
    explore(|| {
        let rig = Rig::new();
        let fault = [Fault::Io, Fault::Full, Fault::Short { bytes: 700 }];
        let fault = fault[thread_rng().gen_range(0..fault.len())];
        let at = rig.disk.operations() + thread_rng().gen_range(1..20);
        rig.disk.fail(At::Operation(at), fault);
        let clients: Vec<_> = [["a", "b"], ["c", "d"]]
            .into_iter()
            .map(|names| {
                let rig = rig.share();
                thread::spawn(move || told(&rig, names))
            })
            .collect();
        // What is decided when it is applied, in the same groups.
        let open = rig.share();
        let open = thread::spawn(move || drop(open.commit(metadata_of("none"))));
        let stops_early = thread_rng().gen_bool(0.5);
        let checkpoint = rig.share();
        let checkpoint = thread::spawn(move || drop(checkpoint.committer.checkpoint_blocking()));
        if stops_early {
            rig.committer.stop();
        }
        let told: Vec<Told> =
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        checkpoint.join().unwrap();
        open.join().unwrap();
        // I7: readers have it too, though the index may have been opened again for that.
        let snapshot = rig.store.snapshot().unwrap();
        let header = snapshot.dataset(SET).unwrap().unwrap();
        for (name, _) in told.iter().filter(|(_, told)| told.is_ok()) {
            assert!(snapshot.file(&header, name).unwrap().is_some(), "{name} is not seen");
        }
        drop(snapshot);
        rig.committer.stop();

        let seed = thread_rng().gen_range(0..1000);
        let reached = [Reached::Nothing, Reached::Everything, Reached::Torn(seed)];
        let found = names_on(&rig.disk.image(reached[thread_rng().gen_range(0..reached.len())]));
        for (name, told) in told {
            let is_there = found.iter().any(|found| found == name);
            match told {
                Ok(()) => assert!(is_there, "{name} was answered"),
                Err(MutationError::OutcomeUnknown { .. }) => {}
                Err(refusal) => assert!(!is_there, "{name} was refused: {refusal}"),
            }
        }
    });
}

/// I1: were a plan firm that is not, readers would be told nothing rather than that the file is not there.
#[test]
fn a_promise_that_cannot_be_kept_ends_the_store_and_is_not_denied() {
    prepare();
    explore(|| {
        let rig = Rig::new();
        rig.add("a", b"1").unwrap();
        assert!(rig.read("a").is_some());
        // No planner would: the name is in use.
        let ticket = rig.submit_file("a", rig.content(b"2")).unwrap();
        match block_on(ticket.redeem()) {
            Ok(_) => assert!(rig.store.snapshot().is_err()),
            Err(MutationError::OutcomeUnknown { .. }) => {}
            Err(refusal) => panic!("{refusal}"),
        }
        rig.committer.stop();
        assert!(matches!(rig.committer.refusal(), Some(MutationError::ReadOnly { .. })));
    });
}

fn metadata_of(name: &str) -> Change {
    let (filename, expects) = (Filename::exact(name).unwrap(), Digest([0; 32]));
    Change::SetMetadata { dataset: SET, filename, expects, metadata: String::new() }
}

/// Adds the first and, without waiting, the second.
fn told(rig: &Rig, names: [&'static str; 2]) -> Vec<Told> {
    let contents = names.map(|name| rig.content(name.as_bytes()));
    let tickets = names.into_iter().zip(contents).map(|(name, content)| {
        let ticket = rig.submit_file(name, content);
        (name, ticket)
    });
    let tickets: Vec<_> = tickets.collect();
    let redeemed = tickets.into_iter().map(|(name, ticket)| {
        let told = ticket.and_then(|ticket| block_on(ticket.redeem()).map(drop));
        (name, told)
    });
    redeemed.collect()
}
