//! One lookup at one provider, however it is reached: over https in one step or two, by questions to a name server, at the
//! registry that an observable belongs to, or in a compiled list.

use std::{net::SocketAddr, time::Duration};

use futures::future::join_all;
use ioc::Observable;
use playbook::{
    lookup::{
        Answer, CallError, FirstStep, Refusal, Request, dns_answer, failed, first_step, interpret, pending, prepare,
        prepare_at, prepare_poll, questions, retry_after_seconds, skipped, used_up_seconds,
    },
    manifest::{HostsFrom, ProviderKind, SYSTEM_RESOLVER},
    outcome::{Outcome, PENDING_SUBMITTED, Status},
    ports::{Clock, Destination, Egress, Nameserver, Reach},
};
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::{
    lines::Line,
    list::Lists,
    rdap::{NoServer, Registries},
};

/// What calls use, and where they may go.
#[derive(Debug)]
pub(crate) struct Ways<'a, C, G, L> {
    /// The time.
    pub clock: &'a C,
    /// The way out.
    pub egress: &'a G,
    /// The compiled lists.
    pub lists: &'a L,
    /// Which registry answers for what.
    pub registries: &'a Registries,
    /// Where calls may go by the policy.
    pub reach: Reach<'a>,
    /// `policy.egress.stand_in_dns`.
    pub stand_in_dns: Option<&'a SocketAddr>,
}

/// What became of one lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Called {
    /// The outcome; never of the cache.
    pub outcome: Outcome,
    /// Of a lookup that is `pending(submitted)`: what the provider calls the work, for [`poll`].
    pub task: Option<String>,
    /// How long the provider asks us to wait, where it limited us.
    pub retry_after_seconds: Option<u64>,
    /// How long until the provider's own count starts anew, where it says that nothing is left.
    pub used_up_seconds: Option<u64>,
    /// Whether nothing came, but within less time than the manifest gives: it says nothing about the provider.
    pub is_cut_short: bool,
    /// How many requests and questions left. With none, the outcome says nothing about the provider and costs nothing to learn
    /// again: a refusal of our own, or a look into a list.
    pub calls: usize,
}

/// Asks a provider about one observable within `timeout`. Total: whatever happens is an outcome.
pub(crate) async fn lookup<C: Clock, G: Egress, L: Lists>(
    ways: &Ways<'_, C, G, L>,
    line: &Line<'_>,
    observable: &Observable,
    timeout: Duration,
) -> Called {
    let mut call = Call::new(ways, line, observable, timeout);
    let ended = match line.manifest.kind {
        ProviderKind::Http => call.http().await,
        ProviderKind::Dns => call.dns().await,
        ProviderKind::List => call.list().await,
    };
    call.called(ended)
}

/// Asks for the result of a task that [`lookup`] named. `pending(submitted)` while the provider still works on it.
pub(crate) async fn poll<C: Clock, G: Egress, L: Lists>(
    ways: &Ways<'_, C, G, L>,
    line: &Line<'_>,
    observable: &Observable,
    task: &str,
    timeout: Duration,
) -> Called {
    let mut call = Call::new(ways, line, observable, timeout);
    let ended = call.result(task).await;
    call.called(ended)
}

/// How a lookup ended.
enum Ended {
    /// With an answer, read.
    Read(Box<Outcome>),
    /// With work that somebody has to ask for again.
    Submitted(String),
    /// Without an answer, for this reason.
    Failed(&'static str),
    /// Before anything was asked.
    Refused(Refusal),
    /// Without anybody to ask.
    Skipped(&'static str),
}

/// One lookup under way.
struct Call<'a, C, G, L> {
    ways: &'a Ways<'a, C, G, L>,
    line: &'a Line<'a>,
    observable: &'a Observable,
    until: Instant,
    is_short: bool,
    retry_after_seconds: Option<u64>,
    used_up_seconds: Option<u64>,
    calls: usize,
}

impl<'a, C: Clock, G: Egress, L: Lists> Call<'a, C, G, L> {
    fn new(ways: &'a Ways<'a, C, G, L>, line: &'a Line<'a>, observable: &'a Observable, timeout: Duration) -> Self {
        Self {
            ways,
            line,
            observable,
            until: Instant::now() + timeout,
            is_short: timeout < Duration::from_millis(u64::from(line.manifest.timeout_ms)),
            retry_after_seconds: None,
            used_up_seconds: None,
            calls: 0,
        }
    }

