//! All that can happen to the flags, in every order: two that wake, and a task that runs when it was woken.

use std::collections::HashSet;

use super::*;

/// Wake-ups by each of the two.
const WAKES: u8 = 3;

/// Who wakes, in the order of the steps.
const WHOM: [u8; 2] = [CONNECTION, WATCHED];

/// One state of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    flags: u8,
    /// The task's waker is where those that wake find it; who wakes takes it.
    is_registered: bool,
    is_to_run: bool,
    task: Step,
    turns: usize,
    /// What there is for each of the two to see, and what was seen of it.
    brought: [u8; 2],
    seen: [u8; 2],
    others: [Waking; 2],
    /// Turns that nobody asked for, and that may still come.
    spurious: u8,
}

/// What the task does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// Once it is to run.
    Register,
    Take,
    /// Its turn, for who was woken.
    Look(u8),
    Rest,
    Leave,
    WakeItself,
}

/// What somebody who wakes does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Waking {
    Bring,
    Note,
    Wake,
}

impl State {
    fn at_first() -> Self {
        Self {
            flags: WATCHED,
            is_registered: false,
            is_to_run: true,
            task: Step::Register,
            turns: 0,
            brought: [0; 2],
            seen: [0; 2],
            others: [Waking::Bring; 2],
            spurious: 2,
        }
    }

    /// Does something to the flags, as the program does it.
    fn flags<T>(&mut self, change: impl FnOnce(&Flags) -> T) -> T {
        let flags = Flags(self.flags.into());
        let outcome = change(&flags);
        self.flags = flags.0.into_inner();
        outcome
    }

    fn wake_task(&mut self) {
        self.is_to_run |= std::mem::take(&mut self.is_registered);
    }

    /// The task's next step; none while it waits to be woken.
    fn task_goes_on(mut self) -> Option<Self> {
        let step = self.task;
        self.task = match step {
            Step::Register => {
                if !std::mem::take(&mut self.is_to_run) {
                    self.spurious = self.spurious.checked_sub(1)?;
                }
                self.is_registered = true;
                self.turns = 0;
                Step::Take
            }
            Step::Take => Step::Look(self.flags(Flags::take)),
            Step::Look(woken) => {
                self.turns += 1;
                self.seen[0] = self.brought[0];
                if woken & WATCHED != 0 {
                    self.seen[1] = self.brought[1];
                }
                Step::Rest
            }
            Step::Rest if self.flags(Flags::rest) => Step::Register,
            Step::Rest if self.turns < TURNS_MAX => Step::Take,
            Step::Rest => Step::Leave,
            Step::Leave => {
                self.flags(Flags::leave);
                Step::WakeItself
            }
            Step::WakeItself => {
                self.is_to_run = true;
                Step::Register
            }
        };
        Some(self)
    }

    /// The next step of one that wakes; none when it has done so often enough.
    fn other_goes_on(mut self, who: usize) -> Option<Self> {
        let step = self.others[who];
        self.others[who] = match step {
            Waking::Bring if self.brought[who] == WAKES => return None,
            Waking::Bring => {
                self.brought[who] += 1;
                Waking::Note
            }
            Waking::Note if self.flags(|flags| flags.note(WHOM[who])) => Waking::Wake,
            Waking::Note => Waking::Bring,
            Waking::Wake => {
                self.wake_task();
                Waking::Bring
            }
        };
        Some(self)
    }
}

#[test]
fn in_whichever_order_things_happen_all_that_was_brought_is_seen() {
    let (mut left, mut known) = (vec![State::at_first()], HashSet::new());
    let mut ends = 0;
    while let Some(state) = left.pop() {
        if !known.insert(state.clone()) {
            continue;
        }
        let others = [0, 1].map(|who| state.clone().other_goes_on(who));
        if others == [None, None] && state.task == Step::Register && !state.is_to_run {
            // Nothing happens any more, but for turns that nobody asked for.
            assert_eq!(state.seen, [WAKES; 2], "{state:?}");
            ends += 1;
        }
        left.extend(others.into_iter().flatten());
        left.extend(state.task_goes_on());
    }
    assert!(ends > 0 && known.len() > 10_000, "{ends} of {}", known.len());
}
