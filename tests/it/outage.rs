//! Every source is down, in every way: whatever comes in is unknown because of it, goes to people where it matters, and nothing
//! is called benign.

use std::collections::BTreeSet;

use ioc::ObservableType;
use playbook::{assessment::Route, outcome::Judgement, verdict::Reason};
use serde_json::{Value, json};

use crate::world::{Down, World, fixture};

/// The twelve sources that are on as shipped, and two more.
const SOURCES: usize = 14;

async fn down(way: Down) -> World {
    let more = json!({"providers": {"crtsh": {"enabled": true}, "greynoise": {"verified": "recorded"}}});
    let world = World::with_manifests("{}", &more).await;
    world.take_down(way);
    world
}

/// What `GuardDuty` says of an address, by its own severity.
fn finding(severity: u8) -> Value {
    json!({
        "id": "6a1f3c1e-0000-4000-8000-000000000001", "source": "aws.guardduty", "detail-type": "GuardDuty Finding",
        "account": "000000000000", "region": "eu-west-1", "time": "2026-11-24T04:59:00Z",
        "detail": {
            "id": "c0c0c0c0", "region": "eu-west-1", "severity": severity, "title": "An API was called from an address.",
            "updatedAt": "2026-11-24T04:58:12.408Z",
            "service": {"action": {"actionType": "AWS_API_CALL", "awsApiCallAction": {
                "api": "GetObject", "remoteIpDetails": {"ipAddressV4": "198.51.100.30"}
            }}},
        },
    })
}

/// Takes the incident of a message to its verdicts; the sources that were asked in vain.
async fn judged(world: &World, message: &str, route: Route, about: &str) -> BTreeSet<String> {
    let extracted = world.extract(&world.admit(message).await).await;
    let enriched = world.enrich(&extracted).await;
    let assessed = world.assess(&extracted.incident_id).await;
    assert_eq!(assessed.route, route, "{about}");

    let assessment = world.assessment(&extracted.incident_id).await;
    let asked: Vec<_> = assessment.observables.iter().filter(|judged| judged.sighted.withheld.is_none()).collect();
    let asked_of = |kind| asked.iter().filter(|judged| judged.sighted.observable.kind() == kind).count();
    assert!(asked.len() > asked_of(ObservableType::EmailAddr), "{about}");
    for judged in &asked {
        let (observable, concluded) = (&judged.sighted.observable, &judged.conclusion);
        assert_eq!(concluded.verdict, Judgement::Unknown, "{about}: {observable}");
        // Nobody is asked about addresses of people.
        if observable.kind() != ObservableType::EmailAddr {
            assert_eq!(concluded.reason, Some(Reason::Degraded), "{about}: {observable}");
            assert!(concluded.degraded, "{about}: {observable}");
        }
    }
    let degraded: usize = enriched.iter().map(|chunk| chunk.degraded).sum();
    assert_eq!(degraded, asked.len() - asked_of(ObservableType::EmailAddr), "{about}");
    world.failed_sources(&extracted.incident_id).await
}

#[tokio::test]
async fn with_all_sources_down_everything_is_unknown_and_nothing_is_benign() {
    for way in Down::ALL {
        let world = down(way).await;
        let message = world.receive_mail(&fixture("phish.eml")).await;
        // Somebody has reported the mail.
        let failed = judged(&world, &message, Route::NeedsData, &format!("mail, {way:?}")).await;
        assert_eq!(failed.len(), SOURCES, "{way:?}: {failed:?}");

        for (severity, route) in [(2, Route::Provisional), (8, Route::NeedsData)] {
            let world = down(way).await;
            let message = world.receive_event(finding(severity)).await;
            judged(&world, &message, route, &format!("alert of severity {severity}, {way:?}")).await;
        }
    }
}
