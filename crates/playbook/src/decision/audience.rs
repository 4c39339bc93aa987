//! The audience: who is asked in a round.

use super::Asked;
use crate::{
    Timestamp,
    policy::{Policy, Review},
    severity::Severity,
};

/// Who is asked in a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// One address each; empty when nobody is left who could decide.
    pub asked: Vec<String>,
    /// Addresses that policy names up to this level and that are part of the incident.
    pub skipped: Vec<String>,
    /// Addresses that policy names up to this level and that are away.
    pub away: Vec<String>,
    /// Whether no level follows.
    pub last: bool,
}

/// What the audience depends on besides the policy.
#[derive(Clone, Debug)]
pub struct Asking<'a> {
    /// Addresses that are part of the incident: whoever reported it, too.
    pub participants: &'a [String],
    /// How much the incident matters.
    pub severity: Severity,
    /// The targets that would be written.
    pub targets: Vec<&'a str>,
    /// Whether two people have to agree on some of it.
    pub takes_two: bool,
    /// Whom an author wants to ask.
    pub wanted: Option<&'a Asked>,
    /// The moment: some are away.
    pub now: Timestamp,
}

/// Who is asked in a round: the level of that number, counting only levels in which somebody may decide.
///
/// A mailbox that is part of the incident is skipped, and so is whoever is away, as long as somebody else is left; a level
/// of which nobody is left does not use up a round. Where two have to agree and a level has one, the next is asked with it.
#[must_use]
pub fn audience(policy: &Policy, asking: &Asking<'_>, round: u32) -> Audience {
    let levels = levels(&policy.review, asking);
    let audience = pick(&levels, &policy.review, asking, round, true);
    // Better somebody who is away than nobody.
    let is_nobody = pick(&levels, &policy.review, asking, 1, true).asked.is_empty();
    if is_nobody { pick(&levels, &policy.review, asking, round, false) } else { audience }
}

/// The people of each level that is asked at this severity.
fn levels(review: &Review, asking: &Asking<'_>) -> Vec<Vec<String>> {
    match asking.wanted {
        Some(Asked::Approvers(approvers)) => return vec![approvers.clone()],
        Some(Asked::OwnersOf(target)) => return vec![review.owners.get(target).cloned().unwrap_or_default()],
        Some(Asked::Level(number)) => {
            let index = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
            return vec![review.levels.get(index).map(|level| level.approvers.clone()).unwrap_or_default()];
        }
        None => {}
    }
    let fitting = review.levels.iter().filter(|level| level.severity_from.is_none_or(|from| asking.severity >= from));
    let mut levels: Vec<Vec<String>> = fitting.map(|level| level.approvers.clone()).collect();
    let owners = asking.targets.iter().filter_map(|target| review.owners.get(*target)).flatten();
    match levels.first_mut() {
        // Whoever owns what is written to is asked with the first level.
        Some(first) => first.extend(owners.cloned()),
        None => levels.push(owners.cloned().collect()),
    }
    levels
}

fn pick(levels: &[Vec<String>], review: &Review, asking: &Asking<'_>, round: u32, minds_away: bool) -> Audience {
    let wanted = usize::try_from(round.saturating_sub(1)).unwrap_or(usize::MAX);
    // An author's audience is asked whatever the number of the round is.
    let wanted = if asking.wanted.is_some() { 0 } else { wanted };
    let mut audience = Audience { last: true, ..Audience::default() };
    let mut rounds: Vec<Vec<String>> = vec![];
    for level in levels {
        let mut left = vec![];
        let (mut skipped, mut away) = (vec![], vec![]);
        for address in level {
            let is_away = minds_away.then(|| review.away(address, asking.now)).flatten();
            if is_part_of_incident(asking.participants, address) {
                add_new(&mut skipped, address);
            } else if let Some(absence) = is_away {
                add_new(&mut away, address);
                let stands_in = absence.instead.as_ref();
                let instead = stands_in.filter(|instead| !is_part_of_incident(asking.participants, instead));
                if let Some(instead) = instead.filter(|instead| review.away(instead, asking.now).is_none()) {
                    add_new(&mut left, instead);
                }
            } else {
                add_new(&mut left, address);
            }
        }
        let joins = asking.takes_two && rounds.last().is_some_and(|last| last.len() == 1);
        if rounds.len() <= wanted || (joins && rounds.len() == wanted + 1) {
            add_all(&mut audience.skipped, &skipped);
            add_all(&mut audience.away, &away);
        }
        match rounds.last_mut().filter(|_| joins) {
            Some(last) => add_all(last, &left),
            None if left.is_empty() => {}
            None => rounds.push(left),
        }
    }
    audience.last = rounds.len() <= wanted.saturating_add(1);
    audience.asked = rounds.into_iter().nth(wanted).unwrap_or_default();
    audience
}

