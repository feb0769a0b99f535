//! Memory that contents are read into. That of short ones is used again and again.
//!
//! New memory is zeroed before a read fills it, and it is in no cache of the processor. The thread that
//! reads a short content mostly sends it at once, so the few buffers that each thread keeps are
//! enough. They stay initialised; what an earlier content left in one nobody sees, as no more of it is
//! handed out than the next read fills.

use std::cell::RefCell;

use bytes::Bytes;

/// Bytes of the longest buffers that are kept. Longer ones are asked for less often, and zeroing them
/// is little beside hashing what comes into them.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// Bytes of the shortest; the others are twice as long each, so that most reads find one.
const KEPT_BYTES_MIN: usize = 4 << 10;

/// Buffers that a thread keeps.
const KEPT_MAX: usize = 4;

thread_local! {
    /// The one used last is the last.
    static KEPT: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of the memory that a read of so many bytes takes.
pub(super) fn memory_of(length: usize) -> usize {
    if length > KEPT_BYTES_MAX {
        return length;
    }
    length.next_power_of_two().max(KEPT_BYTES_MIN)
}

/// Memory for one read; a short one goes to the thread that drops it.
pub(super) struct ReadBuffer {
    memory: Box<[u8]>,
    /// Bytes of the read.
    length: usize,
}

impl ReadBuffer {
    /// Memory for so many bytes. What is in it means nothing.
    pub(super) fn of(length: usize) -> Self {
        let bytes = memory_of(length);
        let kept = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            let at = kept.iter().rposition(|memory| memory.len() == bytes)?;
            Some(kept.remove(at))
        });
        // A thread that ends keeps none.
        let kept = kept.ok().flatten();
        let memory = kept.unwrap_or_else(|| vec![0; bytes].into_boxed_slice());
        Self { memory, length }
    }

    /// What the read fills, all of it.
    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.memory.get_mut(..self.length).unwrap_or_default()
    }

    /// What was read.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        self.memory.get(..self.length).unwrap_or_default()
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        if self.memory.len() > KEPT_BYTES_MAX {
            return;
        }
        let memory = std::mem::take(&mut self.memory);
        // Where the thread ends the memory goes with it.
        KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() >= KEPT_MAX {
                kept.remove(0);
            }
            kept.push(memory);
        })
        .ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(length: usize, byte: u8) -> Bytes {
        let mut buffer = ReadBuffer::of(length);
        buffer.as_mut_slice().fill(byte);
        buffer.into_bytes()
    }

    #[test]
    fn memory_is_used_again_and_shows_nothing_of_what_was_in_it() {
        let first = filled(20_000, 1);
        let place = first.as_ptr();
        let other = filled(20_000, 2);
        assert_ne!(other.as_ptr(), place, "the first one is in somebody's hands");
        let end = first.slice(19_000..);
        drop((first, other));
        assert_eq!(end, [1; 1_000][..], "so it is as long as a part of it is");
        drop(end);
        let next = filled(17_000, 3);
        assert_eq!(next.as_ptr(), place, "the one used last");
        assert_eq!(next, vec![3; 17_000]);
        assert_ne!(filled(16_384, 4).as_ptr(), place);
    }

    #[test]
    fn a_thread_keeps_a_few_short_buffers_and_those_that_were_used_last() {
        let lengths =
            || KEPT.with_borrow(|kept| kept.iter().map(|one| one.len()).collect::<Vec<_>>());
        for length in [1, 4_097, 10_000, 32_768, 40_000, KEPT_BYTES_MAX + 1, 1 << 20] {
            assert!(memory_of(length) >= length && memory_of(length) < (2 * length).max(4_097));
            assert_eq!(filled(length, 1).len(), length);
        }
        assert_eq!(lengths(), [8 << 10, 16 << 10, 32 << 10, 64 << 10]);
        drop(filled(5_000, 1));
        assert_eq!(lengths(), [16 << 10, 32 << 10, 64 << 10, 8 << 10]);
    }

    #[test]
    fn memory_goes_to_the_thread_that_drops_it() {
        let bytes = filled(100, 1);
        let place = bytes.as_ptr().addr();
        let there = std::thread::spawn(move || {
            drop(bytes);
            filled(100, 2).as_ptr().addr()
        });
        assert_eq!(there.join().unwrap(), place);
        assert!(KEPT.with_borrow(Vec::is_empty));
    }
}
