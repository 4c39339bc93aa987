//! A moment: RFC 3339 in UTC with milliseconds, everywhere.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A moment in UTC, exact to the millisecond; displays and serialises as `2026-11-24T05:00:00.000Z`.
///
/// The text sorts as the time does, so that it can be an index key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The text is not a moment in RFC 3339.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a time in RFC 3339, such as 2026-11-24T05:00:00.000Z")]
pub struct NotATime(String);

impl Timestamp {
    /// Milliseconds since 1970; clamped to the years that RFC 3339 can spell.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        // 0001-01-01 to 9999-12-31.
        Self(millis.clamp(-62_135_596_800_000, 253_402_300_799_999))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, as DynamoDB's TTL wants them.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Reads RFC 3339 with any offset.
    pub fn parse(text: &str) -> Result<Self, NotATime> {
        let moment: jiff::Timestamp = text.parse().map_err(|_| NotATime(text.chars().take(64).collect()))?;
        Ok(Self::from_millis(moment.as_millisecond()))
    }

    /// This moment and so many milliseconds more; saturates.
    #[must_use]
    pub fn plus_ms(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// This moment and so many minutes more; saturates.
    #[must_use]
    pub fn plus_minutes(self, minutes: i64) -> Self {
        self.plus_ms(minutes.saturating_mul(60_000))
    }

    /// This moment and so many hours more; saturates.
    #[must_use]
    pub fn plus_hours(self, hours: i64) -> Self {
        self.plus_ms(hours.saturating_mul(3_600_000))
    }

    /// When its month began, in UTC.
    #[must_use]
    pub fn month_start(self) -> Self {
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let first = moment.to_zoned(jiff::tz::TimeZone::UTC).first_of_month().and_then(|day| day.start_of_day());
        first.map_or(self, |first| Self::from_millis(first.timestamp().as_millisecond()))
    }

    /// Milliseconds from `earlier` to this moment; negative when `earlier` is later.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{moment:.3}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_any_offset_and_writes_utc_with_milliseconds() {
        let check = |input: &str, expected: &str| assert_eq!(Timestamp::parse(input).unwrap().to_string(), expected);
        check("2026-11-24T05:00:00Z", "2026-11-24T05:00:00.000Z");
        check("2026-11-24T06:00:00.1239+01:00", "2026-11-24T05:00:00.123Z");
        check("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_not_a_time_is_an_error_that_names_it() {
        assert!(Timestamp::parse("yesterday").unwrap_err().to_string().contains("yesterday"));
    }

    #[test]
    fn extremes_saturate() {
        let _ = Timestamp::from_millis(i64::MAX).plus_hours(i64::MAX).to_string();
        let _ = Timestamp::from_millis(i64::MIN).to_string();
    }
}
