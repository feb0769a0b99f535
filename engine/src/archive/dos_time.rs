//! Times as zip archives hold them: those of DOS, here always in UTC.

use crate::model::Timestamp;

/// A time as DOS wrote it, in UTC and steps of two seconds: (date, time).
///
/// The first and last moments that it can say stand for all before and after.
pub(super) fn dos_date_time(at: Timestamp) -> (u16, u16) {
    const FIRST: i64 = 315_532_800; // 1980-01-01T00:00:00Z
    const LAST: i64 = 4_354_819_199; // 2107-12-31T23:59:59Z
    let seconds = at.0.div_euclid(1_000_000).clamp(FIRST, LAST);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_date(days);
    let date = ((year - 1980) << 9) | (month << 5) | day;
    let time = ((second / 3600) << 11) | ((second / 60 % 60) << 5) | (second % 60 / 2);
    let field = |value: i64| u16::try_from(value).unwrap_or(0);
    (field(date), field(time))
}

/// Year, month and day of a day since 1970-01-01, which must not lie before it.
///
/// Counts in years that begin in March, so that the leap day is the last one of its year.
fn civil_date(days: i64) -> (i64, i64, i64) {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let since_march_0000 = days + 719_468;
    let era = since_march_0000 / DAYS_OF_400_YEARS;
    let day_of_era = since_march_0000 % DAYS_OF_400_YEARS;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = 400 * era + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_clamped_to_what_dos_knows() {
        let fields = |seconds: i64| {
            let (date, time) = dos_date_time(Timestamp(seconds * 1_000_000 + 999_999));
            let day = (1980 + (date >> 9), date >> 5 & 15, date & 31);
            (day, (time >> 11, time >> 5 & 63, (time & 31) * 2))
        };
        assert_eq!(fields(1_709_210_096), ((2024, 2, 29), (12, 34, 56)));
        assert_eq!(fields(951_868_799), ((2000, 2, 29), (23, 59, 58)));
        assert_eq!(fields(951_868_800), ((2000, 3, 1), (0, 0, 0)));
        for before in [i64::MIN / 1_000_000, -1, 0, 315_532_799, 315_532_800] {
            assert_eq!(fields(before), ((1980, 1, 1), (0, 0, 0)));
        }
        for after in [4_354_819_199, i64::MAX / 1_000_000 - 1] {
            assert_eq!(fields(after), ((2107, 12, 31), (23, 59, 58)));
        }
    }
}
