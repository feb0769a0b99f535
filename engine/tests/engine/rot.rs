//! Contents whose bytes rot on the disk: they are found by reads, checks and the scrub, refused,
//! listed, and healed for every dataset when the same content comes again, whenever the power
//! fails on the way.

use std::io::IoSlice;
use std::sync::Arc;

use granary_engine::disk::{self, At, Disk, OpenMode, Reached, SimulatedDisk};
use granary_engine::model::{DatasetId, Digest};
use granary_engine::{Engine, EngineOptions, Fault, ReadError, ScrubState};

use crate::support::{add, block_on, dataset, options, project, read};

/// Bytes of a content that gets a file of its own.
const LARGE: usize = (1 << 20) + 5000;

/// Lengths of the contents that rot: in a segment, and in a file.
const LENGTHS: [usize; 2] = [30_000, LARGE];

fn bytes_of(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at / 7 + at) % 251).unwrap()).collect()
}

fn open(disk: &SimulatedDisk) -> Engine {
    open_with(disk, &options())
}

fn open_with(disk: &SimulatedDisk, options: &EngineOptions) -> Engine {
    Engine::open_on(Arc::new(disk.clone()), options).unwrap()
}

/// Flips a byte in the middle of a content, wherever it lies; called again, flips it back.
fn rot(disk: &SimulatedDisk, content: &[u8]) {
    let start = &content[..100];
    for directory in ["journal", "blobs"] {
        for name in disk.list(directory).unwrap() {
            let file = disk.open(&format!("{directory}/{name}"), OpenMode::Existing).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            if let Some(at) = bytes.windows(100).position(|window| window == start) {
                let at = at + content.len() / 2;
                file.write_all_at(&[IoSlice::new(&[bytes[at] ^ 4])], at as u64).unwrap();
                return;
            }
        }
    }
    panic!("the content is nowhere");
}

/// Two datasets with the content and one without, all durable.
async fn store(disk: &SimulatedDisk, content: &[u8]) -> [DatasetId; 3] {
    let engine = open(disk);
    let within = project(&engine).await.unwrap();
    let mut sets = [DatasetId(0); 3];
    for (number, set) in sets.iter_mut().enumerate() {
        *set = dataset(&engine, within, &format!("set {number}")).await.unwrap().id;
        add(&engine, *set, "sound", &[1; 500]).await.unwrap();
    }
    add(&engine, sets[0], "a/rotten", content).await.unwrap();
    add(&engine, sets[1], "rotten too", content).await.unwrap();
    engine.shutdown().await;
    sets
}

