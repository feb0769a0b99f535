//! What does it cost that many files come as one archive?
//!
//! 2,000 files of 20 KB, none of which the store holds, as a stored zip and as a tar, beside the
//! same bytes added one by one from 64 tasks. An archive has its files hashed
//! and journaled like any others, and saves the answers in between; if it fell below four fifths
//! of their rate, reading it would be holding them up.

use std::io::{Cursor, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::support::contest::{Contest, Contestant};
use crate::support::floor::length;
use crate::support::store::{Store, add};
use crate::support::{FILE_BYTES, noise, spread, stamp, unique};

const FILES: u64 = 2000;

/// Measures all variants.
pub(crate) fn bench(criterion: &mut Criterion) {
    let contest = Contest {
        capability: "intake",
        variants: ["zip/2000", "tar/2000", "one_by_one/2000"].map(str::to_owned),
        throughput: Throughput::ElementsAndBytes {
            elements: FILES,
            bytes: FILES * length(FILE_BYTES),
        },
        measured: Duration::from_secs(6),
    };
    contest.run(criterion, contestants);
}

fn contestants() -> [Contestant; 3] {
    let store = Store::new();
    let archive = |pack: fn() -> Vec<u8>| -> Contestant {
        let store = Rc::clone(&store);
        Box::new(move || {
            let dataset = store.dataset(&format!("set {}", unique()));
            let archive = pack();
            let begun = Instant::now();
            store.runtime.block_on(async {
                let mut intake = store.engine.begin_intake(dataset, None, None);
                for chunk in archive.chunks(64 << 10) {
                    intake.write(chunk).await.unwrap();
                }
                intake.finish().await.unwrap();
            });
            begun.elapsed()
        })
    };
    let one_by_one = {
        let store = Rc::clone(&store);
        let template: Arc<[u8]> = noise(FILE_BYTES).into();
        move || {
            let dataset = store.dataset(&format!("set {}", unique()));
            let (engine, template) = (store.engine.clone(), Arc::clone(&template));
            let first = first_number();
            spread(&store.runtime, 64, FILES, move |number| {
                let (engine, template) = (engine.clone(), Arc::clone(&template));
                let name = name(number);
                async move { add(&engine, dataset, &name, &template, first + number).await }
            })
        }
    };
    [archive(zip), archive(tar), Box::new(one_by_one)]
}

/// The first of [`FILES`] numbers that no run before had.
fn first_number() -> u64 {
    unique() * FILES
}

fn name(number: u64) -> String {
    format!("files/{number:09}.png")
}

/// The contents of a run, each with its name.
fn contents() -> impl Iterator<Item = (String, Vec<u8>)> {
    let (template, first) = (noise(FILE_BYTES), first_number());
    (0..FILES).map(move |number| {
        let mut content = template.clone();
        stamp(&mut content, first + number);
        (name(number), content)
    })
}

fn zip() -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in contents() {
        zip.start_file(name, options).unwrap();
        zip.write_all(&content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in contents() {
        let mut header = tar::Header::new_gnu();
        header.set_size(length(content.len()));
        tar.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}
