//! Everything shown is hostile: it never becomes a tag, a link or something hidden.

use std::collections::BTreeSet;

use ioc::{Observable, ObservableType};
use playbook::{
    assessment::Assessment,
    brief::sample,
    decision::{Decision, Question, Round},
    incident::Run,
    plan::Entry,
    rows::Write,
    ticket::Ticket,
};
use serde_json::json;

use crate::world::{Answer, Browser, ORIGIN, Team};

const PAYLOADS: [&str; 44] = [
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</style><svg onload=alert(1)>",
    "\"><img src=x onerror=alert(1)>",
    "'><img src=x onerror=alert(1)>",
    "<img src=//evil.example/x.png>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<math><mi//xlink:href=\"data:x,<script>alert(1)</script>\">",
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data=//evil.example>",
    "<embed src=//evil.example>",
    "<form action=//evil.example><button>Approve</button></form>",
    "<input name=choice value=approved checked>",
    "<a href=https://evil.example>click</a>",
    "<a href=javascript:alert(1)>click</a>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)>",
    "<marquee onstart=alert(1)>",
    "<style>@import '//evil.example/x.css';</style>",
    "<!--<img src=\"--><img src=x onerror=alert(1)//\">",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
    "<template><script>alert(1)</script></template>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "\u{0}<scr\u{0}ipt>alert(1)</script>",
    "{{ 7 * 7 }}",
    "{% include \"base.html\" %}",
    "${7*7}#{7*7}<%= 7*7 %>",
    "\" autofocus onfocus=alert(1) x=\"",
    "` onmouseover=alert(1) `",
    "https://evil.example/live",
    "www.evil.example and evil.example and eve@evil.example",
    "mailto:eve@evil.example ftp://evil.example",
    "\u{202e}elpmaxe.live//:sptth",
    "line one\r\nSubject: forged\r\n\r\nbody",
    "java\u{200b}script:alert(1) \u{feff}\u{2066}hidden\u{2069}",
];

fn poisoned(payload: &str) -> Assessment {
    let mut assessment = sample::assessment().unwrap();
    let text = payload.to_owned();
    assessment.subject.clone_from(&text);
    assessment.severity_terms.push(text.clone());
    assessment.failed.push(text.clone());
    assessment.omissions[0].place.clone_from(&text);
    assessment.omissions[0].reason.clone_from(&text);
    for assessed in &mut assessment.observables {
        assessed.sighted.places.push(format!("attachment:{text}"));
        assessed.guarded = Some(text.clone());
        assessed.conclusion.failed.push(text.clone());
        for opinion in &mut assessed.conclusion.opinions {
            opinion.family.clone_from(&text);
        }
        for said in &mut assessed.evidence {
            said.text = Some(text.clone());
            said.reason = Some(text.clone());
            said.verdict = Some(text.clone());
            said.provider.clone_from(&text);
            said.outcome.clone_from(&text);
            said.permalink = Some(format!("https://evil.example/{text}"));
        }
    }
    for entry in &mut assessment.plan.entries {
        entry.target.clone_from(&text);
    }
    for related in &mut assessment.related {
        related.observables = vec![text.clone(), format!("url#{text}")];
    }
    let recorded = Entry { act: "record".to_owned(), ticked: false, ..assessment.plan.entries[0].clone() };
    assessment.plan.entries[2].refused = Some(text);
    assessment.plan.entries.push(recorded);
    assessment
}

/// What others have left on the record: a ticket, a refusal, a round before, a decision of an earlier run.
async fn poison_the_record(team: &Team, payload: &str) {
    let id = &team.assessment.incident_id;
    let ticket = json!({
        "schema": "ticket/1", "target": payload, "owner": "", "claimed_at": sample::ASSESSED_AT,
        "external_id": payload, "permalink": format!("https://evil.example/{payload}"),
    });
    let recorded = team.assessment.plan.at_once().next().unwrap();
    let refused = json!([{"observable": recorded.observable.key(), "target": recorded.target, "reason": payload}]);
    let earlier = Round { round: 0, asked: vec![payload.to_owned()], ..team.round().await };
    let decided = json!({
        "schema": "decision/1", "choice": "rejected", "by": payload, "authenticated_by": "mailbox",
        "at": sample::ASSESSED_AT, "reason": payload, "shown_digest": "", "plan_digest": "", "indicators": [],
    });
    for write in [
        Write::put(Ticket::key(id, "jira"), &ticket),
        Write::set(Run::key(id, 1), &json!({"refused": refused})),
        Write::put(Round::key(id, 1, 0), &earlier),
        Write::put(Decision::key(id, 0, 1), &decided),
    ] {
        team.change(write.unwrap()).await;
    }
}