    fn called(self, ended: Ended) -> Called {
        let (manifest, now) = (self.line.manifest, self.ways.clock.now());
        let mut task = None;
        let outcome = match ended {
            Ended::Read(outcome) => *outcome,
            Ended::Submitted(name) => {
                task = Some(name);
                pending(manifest, PENDING_SUBMITTED, now)
            }
            Ended::Failed(reason) => failed(manifest, reason, now),
            // What cannot be asked is no failure of the provider; a wrong key or manifest is one of ours.
            Ended::Refused(refusal @ (Refusal::Type | Refusal::Unencodable | Refusal::NoKey)) => {
                skipped(manifest, refusal.reason(), now)
            }
            Ended::Refused(refusal @ (Refusal::BadKey | Refusal::Manifest)) => failed(manifest, refusal.reason(), now),
            Ended::Skipped(reason) => skipped(manifest, reason, now),
        };
        if matches!(outcome.reason.as_deref(), Some("mapping" | "garbage")) {
            warn!(
                provider.id = %manifest.id,
                reason = outcome.reason,
                "what the provider answered is not what its manifest reads"
            );
        }
        Called {
            is_cut_short: self.is_short && outcome.is_silence(),
            retry_after_seconds: self.retry_after_seconds.filter(|_| outcome.outcome == Status::RateLimited),
            used_up_seconds: self.used_up_seconds,
            calls: self.calls,
            task,
            outcome,
        }
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    async fn http(&mut self) -> Ended {
        let manifest = self.line.manifest;
        let request = match manifest.hosts_from {
            None => prepare(manifest, self.observable, self.line.secret()),
            Some(HostsFrom::RdapBootstrap) => match self.registry().await {
                Ok(request) => request,
                Err(ended) => return ended,
            },
        };
        let request = match request {
            Ok(request) => request,
            Err(refusal) => return Ended::Refused(refusal),
        };
        let answer = self.send(&request).await;
        let now = self.ways.clock.now();
        let Some(poll) = manifest.poll_for(self.observable) else {
            return Ended::Read(Box::new(interpret(manifest, self.observable, answer.as_ref(), now)));
        };
        match first_step(manifest, self.observable, answer.as_ref(), now) {
            FirstStep::Done(outcome) => Ended::Read(outcome),
            FirstStep::Task(task) if poll.every_seconds > 0 => Ended::Submitted(task),
            FirstStep::Task(task) => match self.result(&task).await {
                // Nobody asks again: the second step is the last.
                Ended::Submitted(_) => Ended::Failed("no_result"),
                ended => ended,
            },
        }
    }

    /// The request at the registry that the observable belongs to; of a name, its registrable part is asked for.
    async fn registry(&self) -> Result<Result<Request, Refusal>, Ended> {
        let asked = crate::rdap::registered(self.observable);
        let server = self.ways.registries.server(self.ways, &asked, self.left());
        let base = timeout_at(self.until, server).await.unwrap_or(Err(NoServer::Failed("timeout")));
        match base {
            Ok(base) => Ok(prepare_at(self.line.manifest, &asked, &base)),
            Err(NoServer::None) => Err(Ended::Skipped("no_rdap")),
            Err(NoServer::Failed(reason)) => Err(Ended::Failed(reason)),
        }
    }

    /// The second step.
    async fn result(&mut self, task: &str) -> Ended {
        let manifest = self.line.manifest;
        let request = match prepare_poll(manifest, self.observable, self.line.secret(), task) {
            Ok(request) => request,
            Err(refusal) => return Ended::Refused(refusal),
        };
        let answer = self.send(&request).await;
        let outcome = interpret(manifest, self.observable, answer.as_ref(), self.ways.clock.now());
        if outcome.outcome == Status::Pending {
            Ended::Submitted(task.to_owned())
        } else {
            Ended::Read(Box::new(outcome))
        }
    }

    async fn send(&mut self, request: &Request) -> Result<Answer, CallError> {
        let manifest = self.line.manifest;
        let (host, reach) = match manifest.hosts_from {
            None => (manifest.host.as_str(), self.ways.reach),
            Some(HostsFrom::RdapBootstrap) => (request.url.host_str().unwrap_or_default(), self.ways.reach.public()),
        };
        let left = self.left();
        if left.is_zero() {
            return Err(CallError::Timeout);
        }
        self.calls += 1;
        let to = Destination { redirects: manifest.redirects, ..Destination::of(host, reach) };
        let answer = self.ways.egress.call(&to, request, left).await;
        self.retry_after_seconds = answer.as_ref().ok().and_then(retry_after_seconds);
        let now = self.ways.clock.now();
        self.used_up_seconds = answer.as_ref().ok().and_then(|answer| used_up_seconds(manifest, answer, now));
        answer
    }

    async fn dns(&mut self) -> Ended {
        let manifest = self.line.manifest;
        let secret = self.line.secret();
        let questions = match questions(manifest, self.observable, secret) {
            Ok(questions) => questions,
            Err(refusal) => return Ended::Refused(refusal),
        };
        let address = match manifest.resolver.as_deref() {
            Some(SYSTEM_RESOLVER) => None,
            Some(address) => match address.parse() {
                Ok(address) => Some(address),
                Err(_) => return Ended::Refused(Refusal::Manifest),
            },
            None => return Ended::Refused(Refusal::Manifest),
        };
        let at = Nameserver { address, stand_in: self.ways.stand_in_dns };
        let left = self.left();
        self.calls += questions.len();
        let asked = questions.iter().map(|question| self.ways.egress.resolve(&at, &question.asked, left));
        match dns_answer(&questions, &join_all(asked).await, secret) {
            Ok(answer) => self.read(&answer),
            Err(reason) => Ended::Failed(reason),
        }
    }

    async fn list(&self) -> Ended {
        let looking = self.ways.lists.look(self.line.manifest, self.observable, self.ways.clock.now());
        match timeout_at(self.until, looking).await.unwrap_or(Err("timeout")) {
            Ok(looked) => {
                let body = json!({ "entry": looked.entry, "fetched_at": looked.fetched_at, "entries": looked.entries });
                self.read(&Answer { status: 200, headers: vec![], body: body.to_string().into_bytes() })
            }
            Err(reason) => Ended::Failed(reason),
        }
    }

    fn read(&self, answer: &Answer) -> Ended {
        Ended::Read(Box::new(interpret(self.line.manifest, self.observable, Ok(answer), self.ways.clock.now())))
    }
}

#[cfg(test)]
mod tests;
