//! Scenarios of what is written elsewhere: threat databases, watchlists, tickets and firewalls, and how it is taken back.

use std::rc::Rc;

use playbook::{IncidentId, incident::IncidentStatus};
use serde_json::{Value, json};
use xtask::{
    local::Gateway,
    stand_in::{
        targets::{MispAttribute, Watched},
        tickets::{Issue, System, Trouble},
    },
};

use super::{Deployed, NIGHT_SHIFT, deployed::until, intake, mail};

/// The IP sets as the template's parameter names them. The emulator asks for the right to a web ACL of the set's name, and
/// takes a list for one text; on AWS it is the ARNs of the sets.
pub const IP_SETS: &str = "arn:aws:wafv2:us-east-1:000000000000:regional/webacl/blocked-*";

/// What somebody else keeps in the IP sets: one network, and one address that a scenario finds malicious too.
const OF_OTHERS: [&str; 2] = ["198.51.100.64/28", "203.0.113.96/32"];

/// An IP set for each family of addresses, with what others put there; as `ip_sets` of the manifest names them.
pub async fn make_ip_sets(gateway: &Gateway) -> Value {
    let mut arns = json!({});
    for (family, version, addresses) in [("ipv4", "IPV4", &OF_OTHERS[..]), ("ipv6", "IPV6", &[])] {
        let input = json!({
            "Name": format!("blocked-{family}"), "Scope": "REGIONAL", "IPAddressVersion": version, "Addresses": addresses,
        });
        let made = gateway.call("wafv2", "AWSWAF_20190729.CreateIPSet", &input).await.unwrap();
        arns[family] = made["Summary"]["ARN"].clone();
    }
    arns
}

impl Deployed {
    fn in_misp(&self, value: &str) -> Vec<MispAttribute> {
        self.stand_in.misp().into_iter().filter(|attribute| attribute.value == value).collect()
    }

    fn on_watchlist(&self, value: &str) -> Vec<Watched> {
        self.stand_in.watchlist().into_iter().filter(|watched| watched.value == value).collect()
    }

    /// What a system has of an incident.
    pub fn issues(&self, system: System, id: &IncidentId) -> Vec<Issue> {
        let issues = self.stand_in.tickets.issues(system).into_iter();
        issues.filter(|issue| issue.labels.iter().any(|label| label == id.as_str())).collect()
    }

    /// The one ticket of an incident in a system; nothing in it may be clicked, and nobody is called.
    pub fn issue(&self, system: System, id: &IncidentId) -> Issue {
        let mut issues = self.issues(system, id);
        assert_eq!(issues.len(), 1, "{}: {issues:?}", system.id());
        let issue = issues.remove(0);
        assert!(issue.live.is_empty(), "{}: {:?}", system.id(), issue.live);
        issue
    }

    /// What the IP set of IPv4 addresses holds.
    pub async fn in_waf(&self) -> Vec<String> {
        let listed = self.gateway().call("wafv2", "AWSWAF_20190729.ListIPSets", &json!({"Scope": "REGIONAL"})).await;
        let listed = listed.unwrap();
        let sets = listed["IPSets"].as_array().unwrap();
        let set = sets.iter().find(|set| set["Name"] == "blocked-ipv4").unwrap();
        let input = json!({"Name": set["Name"], "Scope": "REGIONAL", "Id": set["Id"]});
        let got = self.gateway().call("wafv2", "AWSWAF_20190729.GetIPSet", &input).await.unwrap();
        serde_json::from_value(got["IPSet"]["Addresses"].clone()).unwrap()
    }

    /// Takes back what an incident wrote, as an operator does.
    async fn release(&self, id: &IncidentId) -> Value {
        let input = json!({"act": "release", "incident_id": id, "run": 1, "round": 1});
        self.invoke("UpdateDatabasesFunction", &input).await
    }

    async fn approve(&self, id: &IncidentId) {
        self.decide(id, NIGHT_SHIFT, "approved").await;
        let incident = self.ends(id, IncidentStatus::Closed, "SUCCEEDED").await;
        assert_eq!(incident.result.as_deref(), Some("enforced"));
    }

    /// That nothing was refused, neither by a target nor by a cap.
    async fn nothing_is_refused(&self, id: &IncidentId) {
        let run = self.row(id, "run#1").await.unwrap();
        assert!(run["refused"].as_array().is_none_or(Vec::is_empty), "{}", run["refused"]);
    }
}

