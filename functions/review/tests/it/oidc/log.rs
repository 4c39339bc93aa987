//! What the log says of sign-ins, and what it must not.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use playbook::brief::sample::{APPROVER, OTHER_APPROVER};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::{
    issuer::{CLIENT_SECRET, ISSUER, Mood},
    visitor::{PAGE_KEY, Visitor, team},
};
use crate::world::secret;

/// Keeps every line, at every level.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<String>>);

impl Subscriber for Heard {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Line(&mut self.0.lock().unwrap()));
        self.0.lock().unwrap().push('\n');
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

#[tokio::test]
async fn it_says_who_signed_in_and_holds_nothing_that_is_secret() {
    let heard = Heard::default();
    let listening = tracing::subscriber::set_default(heard.clone());
    let team = team().await;
    let mut ana = Visitor::of(&team);
    let back = ana.authorize(1, APPROVER).await;
    let jar = ana.jar.clone();
    ana.get(back.as_str()).await;
    assert!(ana.identity(1).is_some());
    Visitor::of(&team).sign_in(1, OTHER_APPROVER).await;
    Visitor { team: &team, jar: jar.clone() }.get(back.as_str()).await;
    ana.issuer().mood.set(Mood::Garbage);
    Visitor { team: &team, jar: jar.clone() }.get(back.as_str()).await;
    drop(listening);

    let log = heard.0.lock().unwrap().clone();
    for expected in [
        "message=signed in".to_owned(),
        "message=somebody else signed in".to_owned(),
        "the issuer does not take the code".to_owned(),
        "the issuer's answer cannot be used".to_owned(),
        "stage=\"review\"".to_owned(),
        format!("oidc.issuer={ISSUER}"),
        "oidc.subject=subject of ana at soc[.]example".to_owned(),
        format!("incident.id={}", team.assessment.incident_id),
    ] {
        assert!(log.contains(&expected), "{expected:?} is not in\n{log}");
    }
    let asked = ana.issuer().asked.borrow();
    let sent = asked.iter().filter(|asked| asked.url.path() == "/token").flat_map(|asked| {
        url::form_urlencoded::parse(asked.body.as_bytes()).into_owned().filter(|(name, _)| name.starts_with("code"))
    });
    let cookies = jar.values().flat_map(|value| value.split('.').map(str::to_owned));
    let link = [secret(1).reveal().to_owned(), secret(1).digest()];
    let ours = [PAGE_KEY, CLIENT_SECRET, APPROVER, OTHER_APPROVER, "made-up-access-token", "eyJ"].map(str::to_owned);
    for secret in sent.map(|(_, value)| value).chain(cookies).chain(link).chain(ours) {
        assert!(!log.contains(&secret), "{secret} is in\n{log}");
    }
}
