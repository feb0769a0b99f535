//! A device that really fails: an ext4 on a loop device whose file cannot grow any more, so that
//! its writes and syncs fail although the file system has space. The server becomes read-only,
//! says so and why, and goes on reading; what it had answered is there after a restart (I7).

use std::fs;
use std::time::{Duration, Instant};

use reqwest::Method;

use crate::api::{Api, Body};
use crate::content::Content;
use crate::server::Server;
use crate::small_disk::SmallDisk;

/// How long a failure may take to show.
const FAILURE_TIME_MAX: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs loop devices; run tests/disk.sh"]
async fn a_failing_device_makes_the_server_read_only_and_loses_nothing() {
    let host = SmallDisk::of(96);
    let disk = SmallDisk::in_file(&host, 1024);
    let server = Server::start(disk.work());
    let api = Api::new(&server.url);
    let dataset = api.create_dataset("sick").await;
    let content = |number: u64| Content::new(number, 20_000);
    for number in 0..50 {
        api.upload(dataset, &format!("{number}"), content(number).bytes()).await.expect(200);
    }
    assert_eq!(api.ready().await.0, 200);

    let foreign = host.fill(0);
    let mut answered = 50;
    let begun = Instant::now();
    // A few may be taken where the device has space already; then one fails, and no other is
    // accepted.
    let refusal = loop {
        assert!(begun.elapsed() < FAILURE_TIME_MAX, "the device never failed");
        let name = format!("{answered}");
        let answer = api.upload(dataset, &name, content(answered).bytes()).await;
        if answer.status != 200 {
            break answer;
        }
        answered += 1;
    };
    println!("{} uploads were taken before the device failed", answered - 50);
    assert_eq!(refusal.status, 503, "{}", refusal.text());
    let (status, health) = api.ready().await;
    assert_eq!((status, &health["status"]), (503, &"read-only".into()), "{health}");
    println!("readyz: {health}");
    let reason = health["reason"].as_str().unwrap();
    assert!(reason.contains("journal failed") && reason.contains("os error"), "{reason}");

    // Every further change is refused in words, with when to come back.
    let deleted = api.ask(Method::DELETE, &format!("datasets/{dataset}/files/1"), Body::None).await;
    assert_eq!(deleted.status, 503);
    assert!(deleted.text().contains("read-only after a failure of its disk"), "{}", deleted.text());
    assert!(deleted.headers.contains_key("retry-after"));
    assert_eq!(read_all(&api, dataset, answered, content).await, answered);

    // A sound disk and a restart are enough; of the unanswered one either is right.
    server.kill();
    fs::remove_file(foreign).unwrap();
    let server = Server::start(disk.work());
    let api = Api::new(&server.url);
    let found = read_all(&api, dataset, answered, content).await;
    assert!(found == answered || found == answered + 1, "{found} of {answered}");
    api.upload(dataset, "after", content(1 << 40).bytes()).await.expect(200);
    assert_eq!(api.ready().await.0, 200);
    assert!(server.terminate().success());
}

/// Reads what was answered; gives the number of files that are shown.
async fn read_all(api: &Api, dataset: u64, answered: u64, content: impl Fn(u64) -> Content) -> u64 {
    let begun = Instant::now();
    // While the index is opened again for reading, reads may be refused, and nothing else.
    let shown = loop {
        let answer = api.get(&format!("datasets/{dataset}")).await;
        if answer.status == 200 {
            break answer.json();
        }
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(begun.elapsed() < FAILURE_TIME_MAX, "the index is never open again");
    };
    for number in 0..answered {
        let answer = api.get(&format!("datasets/{dataset}/files/{number}")).await;
        assert_eq!(answer.status, 200, "{number}: {}", answer.text());
        assert!(answer.bytes == content(number).bytes(), "{number}");
    }
    u64::try_from(shown["files"].as_object().unwrap().len()).unwrap()
}
