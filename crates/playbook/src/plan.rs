//! The plan: what would be written where, for how long, and what must not be.

use ioc::{Observable, ObservableType};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Fault, IncidentId, Timestamp,
    assessment::Basis,
    canonical,
    guard::Guard,
    incident::Kind,
    mapping::Expression,
    outcome::Judgement,
    policy::{Act, Policy},
    target::{Effect, Target},
    verdict::Verdict,
};

/// Families that must agree before anything is enforced without a person.
const AGREEING_FAMILIES: u32 = 2;
/// Hours that an entry lives which no person has confirmed.
pub const AUTOMATIC_HOURS: u32 = 12;

/// One indicator at one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What.
    #[serde(flatten)]
    pub observable: Observable,
    /// Where: the target's id.
    pub target: String,
    /// `record` or `detect`: at once. `enforce`: after approval. `offer`: enforced only when a person ticks it.
    pub act: String,
    /// How long it stays after it is written; of an automatic one, after a person has confirmed it.
    pub lifetime_hours: u32,
    /// When it would leave if it were written at the time of the assessment.
    pub expires_at: Timestamp,
    /// Whether approval takes it unless a person unticks it; contradictions have to be ticked.
    pub ticked: bool,
    /// Whether it is enforced before a person has decided, for twelve hours at most.
    #[serde(default)]
    pub automatic: bool,
    /// Why one person cannot approve it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<String>,
    /// Why it is not written whatever is approved.
    #[serde(default)]
    pub refused: Option<String>,
}

impl Entry {
    /// Hours that it lives before a person has confirmed it.
    #[must_use]
    pub fn unconfirmed_hours(&self) -> u32 {
        self.lifetime_hours.min(AUTOMATIC_HOURS)
    }

    /// Whether a person may approve it.
    #[must_use]
    pub fn asks(&self) -> bool {
        matches!(self.act.as_str(), "enforce" | "offer")
    }
}

/// Everything that would be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order of observables, then targets.
    pub entries: Vec<Entry>,
}

impl Plan {
    /// The plan for these verdicts. Malicious is recorded, detected and enforced; suspicious is detected; a contradiction is
    /// offered unticked; guarded is refused everywhere. The flag of a verdict says that a provider calls it phishing.
    #[must_use]
    pub fn make(
        verdicts: &[(Observable, Verdict, bool)],
        policy: &Policy,
        targets: &[&Target],
        guard: &Guard,
        (incident_id, basis, participants): (&IncidentId, &Basis, &[String]),
        now: Timestamp,
    ) -> Self {
        let mut entries = vec![];
        // What is asked for and what is written at once are capped apart: one never uses up the other.
        let (mut asked, mut at_once) = (0, 0);
        for (observable, verdict, is_phishing) in verdicts {
            let guarded = guard.check(observable).map(|guarded| guarded.reason);
            let second = second(observable, policy, basis, participants);
            for target in targets.iter().filter(|t| t.off_reason().is_none() && t.types.contains(&observable.kind())) {
                let when = policy.enforce.targets.get(&target.id);
                let Some(act) = act(target.effect, verdict, when) else { continue };
                let counted = if matches!(act, "record" | "detect") { &mut at_once } else { &mut asked };
                let refused = guarded.clone().or_else(|| over_cap(counted, policy.enforce.caps.per_incident));
                let automatic = act == "enforce"
                    && refused.is_none()
                    && second.is_none()
                    && when.is_some_and(|when| is_automatic(when, observable, verdict, (incident_id, basis)));
                let lifetime_hours = lifetime_hours(policy, observable.kind(), *is_phishing);
                let hours = if automatic { lifetime_hours.min(AUTOMATIC_HOURS) } else { lifetime_hours };
                entries.push(Entry {
                    observable: observable.clone(),
                    target: target.id.clone(),
                    act: act.to_owned(),
                    lifetime_hours,
                    expires_at: now.plus_hours(i64::from(hours)),
                    ticked: act == "enforce" && refused.is_none(),
                    automatic,
                    second: second.clone().filter(|_| !matches!(act, "record" | "detect")),
                    refused,
                });
            }
        }
        Self { entries }
    }

