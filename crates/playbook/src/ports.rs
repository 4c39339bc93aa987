//! The other ports: documents, mail, queues, machines, the way out, address sets, secrets, clock and randomness. Two
//! implementations exist of each, the real one and the in-memory fake.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    Fault, Timestamp,
    incident::EvidenceRef,
    lookup::{Answer, CallError, Request},
    manifest::Redirects,
    policy::PrivateHost,
};

/// A stored document: the evidence bucket.
pub trait Evidence {
    /// Reads a document; the bytes have the digest that the reference names, or it is `Rejected`.
    async fn fetch(&self, evidence: &EvidenceRef) -> Result<Vec<u8>, Fault>;
    /// Reads a document by its key alone; `None` where there is none.
    async fn find(&self, key: &str) -> Result<Option<Stored>, Fault>;
    /// Writes a document under a key and says where it lies.
    async fn store(&self, key: &str, content_type: &str, bytes: &[u8]) -> Result<EvidenceRef, Fault>;
    /// Writes only if the stored version is still this one (`None`: only if there is none). False when it is not.
    async fn replace(&self, key: &str, content_type: &str, bytes: &[u8], etag: Option<&str>) -> Result<bool, Fault>;
}

/// A document with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The content.
    pub bytes: Vec<u8>,
    /// Changes whenever the content does.
    pub etag: String,
}

/// A mail to be sent: one recipient, both bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// One address.
    pub to: String,
    /// One line; already defanged.
    pub subject: String,
    /// The text part: it alone must be enough.
    pub text: String,
    /// The HTML part.
    pub html: String,
    /// `References`, so that the mails of one incident thread.
    pub thread: String,
    /// What the mail service called the mail that asked this person, where this one follows it.
    pub follows: Option<String>,
    /// What it is about.
    pub about: About,
}

/// What a mail is about: the mail service says it again of a mail that it could not deliver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The incident.
    pub incident_id: String,
    /// Its run.
    pub run: u32,
    /// The round; 0 where that is not known.
    pub round: u32,
    /// `question`, `reminder`, `code`, `decided` …: letters, digits and hyphens.
    pub what: String,
}

/// The way mails go out.
pub trait Outbox {
    /// Sends and returns the id that the mail service gave.
    async fn send(&self, mail: &Mail) -> Result<String, Fault>;
}

/// A queue: that of the intake, or that of the lookups to follow up.
pub trait Queue {
    /// Puts a message in, visible after `delay_seconds` (0–900).
    async fn push(&self, body: &str, delay_seconds: u32) -> Result<(), Fault>;
}

/// What became of starting an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// It runs; its ARN.
    New(String),
    /// One of this name exists already, running or ended; its ARN.
    Exists(String),
}

/// What became of waking an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The token was taken.
    Yes,
    /// Nobody waits behind this token any more.
    Gone,
}

/// The state machines. A machine is named as its file in `statemachine/` is, such as `playbook`.
pub trait Machines {
    /// Starts an execution of a machine under a name.
    async fn start(&self, machine: &str, name: &str, input: &str) -> Result<Started, Fault>;
    /// Wakes the execution that waits behind a task token. The token only wakes; it carries no decision.
    async fn wake(&self, task_token: &str) -> Result<Woken, Fault>;
    /// Whether the execution of this name is still running; `None` where it is unknown.
    async fn is_running(&self, machine: &str, name: &str) -> Result<Option<bool>, Fault>;
}

/// A secret; prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Where secrets lie.
pub trait Secrets {
    /// The secret of this id, such as a provider's; `None` where nobody set one.
    async fn secret(&self, id: &str) -> Result<Option<Secret>, Fault>;
}

/// The time.
pub trait Clock {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Randomness that nobody can guess.
pub trait Entropy {
    /// Fills the bytes.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Fault>;
}

/// What a policy says of where calls may go. Nothing said: public addresses only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach<'a> {
    /// `policy.egress.stand_in`: a server on 127.0.0.1 that plays every host. Only of a bundle that was admitted to the account.
    pub stand_in: Option<&'a str>,
    /// `policy.network.private`: hosts that have a private address.
    pub private: &'a [PrivateHost],
}

