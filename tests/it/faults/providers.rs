//! Providers that count who asks them what. Nothing is wrong with them.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use playbook::{
    fakes::provider,
    lookup::{Answer, CallError, Request},
    manifest::Manifest,
    ports::{Destination, DnsAnswer, DnsQuestion, Egress, Nameserver},
};
use tokio::time::sleep;

/// How long an answer takes.
const ANSWERS_AFTER: Duration = Duration::from_millis(20);

/// One without limits that knows everything, one that knows nothing, and one with limits, which are never reached.
pub const IDS: [&str; 3] = ["knows", "unknowing", "limited"];

const LIMITS: &str =
    "limits: [{ limit: 6000, window_seconds: 60, scope: key }, { limit: 90000, window_seconds: 86400, scope: key }]";

#[derive(Default)]
pub struct Providers {
    /// Calls by host and observable.
    asked: RefCell<BTreeMap<(String, String), usize>>,
}

impl Providers {
    pub fn manifests() -> Vec<Manifest> {
        let limits = |id: &str| if id == "limited" { LIMITS } else { "" };
        IDS.map(|id| provider(id, limits(id)).unwrap()).into()
    }

    pub fn calls(&self) -> usize {
        self.asked.borrow().values().sum()
    }

    pub fn questions(&self) -> usize {
        self.asked.borrow().len()
    }

    /// Calls that one of them has got.
    pub fn calls_of(&self, id: &str) -> usize {
        self.asked
            .borrow()
            .iter()
            .filter(|((host, _), _)| *host == format!("{id}.example"))
            .map(|(_, calls)| calls)
            .sum()
    }

    /// Nobody was asked twice, but where the first answer could be saved nowhere so many times.
    pub fn each_was_asked_once(&self, unsaved: &BTreeMap<String, usize>) {
        let asked = self.asked.borrow();
        let once_more = |observable: &str| unsaved.get(&format!("domain-name#{observable}")).copied().unwrap_or(0);
        let often: Vec<_> = asked.iter().filter(|((_, about), calls)| **calls > 1 + once_more(about)).collect();
        assert!(often.is_empty(), "asked again: {often:?}");
    }
}

impl Egress for Providers {
    async fn call(&self, to: &Destination<'_>, request: &Request, _: Duration) -> Result<Answer, CallError> {
        let about = request.url.query_pairs().find(|(name, _)| name == "q").map(|(_, value)| value.into_owned());
        *self.asked.borrow_mut().entry((to.host.to_owned(), about.unwrap())).or_default() += 1;
        sleep(ANSWERS_AFTER).await;
        let status = if to.host.starts_with("unknowing") { 404 } else { 200 };
        Ok(Answer { status, headers: vec![], body: br#"{"found": true}"#.to_vec() })
    }

    async fn resolve(&self, _: &Nameserver<'_>, _: &DnsQuestion, _: Duration) -> Result<DnsAnswer, CallError> {
        Err(CallError::Unreachable("no name server".to_owned()))
    }
}