    /// SHA-256 over what would be written. Times are left out: the same plan an hour later is the same plan.
    pub fn digest(&self) -> Result<String, Fault> {
        let acts: Vec<Value> = self
            .entries
            .iter()
            .map(|e| {
                let mut act = json!({
                    "observable": e.observable.key(), "target": e.target, "act": e.act,
                    "lifetime_hours": e.lifetime_hours, "ticked": e.ticked, "refused": e.refused,
                });
                // Only where it says something: plans that wait for a decision keep the digest that was shown.
                if e.automatic {
                    act["automatic"] = true.into();
                }
                if e.second.is_some() {
                    act["second"] = json!(e.second);
                }
                act
            })
            .collect();
        canonical::digest(&acts)
    }

    /// The entries that a person may approve.
    pub fn open(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.asks() && entry.refused.is_none())
    }

    /// The entries that are written at once, because they block nothing.
    pub fn at_once(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.asks() && entry.refused.is_none())
    }

    /// Whether anything is enforced before a person has decided.
    #[must_use]
    pub fn acts_automatically(&self) -> bool {
        self.open().any(|entry| entry.automatic)
    }
}

/// What a target of this effect does with this verdict; `None`: nothing.
fn act(effect: Effect, verdict: &Verdict, when: Option<&Act>) -> Option<&'static str> {
    if when == Some(&Act::Never) {
        return None;
    }
    let is_malicious = verdict.verdict == Judgement::Malicious;
    let is_contradiction = verdict.is_contradiction();
    match effect {
        Effect::Records => is_malicious.then_some("record"),
        Effect::Detects => (verdict.is_bad() && !is_contradiction).then_some("detect"),
        // What blocks has to be named by the policy.
        Effect::Enforces if when.is_none() => None,
        Effect::Enforces if is_contradiction => Some("offer"),
        Effect::Enforces => is_malicious.then_some("enforce"),
        Effect::Tickets | Effect::Notifies => None,
    }
}

/// Why one person cannot approve this alone: it names something of ours, or more than one address.
fn second(observable: &Observable, policy: &Policy, basis: &Basis, participants: &[String]) -> Option<String> {
    let value = observable.value();
    let host = observable.host();
    let names = [Some(value), host.as_ref().map(Observable::value)];
    let is_address = matches!(observable.kind(), ObservableType::Ipv4Addr | ObservableType::Ipv6Addr);
    if is_address && value.contains('/') {
        return Some("it is a network, not one address".to_owned());
    }
    if names.into_iter().flatten().any(|name| policy.critical.names(name)) {
        return Some("policy calls it critical".to_owned());
    }
    // Of a mail the participants are strangers, too.
    let is_asset = |name: &str| participants.iter().any(|asset| asset.trim().eq_ignore_ascii_case(name));
    let is_ours = basis.kind == Kind::Alert && names.into_iter().flatten().any(is_asset);
    is_ours.then(|| "it is an asset of ours in this alert".to_owned())
}

/// Counts an entry; the reason when there are too many.
fn over_cap(counted: &mut usize, cap: usize) -> Option<String> {
    *counted += 1;
    (*counted > cap).then(|| format!("over the cap of {cap} entries an incident"))
}

/// Whether policy enforces it without a person. A condition that cannot be read or does not hold waits for one.
fn is_automatic(
    when: &Act,
    observable: &Observable,
    verdict: &Verdict,
    (incident_id, basis): (&IncidentId, &Basis),
) -> bool {
    if verdict.is_contradiction() || verdict.sums.malicious_families < AGREEING_FAMILIES {
        return false;
    }
    match when {
        Act::Automatically => true,
        Act::AutomaticallyIf(condition) => {
            let document = json!({
                "observable": {"type": observable.kind(), "value": observable.value()},
                "verdict": verdict,
                "incident": {
                    "incident_id": incident_id, "tenant": basis.tenant, "kind": basis.kind,
                    "source": basis.source, "severity": basis.severity,
                },
            });
            Expression::compile(condition)
                .and_then(|condition| condition.evaluate(&document))
                .is_ok_and(|value| value == Value::Bool(true))
        }
        Act::AfterApproval | Act::Never => false,
    }
}