impl Reach<'_> {
    /// The same without private addresses: for hosts that no manifest names.
    #[must_use]
    pub const fn public(self) -> Self {
        Self { private: &[], ..self }
    }
}

/// Where a call may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// The manifest's host: keys are bound to it, and a request to any other is refused.
    pub host: &'a str,
    /// A server on 127.0.0.1 that plays the host, see [`Reach`].
    pub stand_in: Option<&'a str>,
    /// Hosts with a private address, see [`Reach`]. One that is named here is reached inside its networks and nowhere else;
    /// never by a redirect from another host.
    pub private: &'a [PrivateHost],
    /// Which redirects are followed.
    pub redirects: Redirects,
}

impl<'a> Destination<'a> {
    /// A host by a policy's reach; no redirect is followed.
    #[must_use]
    pub const fn of(host: &'a str, reach: Reach<'a>) -> Self {
        Self { host, stand_in: reach.stand_in, private: reach.private, redirects: Redirects::None }
    }
}

/// Who is asked for names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nameserver<'a> {
    /// Its address, port 53; `None` for the system's own.
    pub address: Option<IpAddr>,
    /// `policy.egress.stand_in_dns`: a server on 127.0.0.1 that plays it.
    pub stand_in: Option<&'a SocketAddr>,
}

/// What is asked of a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsQuestion {
    /// A full name without the final dot.
    pub name: String,
    /// Which record.
    pub record: RecordType,
}

/// A type of DNS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Alias.
    Cname,
    /// Mail exchange.
    Mx,
    /// Name server.
    Ns,
    /// Reverse name.
    Ptr,
    /// Start of authority.
    Soa,
    /// Text.
    Txt,
}

/// What a name server answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsAnswer {
    /// `NOERROR`, `NXDOMAIN`, `SERVFAIL`, `REFUSED` …
    pub rcode: String,
    /// The answer section.
    pub records: Vec<DnsRecord>,
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecord {
    /// `A`, `TXT` …
    pub record: String,
    /// As a zone file would spell it; the strings of a TXT record joined. Hostile text.
    pub data: String,
    /// Seconds it may be kept.
    pub ttl_seconds: u32,
}

/// The way out: calls providers, targets and feeds.
pub trait Egress {
    /// Sends the request and reads the whole answer within `timeout`. Any HTTP status is an answer, a redirect that is not
    /// followed too. Errors hold neither the request nor the key.
    async fn call(&self, to: &Destination<'_>, request: &Request, timeout: Duration) -> Result<Answer, CallError>;

    /// The same for a document that may be larger than an answer: at most `body_max_bytes`, or it is `TooLarge`.
    async fn download(
        &self,
        to: &Destination<'_>,
        request: &Request,
        timeout: Duration,
        body_max_bytes: usize,
    ) -> Result<Answer, CallError> {
        let answer = self.call(to, request, timeout).await?;
        if answer.body.len() > body_max_bytes { Err(CallError::TooLarge) } else { Ok(answer) }
    }

    /// Asks a name server one question. A name that does not exist is an answer; silence is `Timeout`.
    async fn resolve(
        &self,
        at: &Nameserver<'_>,
        question: &DnsQuestion,
        timeout: Duration,
    ) -> Result<DnsAnswer, CallError>;
}

/// A set of addresses at a firewall of AWS: an IP set of WAF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpSet {
    /// What is in it; an address is a network of its full length.
    pub networks: BTreeSet<IpNet>,
    /// What `replace` must carry: it changes with every change of the set.
    pub lock_token: String,
}

/// Sets of addresses, by ARN.
pub trait IpSets {
    /// What is in the set.
    async fn read(&self, arn: &str) -> Result<IpSet, Fault>;
    /// Replaces the whole set; false when somebody has changed it since it was read.
    async fn replace(&self, arn: &str, set: &IpSet) -> Result<bool, Fault>;
}
