//! A mail scanner: opens the link of the mail in many sessions, follows every link, presses every button, and types into
//! every field. Nothing of that decides anything, is written anywhere or mails anybody; a person who had asked for a code
//! before decides afterwards.

use std::rc::Rc;

use http::Method;
use playbook::incident::IncidentStatus;
use serde_json::Value;
use url::Url;

use crate::emulator::{Answer, Deployed, NIGHT_SHIFT, Visitor, mail};

/// Sessions, each with cookies of its own.
const SESSIONS: usize = 4;

/// What scanners send with a form: as our own page would, as another site would, and nothing.
const ORIGINS: [&[(&str, &str)]; 4] = [
    &[("sec-fetch-site", "same-origin")],
    &[("sec-fetch-site", "cross-site"), ("origin", "https://scanner.example")],
    &[("origin", "null")],
    &[],
];

/// What a scanner types into a field.
const TYPED: [&str; 4] = ["", "000000", "someone@scanner.example", "' OR 1=1 -- <script>alert(1)</script>"];

pub async fn decides_nothing(deployed: Rc<Deployed>) {
    let id = deployed.receive("scanner.eml", mail("scanner", "Pay: https://scanner.example/pay")).await;
    deployed.asked(&id, 1, 1).await;
    let link = deployed.link(&id, NIGHT_SHIFT).await;
    let record = async || -> (Vec<Value>, Vec<Value>, usize) {
        let incident = deployed.stack.rows(&format!("incident#{id}"), "").await.unwrap();
        (incident, deployed.rows_of_link(&link).await, deployed.mails(&id).await.len())
    };
    // A person has a code already: scanners in other sessions can neither use it nor use its tries up.
    let person = deployed.ask_for_code(&id, NIGHT_SHIFT).await;
    let before = record().await;

    for session in 0..SESSIONS {
        let mut scanner = Visitor::new(deployed.gateway());
        let url = Url::parse(&link).unwrap();
        for method in [Method::HEAD, Method::OPTIONS, Method::GET, Method::PUT, Method::DELETE, Method::POST] {
            let answer = scanner.send(method.clone(), &url, None, &[]).await;
            let is_read = method == Method::GET || method == Method::HEAD;
            assert!(!is_read || answer.status == 200, "{method}: {}", answer.status);
            assert!(answer.status.as_u16() < 500, "{method}: {}", answer.status);
        }
        let page = scanner.open(&link).await;
        assert!(page.text().contains("Decide by"), "session {session}: {}", page.text());
        for link in page.links() {
            scanner.open(link.as_str()).await;
        }
        press_everything(&mut scanner, &page).await;
    }

    let after = record().await;
    assert_eq!(after.0, before.0, "rows of the incident");
    assert_eq!(after.1, before.1, "rows of the link");
    assert_eq!(after.2, before.2, "mails about the incident");

    deployed.decide_with(&id, person, "rejected").await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(incident.result.as_deref(), Some("false_positive"));
}

/// Every form: untouched, then with every choice and text in every field, from everywhere.
async fn press_everything(scanner: &mut Visitor, page: &Answer) {
    let forms = page.forms();
    assert_eq!(forms.len(), 2, "one form asks for a code, one decides");
    for form in forms {
        for (origin, typed) in ORIGINS.iter().zip(TYPED) {
            let mut filled = form.clone();
            for name in &form.texts {
                filled.set(name, typed);
            }
            let mut tries = vec![form.clone(), filled.clone()];
            for (name, values) in &form.choices {
                for value in values {
                    let mut chosen = filled.clone();
                    chosen.set(name, value);
                    tries.push(chosen);
                }
            }
            for attempt in tries {
                let answer = scanner.post(&attempt, origin).await;
                assert!(
                    answer.to.is_none() && answer.status.as_u16() < 500,
                    "{}: {}",
                    attempt.action.path(),
                    answer.status
                );
                assert!(!answer.text().contains("Already decided"), "{}", answer.text());
            }
        }
    }
}
