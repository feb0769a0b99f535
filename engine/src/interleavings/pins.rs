//! Pins alone, against a remover that does as the index thread does.

use std::sync::Arc;

use shuttle::sync::Mutex;
use shuttle::thread;

use super::explore;
use crate::blobs::Pins;
use crate::model::Digest;

/// I3: a row that was seen under a pin that is not doomed stays for as long as the pin.
#[test]
fn a_row_that_a_sound_pin_saw_stays() {
    explore(|| {
        let digest = Digest::of(b"content");
        let (pins, row) = (Pins::new(), Arc::new(Mutex::new(true)));
        let uploaders: Vec<_> = (0..2)
            .map(|_| {
                let (pins, row) = (pins.clone(), Arc::clone(&row));
                thread::spawn(move || {
                    let pin = pins.pin(digest);
                    let is_known = *row.lock().unwrap() && !pin.is_doomed();
                    if is_known {
                        let clone = pin.clone();
                        drop(pin);
                        assert!(*row.lock().unwrap(), "removed under a pin");
                        drop(clone);
                    } else {
                        // Its bytes come again.
                        *row.lock().unwrap() = true;
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            let doomed = pins.doom(std::iter::once(digest));
            if doomed.contains(&digest) {
                *row.lock().unwrap() = false;
            }
            drop(doomed);
        }
        for uploader in uploaders {
            uploader.join().unwrap();
        }
        assert!(pins.doom(std::iter::once(digest)).contains(&digest), "nothing stays behind");
    });
}