fn add_all(addresses: &mut Vec<String>, more: &[String]) {
    for address in more {
        add_new(addresses, address);
    }
}

fn add_new(addresses: &mut Vec<String>, address: &str) {
    if !addresses.iter().any(|known| known.eq_ignore_ascii_case(address)) {
        addresses.push(address.to_owned());
    }
}

/// Whether a mailbox may not decide: when the address, or the mailbox behind its `+tag`, is itself part of the incident.
#[must_use]
pub fn is_part_of_incident(participants: &[String], approver: &str) -> bool {
    participants.iter().any(|address| mailbox(address) == mailbox(approver))
}

/// The mailbox behind an address: lower case, without the `+tag` of RFC 5233.
fn mailbox(address: &str) -> String {
    let address = address.trim().to_ascii_lowercase();
    match address.rsplit_once('@') {
        Some((local, domain)) => {
            let plain = local.split_once('+').map_or(local, |(before, _)| before);
            format!("{}@{domain}", if plain.is_empty() { local } else { plain })
        }
        None => address,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-12-24T05:00:00Z";

    fn policy(review: &Value) -> Policy {
        serde_json::from_value(json!({
            "schema": "policy/1", "own": {}, "required": {}, "review": review,
            "enforce": { "targets": {}, "lifetime_hours": {}, "phishing_domain_hours": 72,
                         "caps": { "per_incident": 50, "per_hour": 200, "per_list": 9000 } },
            "enrich": { "deadline_ms": 1000, "calls": 1, "calls_per_provider": 1 },
        }))
        .unwrap()
    }

    fn asking(participants: &[String]) -> Asking<'_> {
        let now = Timestamp::parse(NOW).unwrap();
        Asking { participants, severity: Severity::High, targets: vec![], takes_two: false, wanted: None, now }
    }

    fn check(levels: &[&[&str]], participants: &[&str], round: u32, asked: &[&str], skipped: &[&str], last: bool) {
        let participants: Vec<String> = participants.iter().map(ToString::to_string).collect();
        let levels: Vec<_> = levels.iter().map(|approvers| json!({ "approvers": approvers })).collect();
        let review = json!({ "levels": levels, "deadline_minutes": {} });
        let audience = audience(&policy(&review), &asking(&participants), round);
        assert_eq!(audience.asked, asked, "asked in round {round} of {levels:?}");
        assert_eq!(audience.skipped, skipped, "skipped in round {round} of {levels:?}");
        assert_eq!(audience.last, last, "last in round {round} of {levels:?}");
    }

    /// Who is asked, a round after the other.
    fn rounds(review: &Value, change: impl Fn(&mut Asking<'_>)) -> Vec<String> {
        let policy = policy(review);
        let mut asking = asking(&[]);
        change(&mut asking);
        let mut rounds = vec![];
        loop {
            let audience = audience(&policy, &asking, u32::try_from(rounds.len()).unwrap() + 1);
            rounds.push(audience.asked.iter().map(|a| a.split('@').next().unwrap()).collect::<Vec<_>>().join(" "));
            if audience.last {
                return rounds;
            }
        }
    }

    #[test]
    fn each_round_asks_the_next_level() {
        let levels: &[&[&str]] = &[&["a@soc.example", "A@soc.example"], &["b@soc.example"]];
        check(levels, &[], 1, &["a@soc.example"], &[], false);
        check(levels, &[], 2, &["b@soc.example"], &[], true);
        check(levels, &[], 3, &[], &[], true);
    }

    #[test]
    fn a_mailbox_that_is_part_of_the_incident_is_skipped_and_an_empty_level_uses_up_no_round() {
        let levels: &[&[&str]] = &[&["a@soc.example"], &["b@soc.example", "c@soc.example"], &["d@soc.example"]];
        check(levels, &["A+phish@SOC.example"], 1, &["b@soc.example", "c@soc.example"], &["a@soc.example"], false);
        check(levels, &["a@soc.example"], 2, &["d@soc.example"], &["a@soc.example"], true);
        check(levels, &["d@soc.example"], 2, &["b@soc.example", "c@soc.example"], &[], true);
    }

    #[test]
    fn nobody_left_is_nobody_asked() {
        check(&[&["a@soc.example"]], &["a@soc.example"], 1, &[], &["a@soc.example"], true);
    }

    #[test]
    fn a_level_may_be_for_what_matters_only_and_owners_are_asked_with_the_first() {
        let review = json!({
            "levels": [{"approvers": ["a@soc.example"]}, {"approvers": ["b@soc.example"], "severity_from": "critical"},
                       {"approvers": ["c@soc.example"]}],
            "owners": {"waf": ["w@corp.example", "a@soc.example"]}, "deadline_minutes": {},
        });
        assert_eq!(rounds(&review, |_| {}), ["a", "c"]);
        assert_eq!(rounds(&review, |asking| asking.severity = Severity::Critical), ["a", "b", "c"]);
        assert_eq!(rounds(&review, |asking| asking.targets = vec!["waf", "other"]), ["a w", "c"]);
    }

    #[test]
    fn whoever_is_away_is_not_asked_as_long_as_somebody_is_left() {
        let away = |who: &str, from: &str, until: &str, instead: Option<&str>| {
            json!({"address": format!("{who}@soc.example"), "from": from, "until": until,
                   "instead": instead.map(|who| format!("{who}@soc.example"))})
        };
        let review = |absences: Vec<Value>| {
            json!({"levels": [{"approvers": ["a@soc.example"]}, {"approvers": ["b@soc.example"]}],
                   "out_of_office": absences, "deadline_minutes": {}})
        };
        let check = |absences: Vec<Value>, expected: &[&str]| assert_eq!(rounds(&review(absences), |_| {}), expected);
        check(vec![away("a", "2026-12-24", "2026-12-31", None)], &["b"]);
        check(vec![away("A", "2026-12-20", "2026-12-24", Some("d"))], &["d", "b"]);
        check(vec![away("a", "2026-12-25", "2026-12-31", None)], &["a", "b"]);
        check(vec![away("a", "2026-12-20", "2026-12-23", None)], &["a", "b"]);
        check(
            vec![away("a", "2026-12-01", "2026-12-31", Some("b")), away("b", "2026-12-01", "2026-12-31", None)],
            &["a", "b"],
        );
    }

    #[test]
    fn where_two_have_to_agree_two_are_asked() {
        let review = |levels: &[&[&str]]| {
            let level = |who: &&[&str]| json!({"approvers": who.iter().map(|w| format!("{w}@soc.example")).collect::<Vec<_>>()});
            json!({"levels": levels.iter().map(level).collect::<Vec<_>>(), "deadline_minutes": {}})
        };
        let two = |asking: &mut Asking<'_>| asking.takes_two = true;
        assert_eq!(rounds(&review(&[&["a"], &["b"], &["c"]]), two), ["a b", "c"]);
        assert_eq!(rounds(&review(&[&["a", "b"], &["c"]]), two), ["a b", "c"]);
        assert_eq!(rounds(&review(&[&["a"]]), two), ["a"]);
    }

    #[test]
    fn an_author_asks_whom_he_names() {
        let review = json!({
            "levels": [{"approvers": ["a@soc.example"]}, {"approvers": ["b@soc.example"]}],
            "owners": {"waf": ["w@corp.example"]}, "deadline_minutes": {},
        });
        let check = |wanted: Asked, expected: &str| {
            let policy = policy(&review);
            let asked = Asking { wanted: Some(&wanted), ..asking(&[]) };
            let audience = audience(&policy, &asked, 3);
            assert_eq!((audience.asked.join(" ").as_str(), audience.last), (expected, true));
        };
        check(Asked::Approvers(vec!["x@soc.example".to_owned()]), "x@soc.example");
        check(Asked::Level(2), "b@soc.example");
        check(Asked::Level(9), "");
        check(Asked::OwnersOf("waf".to_owned()), "w@corp.example");
    }
}
