//! Backups and restores that are cut off at operations of their disks.

use super::*;
use crate::disk::{At, Fault, Reached};

/// Every how many operations the disk stops; `GRANARY_CRASH_EVERY=1` stops at every one.
fn every(usual: usize) -> usize {
    std::env::var("GRANARY_CRASH_EVERY").map_or(usual, |every| every.parse().unwrap())
}

fn images(disk: &SimulatedDisk, seed: u64) -> [SimulatedDisk; 3] {
    [Reached::Nothing, Reached::Everything, Reached::Random(seed)]
        .map(|reached| disk.image(reached))
}

/// Whatever a backup that was cut off leaves: the one before can be restored, and the next one
/// completes, copies no more than all, and can be restored.
#[tokio::test]
async fn a_backup_that_was_cut_off_anywhere_does_no_harm_and_the_next_one_goes_on() {
    let (disk, backups) = (SimulatedDisk::new(), SimulatedDisk::new());
    let engine = open(&disk);
    let first = fill(&engine).await;
    back_up(&engine, &backups, "one").await;
    for number in 0..8 {
        add(&engine, first, &format!("more/{number}"), &numbered(400 + number, 40_000)).await;
    }
    add(&engine, first, "more/large", &numbered(500, LARGE)).await;
    let expected = shown(&engine);
    let backup = begin(&engine).await;
    let base = backups.image(Reached::Everything);
    let whole = base.image(Reached::Everything);
    let copied = copy(&backup, &whole, "two").await.unwrap().copied;
    let mut spared = 0;
    for stop in (1..=whole.operations()).step_by(every(3)) {
        let stopping = base.image(Reached::Everything);
        stopping.stop_at(stop);
        copy(&backup, &stopping, "two").await.unwrap_err();
        for image in images(&stopping, stop) {
            let one = RestoreOptions { state: Some("one".into()), ..restore_options() };
            restore_on(port(&image), &port(&SimulatedDisk::new()), &one).unwrap();
            let report = copy(&backup, &image, "three").await.unwrap();
            assert!(report.copied <= copied && report.failed == 0, "stopped at {stop}");
            spared = spared.max(copied - report.copied);
            let twin = open(&restore_new(&image));
            assert_eq!(shown(&twin), expected, "stopped at {stop}");
            assert_eq!(twin.check(true).unwrap(), [], "stopped at {stop}");
        }
    }
    // What had been packed was not copied again.
    assert_eq!(spared, copied);
}

/// What a run could not make durable is not taken by the next one for what is.
#[tokio::test]
async fn a_backup_after_one_whose_sync_failed_is_all_on_disk() {
    let (disk, backups) = (SimulatedDisk::new(), SimulatedDisk::new());
    let engine = open(&disk);
    fill(&engine).await;
    let expected = shown(&engine);
    let backup = begin(&engine).await;
    copy(&backup, &backups, "one").await.unwrap();
    for failed in 1..=backups.syncs() {
        let backups = SimulatedDisk::new();
        backups.fail(At::Sync(failed), Fault::Io);
        copy(&backup, &backups, "one").await.unwrap_err();
        copy(&backup, &backups, "two").await.unwrap();
        let twin = open(&restore_new(&backups.image(Reached::Nothing)));
        assert_eq!(shown(&twin), expected, "sync {failed}");
    }
}

/// Whatever a restore that was cut off leaves opens as no store, or as the whole one; restoring
/// again makes the whole one.
#[tokio::test]
async fn a_restore_that_was_cut_off_anywhere_opens_as_no_store_and_starts_over() {
    let (disk, backups) = (SimulatedDisk::new(), SimulatedDisk::new());
    let engine = open(&disk);
    fill(&engine).await;
    back_up(&engine, &backups, "one").await;
    let expected = shown(&engine);
    let operations = restore_new(&backups).operations();
    for stop in (1..=operations).step_by(every(7)) {
        let stopping = SimulatedDisk::new();
        stopping.stop_at(stop);
        restore_on(port(&backups), &port(&stopping), &restore_options()).unwrap_err();
        for image in images(&stopping, stop) {
            let names = image.list("").unwrap();
            if names.contains(&"store".to_owned()) {
                let twin = open(&image);
                assert_eq!(shown(&twin), expected, "stopped at {stop}");
                continue;
            }
            if names.contains(&"store.restoring".to_owned()) {
                let refused = Engine::open_on(port(&image), &options()).unwrap_err();
                assert!(refused.to_string().contains("restore"), "{refused}");
            }
            restore_on(port(&backups), &port(&image), &restore_options()).unwrap();
            let twin = open(&image);
            assert_eq!(shown(&twin), expected, "stopped at {stop}");
            assert_eq!(twin.check(true).unwrap(), [], "stopped at {stop}");
        }
    }
}
