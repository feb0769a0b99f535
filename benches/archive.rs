//! How fast does a dataset leave as an archive, where the network does not hold it up?
//!
//! 5,000 files of 20 KB that do not compress, to a sink that drops them. The floors read the same
//! bytes from one file, content by content, without and with the digest that reading whole
//! contents demands (I9). If the zip fell below half of the second, its producer would have to
//! read ahead; if the tar.gz fell below half of the zip, contents that do not compress would not
//! be passing through as they are.
//!
//! Text is compared with one thread that compresses a tar of it at the same level: on two cores
//! less than 1.6 times its rate would mean that the pieces wait for each other. What two threads
//! reach that share nothing, each with half of the text, is what the machine has to give. Of 100,000 files
//! the first chunk counts, which waits for the list of all of them, and the last bytes, for which
//! the list was kept; more than 50 ms and more than a few would make clients wait.

use std::fmt::Write as _;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use granary_engine::model::DatasetId;
use granary_engine::{ArchiveFormat, PreparedArchive};

use crate::support::contest::{Contest, Contestant};
use crate::support::floor::{contents, length};
use crate::support::store::{Store, add};
use crate::support::{FILE_BYTES, noise, spread};

const FILES: u64 = 5000;

const TEXTS: u64 = 400;
const TEXT_BYTES: usize = 100_000;

/// Measures all variants.
pub(crate) fn bench(criterion: &mut Criterion) {
    let contest = Contest {
        capability: "archive",
        variants: ["zip/5000", "tar_gz/5000", "floor_pread/5000", "floor_pread_blake3/5000"]
            .map(str::to_owned),
        throughput: Throughput::Bytes(FILES * length(FILE_BYTES)),
        measured: Duration::from_secs(4),
    };
    contest.run(criterion, contestants);
    let text = Contest {
        capability: "archive",
        variants: [
            "tar_gz/text",
            "zip_deflated/text",
            "floor_one_thread/text",
            "ceiling_two_threads/text",
        ]
        .map(str::to_owned),
        throughput: Throughput::Bytes(TEXTS * length(TEXT_BYTES)),
        measured: Duration::from_secs(10),
    };
    text.run(criterion, text_contestants);
    let first = Contest {
        capability: "archive",
        variants: ["first_chunk/100000", "last_bytes/100000"].map(str::to_owned),
        throughput: Throughput::Elements(1),
        measured: Duration::from_secs(4),
    };
    first.run(criterion, first_contestants);
}

/// Sends a whole archive, or a range of it, to nobody; how long it took to the first chunk, and to
/// the end.
fn send(
    store: &Store,
    dataset: DatasetId,
    format: ArchiveFormat,
    range: impl FnOnce(&PreparedArchive) -> Option<std::ops::Range<u64>>,
) -> (Duration, Duration) {
    store.runtime.block_on(async {
        let begun = Instant::now();
        let prepared = store.engine.prepare_archive(dataset, format).await.unwrap().unwrap();
        let range = range(&prepared);
        let mut archive = prepared.start(range).await.unwrap();
        let mut first = None;
        while let Some(chunk) = archive.next().await {
            std::hint::black_box(chunk.unwrap());
            first.get_or_insert_with(|| begun.elapsed());
        }
        (first.unwrap(), begun.elapsed())
    })
}

fn text_contestants() -> [Contestant; 4] {
    let store = Store::new();
    let dataset = store.dataset("set");
    let engine = store.engine.clone();
    spread(&store.runtime, 8, TEXTS, move |number| {
        let engine = engine.clone();
        let name = format!("files/{number:09}.txt");
        async move { add(&engine, dataset, &name, &text(number), number).await }
    });
    let archive = |format: ArchiveFormat| -> Contestant {
        let store = Rc::clone(&store);
        Box::new(move || send(&store, dataset, format, |_| None).1)
    };
    let floor = || {
        let texts: Vec<Vec<u8>> = (0..TEXTS).map(text).collect();
        let begun = Instant::now();
        compress_alone(&texts);
        begun.elapsed()
    };
    let ceiling = || {
        let texts: Vec<Vec<u8>> = (0..TEXTS).map(text).collect();
        let (one, other) = texts.split_at(texts.len() / 2);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| compress_alone(one));
            compress_alone(other);
        });
        begun.elapsed()
    };
    [
        archive(ArchiveFormat::TarGz),
        archive(ArchiveFormat::ZipDeflated),
        Box::new(floor),
        Box::new(ceiling),
    ]
}

/// Compresses a tar of texts on this thread.
fn compress_alone(texts: &[Vec<u8>]) {
    let gzip = flate2::write::GzEncoder::new(std::io::sink(), flate2::Compression::new(6));
    let mut tar = tar::Builder::new(gzip);
    for (number, text) in texts.iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        header.set_size(length(text.len()));
        let name = format!("files/{number:09}.txt");
        tar.append_data(&mut header, name, text.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
}

/// Words of a small language, as often as in a large one.
fn text(number: u64) -> Vec<u8> {
    let mut state = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = String::with_capacity(TEXT_BYTES + 20);
    while text.len() < TEXT_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // The product of two draws prefers small numbers, as words do.
        let word = ((state & 0xfff) * (state >> 12 & 0xfff)) >> 11;
        write!(text, "{:x} ", word.wrapping_mul(0x9e37_79b9) & 0xfff_ffff).unwrap();
    }
    text.truncate(TEXT_BYTES);
    text.into_bytes()
}

fn first_contestants() -> [Contestant; 2] {
    let store = Store::new();
    let dataset = store.dataset("set");
    store.fill(dataset, 0..100_000);
    let begin = {
        let store = Rc::clone(&store);
        let mut number = 0;
        move || {
            // A change makes the list that was kept worthless.
            number += 1;
            let name = format!("z/{number}");
            store.runtime.block_on(add(&store.engine, dataset, &name, &[0; 8], number));
            let prefix = |_: &PreparedArchive| Some(0..1 << 16);
            send(&store, dataset, ArchiveFormat::Zip, prefix).0
        }
    };
    let end = move || {
        let last = |prepared: &PreparedArchive| {
            let end = prepared.length().unwrap();
            Some(end - (1 << 16)..end)
        };
        send(&store, dataset, ArchiveFormat::Zip, last).1
    };
    [Box::new(begin), Box::new(end)]
}

fn contestants() -> [Contestant; 4] {
    let store = Store::new();
    let dataset = store.dataset("set");
    let template: Arc<[u8]> = noise(FILE_BYTES).into();
    let engine = store.engine.clone();
    spread(&store.runtime, 64, FILES, move |number| {
        let (engine, template) = (engine.clone(), Arc::clone(&template));
        let name = format!("files/{number:09}.png");
        async move { add(&engine, dataset, &name, &template, number).await }
    });
    let bytes = contents(&store.directory().join("floor"), FILES, FILE_BYTES);
    let archive = |format: ArchiveFormat| -> Contestant {
        let store = Rc::clone(&store);
        Box::new(move || send(&store, dataset, format, |_| None).1)
    };
    let floor = |with_digest: bool| -> Contestant {
        let bytes = Arc::clone(&bytes);
        Box::new(move || {
            let begun = Instant::now();
            for number in 0..FILES {
                let mut content = vec![0; FILE_BYTES];
                bytes.read_exact_at(&mut content, number * length(FILE_BYTES)).unwrap();
                if with_digest {
                    std::hint::black_box(blake3::hash(&content));
                }
                std::hint::black_box(content);
            }
            begun.elapsed()
        })
    };
    [archive(ArchiveFormat::Zip), archive(ArchiveFormat::TarGz), floor(false), floor(true)]
}