/// Tags with their attributes' names: what a page is made of, whatever it says.
fn shape(answer: &Answer) -> BTreeSet<String> {
    let document = answer.document();
    let elements = document.root_element().descendants().filter_map(scraper::ElementRef::wrap);
    elements
        .map(|element| {
            let names: BTreeSet<&str> = element.value().attrs().map(|(name, _)| name).collect();
            format!("{} {names:?}", element.value().name())
        })
        .collect()
}

fn check_links(answer: &Answer) {
    for element in answer.document().root_element().descendants().filter_map(scraper::ElementRef::wrap) {
        for name in ["href", "src", "action", "formaction", "data"] {
            if let Some(value) = element.value().attr(name) {
                assert!(value.starts_with('#') || value.starts_with(&format!("{ORIGIN}/")), "{name}={value}");
            }
        }
    }
    let text = answer.html.replace(ORIGIN, "");
    for live in
        ["https://", "http://", "ftp://", "evil.example", "@evil", "\u{202e}", "\u{200b}", "\u{2066}", "\u{feff}"]
    {
        assert!(!text.contains(live), "{live:?} is live in the page");
    }
}

#[tokio::test]
async fn no_text_from_outside_becomes_a_tag_or_a_link() {
    let team = Team::asking(poisoned("plain"), Question::ApprovePlan).await;
    poison_the_record(&team, "plain").await;
    let plain = shape(&Browser::of(&team, 1).open().await);
    assert!(!plain.iter().any(|tag| tag.starts_with("script") || tag.contains("\"on")));
    for payload in PAYLOADS {
        let team = Team::asking(poisoned(payload), Question::ApprovePlan).await;
        poison_the_record(&team, payload).await;
        let mut browser = Browser::of(&team, 1);
        let page = browser.open().await;
        check_links(&page);
        assert_eq!(shape(&page), plain, "{payload:?}");

        // What the person types comes back, too, but only in the one field.
        let again = browser.decide(payload, payload, payload).await;
        let more: Vec<_> = shape(&again).difference(&plain).cloned().collect();
        let ours = ["p {\"class\", \"role\"}", "a {\"href\"}"];
        assert!(more.iter().all(|tag| ours.contains(&tag.as_str())), "{payload:?}: {more:?}");

        browser.ask(sample::APPROVER).await;
        let mail = team.outbox.mails.borrow().last().unwrap().clone();
        let code = team.newest_code();
        assert!(!mail.subject.contains(['\r', '\n']), "{payload:?}");
        assert_eq!(browser.decide("approved", payload, &code).await.status, http::StatusCode::SEE_OTHER);
        let receipt = browser.open().await;
        check_links(&receipt);
        assert!(!shape(&receipt).iter().any(|tag| tag.starts_with("script") || tag.starts_with("img")));
    }
}

#[tokio::test]
async fn a_hostile_indicator_is_shown_whole_and_dead() {
    let mut assessment = sample::assessment().unwrap();
    let long = format!("https://evil.example/{}'\"<b>", "a".repeat(900));
    let hostile = Observable::parse(ObservableType::Url, &long).unwrap();
    assessment.observables[0].sighted.observable = hostile.clone();
    assessment.plan.entries[0].observable = hostile.clone();
    let team = Team::asking(assessment, Question::ApprovePlan).await;
    let page = Browser::of(&team, 1).open().await;
    check_links(&page);
    assert!(page.text().contains(&hostile.defanged()));
}
