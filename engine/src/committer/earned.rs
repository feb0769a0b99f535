//! Turns that groups earn the background: by their number, so that it gets one however busy the store
//! is, and by their rows, so that it takes up as much as groups leave behind, however large they are.

use crate::limits::BACKGROUND_ROWS_MAX;

/// Groups in a row after which the background gets its turn however busy the store is.
const GROUPS_BEFORE_BACKGROUND: u64 = 8;

/// The same while it has more to do than a step: a group may leave dozens of dead contents behind.
const GROUPS_BEFORE_BACKLOG: u64 = 2;

/// Turns that it has at once at most for groups, after many that were applied together.
const TURNS_FOR_GROUPS_MAX: u64 = 4;

/// Turns that it has at once at most for rows: what one group leaves behind that is as large as single
/// changes make it.
const TURNS_MAX: u64 = 16;

/// What was applied and gave the background no turn.
#[derive(Debug, Default)]
pub(super) struct Earned {
    /// Groups since the last turn.
    groups: u64,
    /// Rows since it had nothing to do, less those of its turns.
    rows: u64,
}

impl Earned {
    /// Notes groups that were applied together, and how many rows all of them have.
    pub(super) fn note(&mut self, groups: usize, rows: u64) {
        self.groups = self.groups.saturating_add(u64::try_from(groups).unwrap_or(u64::MAX));
        // Beyond that a long backlog would hold up the groups of a time in which little happens.
        self.rows = self.rows.saturating_add(rows).min(TURNS_MAX * rows_of_a_turn());
    }

    /// Whether groups follow each other.
    pub(super) fn is_busy(&self) -> bool {
        self.groups > 0
    }

    /// Turns that the background may have at once. What it has no turn for now, it has later.
    pub(super) fn turns(&self, has_backlog: bool) -> u64 {
        if !has_backlog {
            return (self.groups / GROUPS_BEFORE_BACKGROUND).min(1);
        }
        let for_groups = (self.groups / GROUPS_BEFORE_BACKLOG).min(TURNS_FOR_GROUPS_MAX);
        for_groups.max(self.rows / rows_of_a_turn()).min(TURNS_MAX)
    }

    /// Notes a turn, earned or in an idle moment.
    pub(super) fn take_turn(&mut self) {
        self.groups = 0;
        self.rows = self.rows.saturating_sub(rows_of_a_turn());
    }

    /// Notes that nothing is left to be done: what rows left behind was taken up.
    pub(super) fn settle(&mut self) {
        self.rows = 0;
    }
}

fn rows_of_a_turn() -> u64 {
    u64::try_from(BACKGROUND_ROWS_MAX).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::GROUP_CHANGES_MAX;

    /// Has all turns that are due; tells how many.
    fn take_all(earned: &mut Earned) -> u64 {
        let turns = earned.turns(true);
        (0..turns).for_each(|_| earned.take_turn());
        turns
    }

    #[test]
    fn a_few_groups_in_a_row_earn_a_turn_and_fewer_while_there_is_a_backlog() {
        let mut earned = Earned::default();
        earned.note(7, 7);
        assert_eq!((earned.turns(false), earned.turns(true)), (0, 3));
        earned.note(93, 93);
        assert_eq!((earned.turns(false), earned.turns(true)), (1, 4));
        earned.take_turn();
        assert!(!earned.is_busy());
        assert_eq!((earned.turns(false), earned.turns(true)), (0, 0));
    }

    #[test]
    fn a_group_of_single_changes_earns_as_many_turns_as_take_up_what_it_leaves() {
        let mut earned = Earned::default();
        let rows = u64::try_from(GROUP_CHANGES_MAX).unwrap();
        for _ in 0..10 {
            earned.note(1, rows);
            assert_eq!(take_all(&mut earned) * rows_of_a_turn(), rows);
        }
    }

    #[test]
    fn rows_without_a_turn_are_kept_for_the_next_time() {
        let mut earned = Earned::default();
        let part = rows_of_a_turn() * 3 / 4;
        let turns: Vec<u64> = (0..6)
            .map(|_| {
                earned.note(1, part);
                take_all(&mut earned)
            })
            .collect();
        assert_eq!(turns, [0, 1, 1, 1, 0, 1]);
        // No more than there are at once.
        earned.note(1, rows_of_a_turn() * (2 * TURNS_MAX + 3));
        let turns = [0; 2].map(|_| {
            earned.note(1, 0);
            take_all(&mut earned)
        });
        assert_eq!(turns, [TURNS_MAX, 0]);
    }

    #[test]
    fn turns_that_were_cut_short_are_due_again() {
        let mut earned = Earned::default();
        earned.note(1, rows_of_a_turn() * 5);
        earned.take_turn();
        assert_eq!(earned.turns(true), 4);
    }

    #[test]
    fn nothing_is_owed_once_nothing_is_left_to_be_done() {
        let mut earned = Earned::default();
        earned.note(1, rows_of_a_turn() * 100);
        earned.take_turn();
        earned.settle();
        assert_eq!((earned.turns(true), earned.turns(false)), (0, 0));
    }
}
