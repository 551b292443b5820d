//! Wall time as text, in the three forms that clients read. Proleptic Gregorian calendar, UTC.

use nacolet_model::WallTime;

/// `1970-01-01T00:00:00.000+00:00`: the form of Jackson, used in error bodies and history.
pub(crate) fn iso8601(time: WallTime) -> String {
    let (date, seconds) = split(time);
    let (year, month, day) = civil(date);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let millis = time.as_millis() % 1_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}+00:00")
}

/// `19700101000000`: the form in names of exported files.
pub(crate) fn compact(time: WallTime) -> String {
    let (date, seconds) = split(time);
    let (year, month, day) = civil(date);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// `Thu, 01 Jan 1970 00:00:00 GMT`: the form of HTTP headers (RFC 9110 §5.6.7). Every read of a
/// config carries one, so it is written in place.
pub(crate) fn http_date(time: WallTime) -> [u8; 29] {
    const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    // The format ends with the year 9999.
    let (days, seconds) = split(WallTime(time.as_millis().min(253_402_300_799_000)));
    let (year, month, day) = civil(days);
    let mut text = *b"---, -- --- ---- --:--:-- GMT";
    let name = |names: &[u8], number: u64| {
        let from = usize::try_from(number * 3).unwrap_or_default();
        [names[from], names[from + 1], names[from + 2]]
    };
    text[..3].copy_from_slice(&name(DAYS, days % 7));
    text[5..7].copy_from_slice(&two(day));
    text[8..11].copy_from_slice(&name(MONTHS, month - 1));
    text[12..14].copy_from_slice(&two(year / 100));
    text[14..16].copy_from_slice(&two(year));
    text[17..19].copy_from_slice(&two(seconds / 3_600));
    text[20..22].copy_from_slice(&two(seconds / 60 % 60));
    text[23..25].copy_from_slice(&two(seconds % 60));
    text
}

/// The last two decimal digits of a number.
fn two(number: u64) -> [u8; 2] {
    let digit = |number: u64| b'0' + u8::try_from(number % 10).unwrap_or_default();
    [digit(number / 10), digit(number)]
}

/// Days since 1970 and seconds of the day.
fn split(time: WallTime) -> (u64, u64) {
    let seconds = time.as_millis() / 1_000;
    (seconds / 86_400, seconds % 86_400)
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant, "chrono-compatible low-level
/// date algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_written_in_three_forms() {
        let time = WallTime(1_709_210_096_789); // 2024-02-29, a leap day
        assert_eq!(iso8601(time), "2024-02-29T12:34:56.789+00:00");
        assert_eq!(compact(time), "20240229123456");
        assert_eq!(&http_date(time), b"Thu, 29 Feb 2024 12:34:56 GMT");
        assert_eq!(&http_date(WallTime(0)), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&http_date(WallTime(1_732_233_600_000)), b"Fri, 22 Nov 2024 00:00:00 GMT");
        assert_eq!(iso8601(WallTime(0)), "1970-01-01T00:00:00.000+00:00");
    }

    #[test]
    fn any_wall_time_can_be_written() {
        for time in [u64::MAX, u64::MAX - 1, 253_402_300_800_000] {
            let time = WallTime(time);
            assert!(!iso8601(time).is_empty() && !compact(time).is_empty());
            assert!(http_date(time).is_ascii());
        }
    }
}
