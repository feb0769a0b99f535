//! Turns, the waiting for which may end at any time.

use std::sync::Arc;
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use super::explore;
use crate::turns::Turns;

#[test]
fn no_more_work_at_once_than_may_and_none_waits_for_ever() {
    explore(|| {
        let turns = Turns::new(2, 2, Duration::from_secs(1));
        let working = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let (turns, working) = (turns.clone(), Arc::clone(&working));
                thread::spawn(move || {
                    let Some(turn) = block_on(turns.take()) else { return false };
                    assert!(working.fetch_add(1, Ordering::SeqCst) < 2);
                    thread::yield_now();
                    working.fetch_sub(1, Ordering::SeqCst);
                    drop(turn);
                    true
                })
            })
            .collect();
        let worked = workers.into_iter().map(|worker| worker.join().unwrap());
        assert!(worked.filter(|worked| *worked).count() >= 2, "there were turns for two");
        for _ in 0..2 {
            assert!(block_on(turns.take()).is_some(), "all turns came back");
        }
    });
}
