//! How fast does a dataset leave as an archive, where the network does not hold it up?
//!
//! 5,000 files of 20 KB that do not compress, to a sink that drops them. The floors read the same
//! bytes from one file, content by content, without and with the digest that reading whole
//! contents demands (I9). If the zip fell below half of the second, its producer would have to
//! read ahead; if the tar.gz did, contents that do not compress would not be passing through as
//! they are.

use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use granary_engine::ArchiveFormat;

use crate::support::contest::{Contest, Contestant};
use crate::support::floor::{contents, length};
use crate::support::store::{Store, add};
use crate::support::{FILE_BYTES, noise, spread};

const FILES: u64 = 5000;

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
    let archive = |format: fn() -> ArchiveFormat| -> Contestant {
        let store = Rc::clone(&store);
        Box::new(move || {
            store.runtime.block_on(async {
                let begun = Instant::now();
                let archive = store.engine.prepare_archive(dataset, format()).await.unwrap();
                let mut archive = archive.unwrap().start(None).await.unwrap();
                while let Some(chunk) = archive.next().await {
                    std::hint::black_box(chunk.unwrap());
                }
                begun.elapsed()
            })
        })
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
    [archive(|| ArchiveFormat::Zip), archive(|| ArchiveFormat::TarGz), floor(false), floor(true)]
}
