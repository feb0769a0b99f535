//! How an upload ends that nobody goes on with, and how many there may be.

use super::*;

#[test]
fn what_comes_no_further_expires_and_what_is_too_much_is_refused() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let small = EngineOptions { resumable_bytes: 8000, ..options() };
        let engine = Engine::open_on(Arc::new(disk.clone()), &small).unwrap();
        let dataset = dataset(&engine).await;
        let content = content(3000);
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        let refused = engine.begin_resumable(terms(dataset, &content)).await.unwrap_err();
        assert!(matches!(refused, MutationError::TooManyUploads { .. }), "{refused:?}");
        let others = ResumableTerms { owner: UserId(2), ..terms(dataset, &content) };
        engine.begin_resumable(others.clone()).await.unwrap();
        let third = ResumableTerms { owner: UserId(3), ..others };
        let refused = engine.begin_resumable(third).await.unwrap_err();
        assert!(refused.to_string().starts_with("the server has 2"), "{refused}");
        engine.shutdown().await;
        drop(engine);

        let now = EngineOptions { resumable_expire_after: Duration::ZERO, ..options() };
        let engine = Engine::open_on(Arc::new(disk.clone()), &now).unwrap();
        assert_eq!(disk.list(STAGING).unwrap(), [""; 0], "all have expired");
        let gone = engine.resume(id, OWNER, dataset).await.unwrap_err();
        assert!(matches!(gone, MutationError::UploadNotFound { .. }));
        engine.shutdown().await;
    });
}

#[test]
fn an_upload_goes_with_its_dataset_for_good() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let small = EngineOptions { resumable_bytes: 8000, ..options() };
        let engine = Engine::open_on(Arc::new(disk.clone()), &small).unwrap();
        let gone = dataset(&engine).await;
        let header = engine.snapshot().unwrap().dataset(gone).unwrap().unwrap();
        let stays = NewDataset {
            name: "dogs".into(),
            description: String::new(),
            project: header.project,
            licence: header.licence,
            tags: String::new(),
            is_public: false,
            creator: None,
        };
        let stays = engine.create_dataset(stays).await.unwrap().id;
        let content = content(3000);
        let id = engine.begin_resumable(terms(gone, &content)).await.unwrap();
        engine.destroy_dataset(gone).await.unwrap();
        engine.resumables().expire(Timestamp::now());
        assert_eq!(disk.list(STAGING).unwrap().len(), 2, "it can be reinstated");
        engine.hard_delete_dataset(gone).await.unwrap();
        // Its share is free at once.
        let other = engine.begin_resumable(terms(stays, &content)).await.unwrap();
        let refused = engine.resume(id, OWNER, gone).await.unwrap_err();
        assert!(matches!(refused, MutationError::UploadNotFound { .. }));
        assert_eq!(disk.list(STAGING).unwrap().len(), 2, "those of the other one");
        send(&engine, (stays, other), &content, &mut drop).await.unwrap();
        engine.shutdown().await;
    });
}

#[test]
fn what_came_last_puts_off_the_end_of_an_upload_however_its_request_ended() {
    block_on(async {
        let disk = SimulatedDisk::new();
        let engine = open(&disk);
        let dataset = dataset(&engine).await;
        let content = content(24 << 20);
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        let mut last = 0;
        // So much that some of it counts before the request ends, and so little that none does.
        for bytes in [9 << 20, PIECE] {
            let part = engine.resume(id, OWNER, dataset).await.unwrap();
            let end = engine.resumable_state(&part).expires;
            let next = content[last..last + bytes].to_vec();
            drop(part.write(next.into(), false).await.unwrap());
            engine.resumables().expire(end);
            last += bytes;
            while engine.figures().upload_memory.0 > 0 {
                tokio::task::yield_now().await;
            }
            engine.resumables().expire(end);
            let part = engine.resume(id, OWNER, dataset).await.unwrap();
            assert_eq!(engine.resumable_state(&part).offset, byte_count(last));
        }
        let part = engine.resume(id, OWNER, dataset).await.unwrap();
        let end = engine.resumable_state(&part).expires;
        drop(part);
        engine.shutdown().await;
        drop(engine);
        let engine = open(&disk);
        let part = engine.resume(id, OWNER, dataset).await.unwrap();
        assert_eq!(engine.resumable_state(&part).expires, end, "as it was told before the restart");
        // Of which nobody comes to count the last bytes.
        let next = content[last..last + PIECE].to_vec();
        drop(part.write(next.into(), false).await.unwrap());
        while !disk.list(STAGING).unwrap().is_empty() {
            engine.resumables().expire(Timestamp(i64::MAX));
            tokio::task::yield_now().await;
        }
        engine.shutdown().await;
    });
}

/// Refused for its name, a whole upload waits for its last byte to be sent again: that puts off its end.
#[test]
fn a_last_byte_that_is_refused_puts_off_the_end_of_an_upload_and_asking_writes_nothing() {
    block_on(async {
        let content = content(3000);
        let disk = SimulatedDisk::new();
        let engine = open(&disk);
        let dataset = dataset(&engine).await;
        let id = engine.begin_resumable(terms(dataset, &content)).await.unwrap();
        set_quota(&engine, dataset, Some(10)).await;
        let mut end = Timestamp(0);
        for _ in 0..2 {
            send(&engine, (dataset, id), &content, &mut drop).await.unwrap_err();
            let writes = disk.writes();
            let part = engine.resume(id, OWNER, dataset).await.unwrap();
            let state = engine.resumable_state(&part);
            assert_eq!((disk.writes(), state.offset), (writes, 2999));
            assert!(state.expires > end);
            end = state.expires;
        }
        engine.shutdown().await;
        drop(engine);
        let engine = open(&disk);
        let part = engine.resume(id, OWNER, dataset).await.unwrap();
        assert_eq!(engine.resumable_state(&part).expires, end);
        engine.abandon();
    });
}

#[test]
fn of_those_who_begin_at_once_no_more_have_a_place_than_one_after_the_other() {
    let small = EngineOptions { resumable_bytes: 8000, ..options() };
    let disk = SimulatedDisk::new();
    let engine = Engine::open_on(Arc::new(disk.clone()), &small).unwrap();
    let dataset = block_on(dataset(&engine));
    let barrier = std::sync::Barrier::new(8);
    let make = |owner| {
        let terms = ResumableTerms { owner: UserId(owner), ..terms(dataset, &content(4000)) };
        barrier.wait();
        block_on(engine.begin_resumable(terms))
    };
    let make = &make;
    let at_once = |owners: [u64; 8]| {
        std::thread::scope(|scope| {
            let threads = owners.map(|owner| scope.spawn(move || make(owner)));
            threads.map(|thread| thread.join().unwrap())
        })
    };
    // Of one user, who may have half of all, then of others.
    let own = at_once([OWNER.0; 8]);
    let others = at_once([2, 3, 4, 5, 6, 7, 8, 9]);
    for made in [&own, &others] {
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1, "{made:?}");
    }
    // Nothing is kept of a place that came to nothing.
    block_on(async {
        let id = own.into_iter().flatten().next().unwrap();
        engine.give_up_resumable(id, OWNER, dataset).await.unwrap();
        disk.fail(At::Operation(disk.operations() + 1), Fault::Io);
        let again = || engine.begin_resumable(terms(dataset, &content(4000)));
        again().await.unwrap_err();
        again().await.unwrap();
        engine.shutdown().await;
    });
}