/// Reads a content whole; an error if it is told to be damaged.
async fn try_read(engine: &Engine, content: &[u8]) -> Result<Vec<u8>, ReadError> {
    let blob = engine.open_blob(&Digest::of(content))?.unwrap();
    let length = blob.length();
    let mut stream = blob.stream(0..length);
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

async fn assert_healed(engine: &Engine, sets: [DatasetId; 3], content: &[u8], when: &str) {
    for (set, name) in [(sets[0], "a/rotten"), (sets[1], "rotten too")] {
        assert_eq!(read(engine, set, name).await.unwrap(), content, "{when}");
    }
    assert_eq!(engine.quarantined().unwrap(), [], "{when}");
    assert_eq!(engine.check(true).unwrap(), [], "{when}");
}

/// A content that could not be looked at is no damaged one: the check says why it ends.
#[tokio::test]
async fn want_of_memory_is_no_damage() {
    let (disk, content) = (SimulatedDisk::new(), bytes_of(LARGE));
    store(&disk, &content).await;
    let engine = open(&disk);
    let before = disk.reads();
    assert_eq!(engine.check(true).unwrap(), []);
    let reads = disk.reads() - before;
    assert!(reads > 2, "two contents are read");
    for read in 1..=reads {
        disk.fail(At::Read(disk.reads() + read), disk::Fault::Memory);
        let checked = engine.check(true);
        assert!(matches!(checked, Err(ReadError::Io { .. })), "read {read}: {checked:?}");
        assert_eq!(engine.quarantined().unwrap(), [], "read {read}");
    }
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn what_a_read_finds_rotten_is_refused_listed_and_healed_by_the_same_content() {
    for length in LENGTHS {
        let (disk, content) = (SimulatedDisk::new(), bytes_of(length));
        let sets = store(&disk, &content).await;
        rot(&disk, &content);
        let engine = open(&disk);
        assert_eq!(engine.quarantined().unwrap(), [], "nobody has read it");
        let digest = Digest::of(&content);
        let names_it = |error: &ReadError| matches!(error, ReadError::DamagedContent { digest: named, .. } if *named == digest);
        assert!(names_it(&try_read(&engine, &content).await.unwrap_err()));
        // From now on it is refused before a byte of it is sent, and so is a range of it.
        assert!(names_it(&engine.open_blob(&digest).unwrap_err()));
        let snapshot = engine.snapshot().unwrap();
        assert!(names_it(&engine.open_blob_in(&snapshot, &digest).unwrap_err()));
        drop(snapshot);
        let [listed] = <[_; 1]>::try_from(engine.quarantined().unwrap()).unwrap();
        assert_eq!(
            (listed.digest, listed.length, listed.fault),
            (digest, length as u64, Fault::WrongBytes)
        );
        let files: Vec<_> =
            listed.files.iter().map(|hit| hit.filename.as_deref().unwrap()).collect();
        assert_eq!((files, listed.file_count), (vec!["a/rotten", "rotten too"], 2));
        // The other contents of the same datasets are not hit.
        assert_eq!(read(&engine, sets[0], "sound").await.unwrap(), [1; 500]);

        add(&engine, sets[2], "brought again", &content).await.unwrap();

        assert_healed(&engine, sets, &content, "at once").await;
        let image = disk.image(Reached::Nothing);
        engine.abandon();
        assert_healed(&open(&image), sets, &content, "after a power cut").await;
    }
}

#[tokio::test]
async fn a_mark_outlives_a_restart_and_the_bytes_are_kept() {
    for length in LENGTHS {
        let (disk, content) = (SimulatedDisk::new(), bytes_of(length));
        let sets = store(&disk, &content).await;
        rot(&disk, &content);
        let engine = open(&disk);
        assert!(try_read(&engine, &content).await.is_err());
        engine.shutdown().await;
        drop(engine);
        let engine = open(&disk);
        assert_eq!(engine.quarantined().unwrap().len(), 1);
        assert!(engine.open_blob(&Digest::of(&content)).is_err());
        let findings = engine.check(true).unwrap();
        assert_eq!((findings.len(), findings[0].hit_count), (1, 2), "{findings:#?}");
        // The bytes are still there: put right by hand, they are found sound by the next pass.
        rot(&disk, &content);
        assert_eq!(pass(&engine).await.last.unwrap().damaged, 0);
        assert_healed(&engine, sets, &content, "put right by hand").await;
        engine.shutdown().await;
        drop(engine);
        assert_healed(&open(&disk), sets, &content, "put right, and restarted").await;
    }
}

/// Marks are few, and those that are left are of damaged contents: without any scrub.
#[tokio::test]
async fn a_mark_goes_with_the_damage() {
    for length in LENGTHS {
        let (disk, content) = (SimulatedDisk::new(), bytes_of(length));
        let sets = store(&disk, &content).await;
        rot(&disk, &content);
        let engine = open(&disk);
        assert!(try_read(&engine, &content).await.is_err());
        engine.checkpoint().await.unwrap();
        let damaged = disk.image(Reached::Everything);
        add(&engine, sets[2], "brought again", &content).await.unwrap();
        engine.caught_up().await;
        assert!(!engine.has_damage(), "healed");
        let cut = disk.image(Reached::Nothing);
        engine.abandon();

        // The mark is there again, and the journal heals the content once more.
        let engine = open(&cut);
        wait_until_sound(&engine).await;
        assert_healed(&engine, sets, &content, "after a power cut").await;
        engine.abandon();

        let engine = open(&damaged);
        engine.delete_file(sets[0], "a/rotten").await.unwrap();
        engine.caught_up().await;
        assert!(engine.has_damage(), "still named");
        engine.delete_file(sets[1], "rotten too").await.unwrap();
        while engine.step_background().await.unwrap() {}
        assert!(!engine.has_damage(), "gone");
    }
}

/// Waits until no mark is left.
async fn wait_until_sound(engine: &Engine) {
    let begun = std::time::Instant::now();
    while engine.has_damage() {
        assert!(begun.elapsed().as_secs() < 60, "a mark stays");
        tokio::task::yield_now().await;
    }
}

#[test]
fn healing_is_durable_once_it_is_answered_wherever_the_power_fails() {
    let mut points = 0;
    for length in LENGTHS {
        let (disk, content) = (SimulatedDisk::new(), bytes_of(length));
        let sets = block_on(store(&disk, &content));
        rot(&disk, &content);
        for operation in 1.. {
            let disk = disk.image(Reached::Everything);
            let is_over = block_on(heal_until_stopped(&disk, sets, &content, operation));
            points += 1;
            if is_over {
                break;
            }
        }
    }
    assert!(points > 20, "{points} points");
}

/// Heals a content on a disk that stops, and looks at what a machine finds that starts again;
/// tells whether the disk did not stop before the end.
async fn heal_until_stopped(
    disk: &SimulatedDisk,
    sets: [DatasetId; 3],
    content: &[u8],
    operation: u64,
) -> bool {
    disk.stop_at(disk.operations() + operation);
    let mut is_answered = false;
    let mut is_over = false;
    if let Ok(engine) = Engine::open_on(Arc::new(disk.clone()), &options()) {
        try_read(&engine, content).await.unwrap_err();
        is_answered = add(&engine, sets[2], "brought again", content).await.is_ok();
        is_over = engine.checkpoint().await.is_ok();
        disk.stop_at(disk.operations());
        engine.abandon();
    }
    for reached in [Reached::Nothing, Reached::Everything, Reached::Random(operation)] {
        let image = disk.image(reached);
        let when = format!("stopped at {operation}, {reached:?}");
        let engine = open(&image);
        if is_answered {
            assert_healed(&engine, sets, content, &when).await;
        } else if try_read(&engine, content).await.is_err() {
            add(&engine, sets[2], "brought once more", content).await.unwrap();
            assert_healed(&engine, sets, content, &when).await;
        }
        engine.abandon();
    }
    is_over
}

#[tokio::test]
async fn a_file_that_is_gone_or_cut_is_found_and_healed_too() {
    for is_gone in [true, false] {
        let (disk, content) = (SimulatedDisk::new(), bytes_of(LARGE));
        let sets = store(&disk, &content).await;
        let path = format!("blobs/{}", disk.list("blobs").unwrap()[0]);
        if is_gone {
            disk.remove(&path).unwrap();
        } else {
            disk.open(&path, OpenMode::Existing).unwrap().set_len(70_000).unwrap();
        }
        let engine = open(&disk);
        assert!(try_read(&engine, &content).await.is_err());
        let fault = engine.quarantined().unwrap()[0].fault;
        assert_eq!(fault, if is_gone { Fault::Missing } else { Fault::EndsEarly });
        add(&engine, sets[2], "brought again", &content).await.unwrap();
        assert_healed(&engine, sets, &content, "brought again").await;
    }
}

#[tokio::test]
async fn a_check_puts_what_it_finds_into_quarantine() {
    let (disk, content) = (SimulatedDisk::new(), bytes_of(LARGE));
    let sets = store(&disk, &content).await;
    rot(&disk, &content);
    let engine = open(&disk);
    assert_eq!(engine.check(true).unwrap().len(), 1);
    assert_eq!(engine.quarantined().unwrap().len(), 1);
    add(&engine, sets[2], "brought again", &content).await.unwrap();
    assert_healed(&engine, sets, &content, "brought again").await;
}

#[tokio::test]
async fn the_scrub_finds_what_nobody_reads() {
    for length in LENGTHS {
        let (disk, content) = (SimulatedDisk::new(), bytes_of(length));
        let sets = store(&disk, &content).await;
        let engine = open(&disk);
        assert_eq!(pass(&engine).await.last.unwrap().damaged, 0);
        rot(&disk, &content);
        let last = pass(&engine).await.last.unwrap();
        assert_eq!((last.contents, last.bytes, last.damaged), (2, length as u64 + 500, 1));
        assert!(engine.open_blob(&Digest::of(&content)).is_err());
        add(&engine, sets[2], "brought again", &content).await.unwrap();
        assert_eq!(pass(&engine).await.last.unwrap().damaged, 0);
        assert_healed(&engine, sets, &content, "brought again").await;
    }
}

/// Begins a pass and waits until it is over.
async fn pass(engine: &Engine) -> ScrubState {
    let before = engine.scrub().last.map(|last| last.finished);
    engine.begin_scrub();
    wait_for(engine, |state| state.last.map(|last| last.finished) != before).await
}

async fn wait_for(engine: &Engine, is_there: impl Fn(&ScrubState) -> bool) -> ScrubState {
    let begun = std::time::Instant::now();
    loop {
        let state = engine.scrub();
        if is_there(&state) {
            return state;
        }
        assert!(begun.elapsed().as_secs() < 60, "it never came to that: {state:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_pass_of_the_scrub_goes_on_after_a_restart_where_it_was() {
    const FILES: u64 = 1800;
    let disk = SimulatedDisk::new();
    let engine = open(&disk);
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap().id;
    let adding = (0..FILES).map(|number| {
        let engine = engine.clone();
        tokio::spawn(async move {
            add(&engine, set, &format!("{number}"), &number.to_le_bytes()).await.unwrap();
        })
    });
    for added in adding.collect::<Vec<_>>() {
        added.await.unwrap();
    }
    engine.shutdown().await;
    drop(engine);

    let (disk, state) = stopped_within_a_pass(&disk).await;
    let begun = state.pass.unwrap();
    assert!(begun.contents < FILES && state.share > 0.5, "{state:?}");

    let fast = EngineOptions { scrub_bytes_per_second: u64::MAX, ..options() };
    let engine = open_with(&disk, &fast);
    let last = wait_for(&engine, |state| state.last.is_some()).await.last.unwrap();
    assert_eq!((last.started, last.contents, last.damaged), (begun.started, FILES, 0));
    let state = engine.scrub();
    assert!(state.pass.is_none() && state.next.unwrap() > last.started, "{state:?}");
}

/// A copy of a store that was never scrubbed, on which the engine ended within a pass, and how far
/// that was. Whoever stands still for as long as a page takes misses it, and begins on another copy.
async fn stopped_within_a_pass(disk: &SimulatedDisk) -> (SimulatedDisk, ScrubState) {
    // Each content counts as 4 KiB at least, so a page of 1,024 takes four seconds.
    let slow = EngineOptions { scrub_bytes_per_second: 1 << 20, ..options() };
    for _ in 0..5 {
        let disk = disk.image(Reached::Everything);
        let engine = open_with(&disk, &slow);
        // A store that has never been scrubbed is scrubbed at once.
        let is_on_its_way = |state: &ScrubState| state.pass.is_some_and(|pass| pass.contents > 0);
        wait_for(&engine, |state| is_on_its_way(state) || state.last.is_some()).await;
        engine.shutdown().await;
        let state = engine.scrub();
        if is_on_its_way(&state) {
            return (disk, state);
        }
    }
    panic!("each pass was over before anybody saw it");
}