fn lifetime_hours(policy: &Policy, kind: ObservableType, is_phishing: bool) -> u32 {
    if kind == ObservableType::DomainName && is_phishing {
        return policy.enforce.phishing_domain_hours;
    }
    policy.enforce.lifetime_hours.get(&kind).copied().unwrap_or(24)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        incident::Kind,
        severity::Severity,
        verdict::{Coverage, Reason, Sums},
    };

    fn verdict(judgement: Judgement, reason: Option<Reason>) -> Verdict {
        Verdict {
            verdict: judgement,
            reason,
            degraded: false,
            confidence: 100,
            coverage: Coverage::default(),
            rule: 3,
            sums: Sums::default(),
            opinions: vec![],
            failed: vec![],
        }
    }

    const TARGETS: [(&str, Effect); 4] = [
        ("board", Effect::Tickets),
        ("database", Effect::Records),
        ("served-list", Effect::Enforces),
        ("watchlist", Effect::Detects),
    ];

    fn targets() -> Vec<Target> {
        let shipped = include_str!("../../../playbook/targets/served-list.yaml");
        let target: Target = serde_saphyr::from_str(shipped).unwrap();
        TARGETS.map(|(id, effect)| Target { id: id.to_owned(), effect, ..target.clone() }).to_vec()
    }

    fn basis() -> Basis {
        Basis {
            tenant: "default".to_owned(),
            kind: Kind::Alert,
            source: "splunk".to_owned(),
            received_at: None,
            tlp: crate::manifest::Tlp::Amber,
            severity: Severity::High,
            was_allowed: None,
            incomplete: false,
            pinned: None,
        }
    }

    fn plan_if(verdicts: &[(Observable, Verdict, bool)], when: &[(&str, Act)]) -> Plan {
        plan_of(verdicts, when, &[])
    }

    fn plan_of(verdicts: &[(Observable, Verdict, bool)], when: &[(&str, Act)], participants: &[String]) -> Plan {
        let mut policy: Policy = serde_saphyr::from_str(include_str!("../../../playbook/policy.yaml")).unwrap();
        policy.guard.documentation_ranges = crate::policy::DocumentationRanges::AsPublic;
        policy.enforce.caps.per_incident = 3;
        policy.critical.assets = vec!["crown*".to_owned()];
        policy.enforce.targets = when.iter().map(|(id, act)| ((*id).to_owned(), act.clone())).collect();
        let targets = targets();
        let now = Timestamp::from_millis(1_800_000_000_000);
        Plan::make(
            verdicts,
            &policy,
            &targets.iter().collect::<Vec<_>>(),
            &Guard::new(&policy, &[]),
            (&IncidentId::of("t", "s", "n"), &basis(), participants),
            now,
        )
    }

    fn plan(verdicts: &[(Observable, Verdict, bool)]) -> Plan {
        plan_if(verdicts, &[("served-list", Act::AfterApproval)])
    }

    fn agreeing(families: u32) -> Verdict {
        let sums = Sums { malicious_families: families, ..Sums::default() };
        Verdict { sums, ..verdict(Judgement::Malicious, None) }
    }

    fn domain(name: &str) -> Observable {
        Observable::parse(ObservableType::DomainName, name).unwrap()
    }

    fn lines(plan: &Plan) -> Vec<String> {
        let line = |e: &Entry| {
            let refused = if e.refused.is_some() { " refused" } else { "" };
            let ticked = if e.ticked { " ticked" } else { "" };
            format!("{} {} {} {}{ticked}{refused}", e.observable.value(), e.act, e.target, e.lifetime_hours)
        };
        plan.entries.iter().map(line).collect()
    }

    #[test]
    fn each_verdict_has_its_acts_and_the_guard_refuses_all_of_them() {
        let plan = plan(&[
            (domain("evil.example"), verdict(Judgement::Malicious, None), true),
            (domain("doubt.example"), verdict(Judgement::Suspicious, Some(Reason::Contradiction)), false),
            (domain("mail.corp.example"), verdict(Judgement::Malicious, None), false),
            (domain("meh.example"), verdict(Judgement::Suspicious, None), false),
            (domain("fine.example"), verdict(Judgement::Benign, None), false),
        ]);
        let expected = [
            "evil.example record database 72",
            "evil.example enforce served-list 72 ticked",
            "evil.example detect watchlist 72",
            "doubt.example offer served-list 720",
            "mail.corp.example record database 720 refused",
            "mail.corp.example enforce served-list 720 refused",
            "mail.corp.example detect watchlist 720 refused",
            "meh.example detect watchlist 720",
        ];
        assert_eq!(lines(&plan), expected);
        assert_eq!((plan.open().count(), plan.at_once().count()), (2, 3));
    }

    #[test]
    fn policy_turns_targets_off_and_has_to_name_those_that_block() {
        let evil = [(domain("evil.example"), agreeing(2), false)];
        let check = |when: &[(&str, Act)], expected: &[&str]| assert_eq!(lines(&plan_if(&evil, when)), expected);
        check(&[], &["evil.example record database 720", "evil.example detect watchlist 720"]);
        check(&[("database", Act::Never), ("watchlist", Act::Never), ("served-list", Act::Never)], &[]);
    }

    #[test]
    fn what_is_written_at_once_does_not_use_up_what_may_be_approved() {
        let many: Vec<_> =
            (0..5).map(|n| (domain(&format!("e{n}.example")), verdict(Judgement::Malicious, None), false)).collect();
        let plan = plan(&many);
        assert_eq!((plan.open().count(), plan.at_once().count()), (3, 3));
    }

    #[test]
    fn two_families_agree_before_anything_is_enforced_without_a_person() {
        let check = |verdict: Verdict, when: Act, expected: bool| {
            let entries = [(domain("evil.example"), verdict, false)];
            let plan = plan_if(&entries, &[("served-list", when.clone())]);
            assert_eq!(plan.acts_automatically(), expected, "{when:?}");
            let hours =
                |entry: &Entry| entry.expires_at.ms_since(Timestamp::from_millis(1_800_000_000_000)) / 3_600_000;
            let enforced = plan.open().next().unwrap();
            assert_eq!((hours(enforced), enforced.lifetime_hours), (if expected { 12 } else { 720 }, 720));
        };
        let condition = |text: &str| Act::AutomaticallyIf(text.to_owned());
        check(agreeing(2), Act::Automatically, true);
        check(agreeing(1), Act::Automatically, false);
        check(agreeing(2), Act::AfterApproval, false);
        let contradiction = Verdict { reason: Some(Reason::Contradiction), ..agreeing(2) };
        check(contradiction, Act::Automatically, false);
        check(agreeing(2), condition("incident.severity = 'high' and verdict.confidence > 90"), true);
        check(agreeing(2), condition("observable.type = 'domain-name' and incident.kind = 'alert'"), true);
        check(agreeing(2), condition("incident.severity = 'critical'"), false);
        check(agreeing(2), condition("verdict.confidence"), false);
        check(agreeing(2), condition("this is ("), false);
        check(agreeing(1), condition("true"), false);
    }

    #[test]
    fn what_is_ours_takes_two_people_and_is_never_enforced_without_one() {
        let participants = ["DC01.partner.example".to_owned()];
        let marked = |observable: Observable| {
            let entries = [(observable, agreeing(2), false)];
            let plan = plan_of(&entries, &[("served-list", Act::Automatically)], &participants);
            assert!(plan.at_once().all(|entry| entry.second.is_none()));
            let entry = plan.open().next().unwrap().clone();
            assert_eq!(entry.second.is_none(), entry.automatic);
            entry.second
        };
        assert_eq!(marked(domain("evil.example")), None);
        assert_eq!(marked(domain("dc01.partner.example")).as_deref(), Some("it is an asset of ours in this alert"));
        assert_eq!(marked(domain("crown-jewels.example")).as_deref(), Some("policy calls it critical"));
        let url = Observable::parse(ObservableType::Url, "https://dc01.partner.example/a").unwrap();
        assert_eq!(marked(url).as_deref(), Some("it is an asset of ours in this alert"));
    }

    #[test]
    fn networks_are_no_observables() {
        // Were they, they would take two people.
        for (kind, text) in [(ObservableType::Ipv4Addr, "192.0.2.0/24"), (ObservableType::Ipv6Addr, "2001:db8::/32")] {
            assert!(Observable::parse(kind, text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_guarded_indicator_is_never_enforced_without_a_person() {
        let entries = [(domain("mail.corp.example"), agreeing(3), false)];
        let plan = plan_if(&entries, &[("served-list", Act::Automatically)]);
        assert!(!plan.acts_automatically());
        assert!(plan.entries.iter().all(|entry| !entry.automatic));
    }

    #[test]
    fn the_same_plan_an_hour_later_has_the_same_digest() {
        let verdicts = [(domain("evil.example"), verdict(Judgement::Malicious, None), false)];
        let one = plan(&verdicts);
        let mut later = one.clone();
        later.entries[0].expires_at = later.entries[0].expires_at.plus_hours(1);
        assert_eq!(one.digest().unwrap(), later.digest().unwrap());
        let changes: [fn(&mut Entry); 4] = [
            |e| e.ticked = !e.ticked,
            |e| e.automatic = true,
            |e| e.act = "detect".to_owned(),
            |e| e.second = Some("ours".to_owned()),
        ];
        for change in changes {
            let mut other = one.clone();
            change(&mut other.entries[0]);
            assert_ne!(one.digest().unwrap(), other.digest().unwrap());
        }
    }
}