pub async fn recorded(deployed: Rc<Deployed>) {
    let url = "https://recorded.example/pay";
    let id = deployed.receive("recorded.eml", mail("recorded", &format!("Pay: {url}"))).await;
    deployed.asked(&id, 1, 1).await;

    // Before anybody decides: known to the threat database, watched, in a ticket; and blocked nowhere.
    let attributes = deployed.in_misp(url);
    assert_eq!(attributes.len(), 1, "{attributes:?}");
    assert_eq!((attributes[0].kind.as_str(), attributes[0].to_ids), ("url", true));
    assert!(attributes[0].comment.contains(id.as_str()), "{}", attributes[0].comment);
    let watched = deployed.on_watchlist(url);
    assert_eq!(watched.len(), 1, "{watched:?}");
    assert!(watched[0].until > deployed.incident(&id).await.received_at.to_string(), "{watched:?}");
    let issue = deployed.issue(System::Jira, &id);
    assert_eq!((issue.severity.as_str(), issue.closed, issue.edits), ("High", None, 0));
    assert!(issue.title.starts_with("[HIGH] hxxps://recorded[.]example/pay: malicious"), "{}", issue.title);
    assert!(issue.text.contains("a person is asked to decide"), "{}", issue.text);
    let message = deployed.issue(System::Slack, &id);
    assert_eq!(message.edits, 0);
    for text in [&issue.text, &message.text, &message.title] {
        assert!(!text.contains("recorded.example"), "{text}");
    }
    assert!(!deployed.lists().await.contains("recorded.example"));

    deployed.approve(&id).await;
    assert!(deployed.list("url").await.contains(&url.to_owned()));
    assert_eq!((deployed.in_misp(url), deployed.on_watchlist(url)), (attributes, watched), "written once");
    deployed.nothing_is_refused(&id).await;
    let issue = deployed.issue(System::Jira, &id);
    assert!(issue.closed.is_some());
    assert!(issue.text.contains("Decision: approved by night-shift[@]soc[.]example"), "{}", issue.text);
    assert!(issue.text.contains("1 of 1 entries were enforced"), "{}", issue.text);
    let message = deployed.issue(System::Slack, &id);
    assert_eq!(message.edits, 1, "{message:?}");
    assert!(message.title.starts_with("closed: "), "{}", message.title);
}

pub async fn released(deployed: Rc<Deployed>) {
    let (ours, before) = ("https://released.example/pay", "https://released.example/before");
    deployed.stand_in.put_into_misp("url", before);
    let of_others = deployed.in_misp(before);
    let id = deployed.receive("released.eml", mail("released", &format!("Pay: {ours}\r\nOr: {before}"))).await;
    deployed.asked(&id, 1, 1).await;
    assert_eq!(deployed.in_misp(ours).len(), 1);
    assert_eq!(deployed.in_misp(before), of_others, "what is there is not written again");
    assert_eq!((deployed.on_watchlist(ours).len(), deployed.on_watchlist(before).len()), (1, 1));

    deployed.decide(&id, NIGHT_SHIFT, "rejected").await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!(incident.result.as_deref(), Some("false_positive"));
    assert!(deployed.in_misp(ours).is_empty());
    assert_eq!(deployed.in_misp(before), of_others);
    assert!(deployed.on_watchlist(ours).is_empty() && deployed.on_watchlist(before).is_empty());
    assert!(!deployed.lists().await.contains("released.example"));
    deployed.nothing_is_refused(&id).await;
    let issue = deployed.issue(System::Jira, &id);
    assert!(issue.closed.is_some());
    assert!(issue.text.contains("what this incident wrote has been released"), "{}", issue.text);
    assert!(deployed.issue(System::Slack, &id).title.starts_with("closed: "));
}

pub async fn watched(deployed: Rc<Deployed>) {
    let url = "https://watched.example/pay";
    let id = deployed.receive("watched.eml", mail("watched", &format!("Pay: {url}"))).await;
    let incident = deployed.ends(&id, IncidentStatus::Closed, "SUCCEEDED").await;
    assert_eq!((incident.route.as_deref(), incident.result.as_deref()), (Some("watch"), Some("watched")));
    intake::within_budget(&deployed, &id).await;
    assert_eq!(deployed.on_watchlist(url).len(), 1);
    assert!(deployed.in_misp(url).is_empty(), "only what is malicious is shared");
    assert!(deployed.mails(&id).await.is_empty(), "nobody is asked");
    assert!(deployed.issues(System::Jira, &id).is_empty(), "below the severity that gets a ticket");
    assert!(!deployed.lists().await.contains("watched.example"));
}

pub async fn shared(deployed: Rc<Deployed>) {
    let (address, before) = ("203.0.113.90", "203.0.113.91");
    deployed.stand_in.put_into_misp("ip-dst", before);
    let of_others = deployed.in_misp(before);
    let line = format!("Servers: {address} and {before}");
    let first = deployed.receive("shared-1.eml", mail("shared-1", &line)).await;
    let second = deployed.receive("shared-2.eml", mail("shared-2", &line)).await;
    for id in [&first, &second] {
        deployed.asked(id, 1, 1).await;
    }
    for id in [&first, &second] {
        deployed.approve(id).await;
        deployed.nothing_is_refused(id).await;
    }

    let is_everywhere = async || {
        let (list, waf) = (deployed.list("ipv4-addr").await, deployed.in_waf().await);
        let is_listed = (list.contains(&address.to_owned()), waf.contains(&format!("{address}/32")));
        (is_listed, deployed.in_misp(address).len(), deployed.on_watchlist(address).len())
    };
    assert_eq!(is_everywhere().await, ((true, true), 1, 1), "one entry for both");
    assert_eq!(deployed.release(&first).await["released"], 0);
    assert_eq!(is_everywhere().await, ((true, true), 1, 1), "the second still claims it");
    let released = deployed.release(&second).await;
    assert_eq!(is_everywhere().await, ((false, false), 0, 0), "{released}");
    let (list, waf) = (deployed.list("ipv4-addr").await, deployed.in_waf().await);
    for gone in [address, before] {
        assert!(!list.contains(&gone.to_owned()), "{list:?}");
        assert!(!waf.contains(&format!("{gone}/32")), "{waf:?}");
    }
    assert_eq!(deployed.in_misp(before), of_others);
    // Again changes nothing.
    assert_eq!(deployed.release(&second).await["refused"], 0);
    assert_eq!(deployed.in_misp(before), of_others);
}

