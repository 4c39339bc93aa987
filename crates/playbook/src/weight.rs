//! The weight of an opinion: its grade, decayed by its age.

use ioc::ObservableType;

use crate::{Timestamp, outcome::Grade};

/// τ in days and δ of the decay `1 − (t/τ)^(1/δ)` for a type; DESIGN: after Mokaddem et al., "Taxonomy driven indicator scoring in MISP threat intelligence platforms" (2019).
#[must_use]
pub const fn decay(kind: ObservableType) -> (f64, f64) {
    match kind {
        ObservableType::Ipv4Addr | ObservableType::Ipv6Addr | ObservableType::Url => (47.0, 1.65),
        ObservableType::DomainName | ObservableType::EmailAddr => (300.0, 2.1),
        ObservableType::File => (460.0, 0.9),
    }
}

/// The weight in hundredths, 0–10,000, rounded once. Age counts in whole hours: what was seen within the hour is fresh, so
/// that the seconds of a lookup decide nothing. An age below zero counts as fresh, one beyond τ as nothing.
#[must_use]
pub fn hundredths(grade: Grade, kind: ObservableType, seen: Timestamp, now: Timestamp) -> u32 {
    let (tau_days, delta) = decay(kind);
    #[expect(clippy::cast_precision_loss, reason = "the hours of 8,000 years fit into 53 bits")]
    let age_days = (now.ms_since(seen).max(0) / 3_600_000) as f64 / 24.0;
    let freshness = if age_days >= tau_days { 0.0 } else { 1.0 - libm::pow(age_days / tau_days, 1.0 / delta) };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "freshness is within 0 and 1")]
    let rounded = libm::round(f64::from(grade.weight()) * 100.0 * freshness) as u32;
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_decays_by_type() {
        let check = |grade, kind, age_days: i64, expected| {
            let now = Timestamp::from_millis(1_800_000_000_000);
            assert_eq!(
                hundredths(grade, kind, now.plus_hours(-24 * age_days), now),
                expected,
                "{kind} after {age_days} d"
            );
        };
        check(Grade::A, ObservableType::Url, 0, 10_000);
        check(Grade::A, ObservableType::Url, -5, 10_000);
        let now = Timestamp::from_millis(1_800_000_000_000);
        assert_eq!(hundredths(Grade::C, ObservableType::Url, now.plus_minutes(-59), now), 5_000);
        check(Grade::A, ObservableType::Url, 47, 0);
        check(Grade::C, ObservableType::Ipv4Addr, 2, 4_262);
        check(Grade::B, ObservableType::DomainName, 30, 4_995);
        check(Grade::A, ObservableType::File, 1_095, 0);
        check(Grade::E, ObservableType::File, 0, 0);
    }

    #[test]
    fn weight_never_grows_with_age() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        for kind in ObservableType::ALL {
            let weights: Vec<u32> =
                (0..500).map(|d| hundredths(Grade::A, kind, now.plus_hours(-24 * d), now)).collect();
            assert!(weights.windows(2).all(|pair| pair[0] >= pair[1]), "{kind}");
        }
    }
}