pub async fn firewalled(deployed: Rc<Deployed>) {
    let (ours, also_theirs) = ("203.0.113.95/32", "203.0.113.96/32");
    let id = deployed.receive("firewall.eml", mail("firewall", "Servers: 203.0.113.95 and 203.0.113.96")).await;
    deployed.asked(&id, 1, 1).await;
    assert!(!deployed.in_waf().await.contains(&ours.to_owned()), "nobody has approved it");
    deployed.approve(&id).await;
    deployed.nothing_is_refused(&id).await;
    let set = deployed.in_waf().await;
    for network in [ours, also_theirs, OF_OTHERS[0]] {
        assert_eq!(set.iter().filter(|known| *known == network).count(), 1, "{network}: {set:?}");
    }

    deployed.release(&id).await;
    let set = deployed.in_waf().await;
    assert!(!set.contains(&ours.to_owned()), "{set:?}");
    for network in OF_OTHERS {
        assert!(set.contains(&network.to_owned()), "{network}: {set:?}");
    }
    assert!(
        !deployed.list("ipv4-addr").await.iter().any(|listed| listed == "203.0.113.95" || listed == "203.0.113.96")
    );
}

pub async fn ticket_refused(deployed: Rc<Deployed>) {
    let alarms = listen_to_alarms(&deployed).await;
    intake::retry_soon(&deployed).await;
    deployed.stand_in.tickets.trouble_about(System::Jira, "refused[.]example", Trouble::Denies);
    let id = deployed.receive("refused.eml", mail("refused", "Pay: https://refused.example/pay")).await;
    let incident = deployed.ends(&id, IncidentStatus::Failed, "FAILED").await;
    let failure = incident.failure.unwrap();
    assert!(failure.contains("OpenTicket") && failure.contains("jira"), "{failure}");
    assert!(deployed.issues(System::Jira, &id).is_empty());
    assert!(deployed.mails(&id).await.is_empty(), "nobody is asked about an incident that has failed");
    assert!(!deployed.lists().await.contains("refused.example"));
    until("the operators are told", async || {
        let told = receive_all(&deployed, &alarms).await;
        if told.contains(id.as_str()) && told.contains("jira") { Ok(()) } else { Err(told) }
    })
    .await;

    // The other system was told that it came in, and says that it failed; so does the ticket once Jira takes it.
    deployed.issue(System::Slack, &id);
    deployed.stand_in.tickets.no_trouble_about(System::Jira, "refused[.]example");
    until("the ticket says that the playbook failed", async || {
        let titles = |system| deployed.issues(system, &id).into_iter().map(|issue| issue.title).collect::<Vec<_>>();
        let (jira, slack) = (titles(System::Jira), deployed.issue(System::Slack, &id).text);
        let is_told = jira.iter().any(|title| title.contains("the playbook failed"));
        if is_told && slack.contains("FAILED") { Ok(()) } else { Err(format!("{jira:?}; {slack}")) }
    })
    .await;
    deployed.issue(System::Jira, &id);
}

/// A queue of our own that hears what the alarm topic says; its URL.
async fn listen_to_alarms(deployed: &Deployed) -> String {
    let gateway = deployed.gateway();
    let topic = deployed.physical_id("AlarmTopic").await;
    let queue = format!("arn:aws:sqs:us-east-1:{}:hears-alarms", gateway.account());
    let allow = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }]});
    let input = json!({"QueueName": "hears-alarms", "Attributes": {"Policy": allow.to_string()}});
    let made = gateway.call("sqs", "AmazonSQS.CreateQueue", &input).await.unwrap();
    let url = made["QueueUrl"].as_str().unwrap().to_owned();
    let form = [
        ("Action", "Subscribe"),
        ("Version", "2010-03-31"),
        ("TopicArn", topic.as_str()),
        ("Protocol", "sqs"),
        ("Endpoint", queue.as_str()),
    ];
    gateway.query("sns", &form).await.unwrap();
    url
}

/// Everything that lies on a queue, in one text; it stays there.
async fn receive_all(deployed: &Deployed, url: &str) -> String {
    let input = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0, "WaitTimeSeconds": 0});
    let told = deployed.gateway().call("sqs", "AmazonSQS.ReceiveMessage", &input).await.unwrap();
    told["Messages"].to_string()
}
