//! The deployed playbook, and the questions that the scenarios ask of it. Every wait ends, with what was seen last.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use aws::SystemClock;
use playbook::{
    IncidentId, canonical,
    incident::{Incident, IncidentStatus},
    ports::Clock,
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use xtask::{
    build,
    config::{self, Overlay},
    local::{Deployment, Emulator, Gateway, SentMail, Stack},
    project::Project,
    stand_in::{Answers, StandIn, dns, server},
};

use super::{Visitor, copies, targets};

/// Asked first.
pub const NIGHT_SHIFT: &str = "night-shift@soc.example";
/// Asked when the night shift does not answer.
pub const LEAD: &str = "lead@soc.example";
/// What one call to the emulator may take.
pub const CALL: Duration = Duration::from_mins(1);

/// What building the functions may take: nothing where `cargo xtask test` has built them.
const BUILD: Duration = Duration::from_mins(20);
/// What one wait may take: a stage, with two other scenarios beside it.
const PATIENCE: Duration = Duration::from_secs(90);
const STACK: &str = "it";
/// Who fetches the block lists.
const FIREWALL: (&str, &str) = ("firewall", "secret-of-firewall");

/// The playbook in account 000000000000: demo policy, two levels of approvers, answers from `emulator.yaml`.
pub struct Deployed {
    pub project: Project,
    pub emulator: Emulator,
    pub stack: Stack,
    /// Sources and targets, as they are played.
    pub stand_in: Arc<StandIn>,
}

/// A person who has a code and has not decided yet.
pub struct Asking {
    browser: Visitor,
    link: String,
    code: String,
}

/// A mail of one line from a sender of its own domain.
pub fn mail(subject: &str, line: &str) -> Vec<u8> {
    format!(
        "From: Accounts <notice@sender.example>\r\nTo: Mia Berg <mia.berg@corp.example>\r\nSubject: {subject}\r\n\
         Message-ID: <{subject}@sender.example>\r\nDate: Tue, 24 Nov 2026 04:58:39 +0000\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{line}\r\n"
    )
    .into_bytes()
}

/// The demo's policy with two levels of approvers; `change` is laid on top.
pub fn overlay(project: &Project, change: impl FnOnce(&mut Value)) -> Overlay {
    let mut overlay = Overlay::read(project, &project.path("infra/local/demo-policy.yaml")).unwrap();
    overlay.policy["review"]["levels"] = json!([{"approvers": [NIGHT_SHIFT]}, {"approvers": [LEAD]}]);
    change(&mut overlay.policy);
    overlay
}

/// Plays the providers on a port of its own; returns where.
pub async fn play(stand_in: &Arc<StandIn>) -> String {
    let listener = server::listen(0).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::task::spawn_local(server::serve(listener, Arc::clone(stand_in)));
    address
}

/// Plays the name servers on a port of its own; returns where.
pub async fn play_names(stand_in: &Arc<StandIn>) -> String {
    let socket = dns::listen(0).await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    tokio::task::spawn_local(dns::serve(socket, Arc::clone(stand_in)));
    address
}

pub fn stand_in(project: &Project) -> Arc<StandIn> {
    let file = "tests/fixtures/answers/emulator.yaml";
    let yaml = std::fs::read_to_string(project.path(file)).unwrap();
    Arc::new(StandIn::new(Answers::parse_file(&yaml, file).unwrap(), || SystemClock.now()))
}

/// Asks until the answer is there; what it says instead is the last state.
pub async fn until<T>(what: &str, ask: impl AsyncFn() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(last) if begun.elapsed() > PATIENCE => panic!("{what}: not within {} s; {last}", PATIENCE.as_secs()),
            Err(_) => tokio::time::sleep(Duration::from_millis(150)).await,
        }
    }
}

impl Deployed {
    /// Copies the receipts of all scenarios to where the run replays them at its end; how many documents there were.
    pub async fn keep_receipts(&self) -> usize {
        let Some(folder) = std::env::var_os(playbook::fakes::RECEIPTS_VARIABLE) else { return 0 };
        let bucket = self.stack.output("EvidenceBucketName").unwrap();
        let keys = self.stack.gateway().keys(bucket, "receipts/").await.unwrap();
        for key in &keys {
            let bytes = self.stack.gateway().object_bytes(bucket, key).await.unwrap();
            let name = format!("{}.jsonl", canonical::sha256_hex(&bytes));
            std::fs::write(std::path::Path::new(&folder).join(name), bytes).unwrap();
        }
        keys.len()
    }

    pub async fn start() -> Self {
        let project = Project::find().unwrap();
        let at = project.clone();
        let built = timeout(BUILD, tokio::task::spawn_blocking(move || build::for_local(&at))).await;
        built.unwrap_or_else(|_| panic!("the functions are not built after {BUILD:?}")).unwrap().unwrap();
        let stand_in = stand_in(&project);
        let (address, name_server) = (play(&stand_in).await, play_names(&stand_in).await);
        let emulator = Emulator::shared(&project).await.unwrap();
        let ip_sets = targets::make_ip_sets(&emulator.gateway().unwrap()).await;
        let in_policy = |policy: &mut Value| {
            policy["enforce"]["targets"]["waf-ip-set"] = json!("after_approval");
            // Nobody waits for what a scenario holds back.
            policy["follow_up"] = json!({"wait_seconds": 5, "recheck_hours": 12, "give_up_hours": 48});
            policy["route"] = json!([{"source": copies::COPY_SOURCE, "machine": copies::COPY}]);
        };
        let mut overlay = overlay(&project, in_policy).with_stand_in(&address).with_stand_in_dns(&name_server);
        overlay.manifests["targets"]["waf-ip-set"] = json!({"enabled": true, "ip_sets": ip_sets});
        overlay.manifests["intake"]["urlhaus-recent"] = json!({"enabled": true});
        let bundle = config::load(&project, Some(&overlay)).unwrap();
        let deployment = Deployment::new(STACK)
            .with("WafIpSetArns", targets::IP_SETS)
            .with_machine(copies::COPY, &copies::Edited::from(&project).definition());
        let stack = Stack::deploy(&project, &emulator, &deployment, &bundle).await.unwrap();
        stack.set_dummy_secrets(&bundle).await.unwrap();
        stack.set_consumer_secret(FIREWALL.0, FIREWALL.1).await.unwrap();
        stack.invoke("PollFeedsFunction", &json!({})).await.unwrap();
        Self { project, emulator, stack, stand_in }
    }

    pub const fn gateway(&self) -> &Gateway {
        self.stack.gateway()
    }

    /// A mail of `tests/fixtures/mails/`.
    pub fn fixture(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.project.path("tests/fixtures/mails").join(name)).unwrap()
    }

    /// Drops a mail at the S3 door; its incident is admitted when this returns.
    pub async fn receive(&self, name: &str, mail: Vec<u8>) -> IncidentId {
        let key = self.stack.put_mail(name, mail).await.unwrap();
        let admitted = async || self.stack.incident_of(&key).await.unwrap().ok_or_else(|| "no incident".to_owned());
        let row = until(&format!("{key} becomes an incident"), admitted).await;
        serde_json::from_value(row["incident_id"].clone()).unwrap()
    }

    pub async fn row(&self, id: &IncidentId, sk: &str) -> Option<Value> {
        let rows = self.stack.rows(&format!("incident#{id}"), sk).await.unwrap();
        rows.into_iter().find(|row| row["sk"] == sk)
    }

    pub async fn incident(&self, id: &IncidentId) -> Incident {
        serde_json::from_value(self.row(id, "meta").await.unwrap()).unwrap()
    }

    /// The incident, once it stands so and its current execution has ended so.
    pub async fn ends(&self, id: &IncidentId, status: IncidentStatus, execution: &str) -> Incident {
        until(&format!("{id} is {status:?} and its execution {execution}"), async || {
            let incident = self.incident(id).await;
            let ended = self.stack.execution(&id.execution_name(incident.run)).await.unwrap();
            let is_so = incident.status == status && ended.is_some_and(|ended| ended.status == execution);
            if is_so { Ok(incident) } else { Err(self.story(id).await) }
        })
        .await
    }

    /// Waits until an execution sleeps behind a question; returns the round.
    pub async fn asked(&self, id: &IncidentId, run: u32, round: u32) -> Value {
        until(&format!("{id} asks round {round} of run {run}"), async || {
            let row = self.row(id, &format!("round#{run}#{round}")).await;
            let row = row.filter(|row| row["state"] == "open" && row["task_token"].is_string());
            match row {
                Some(row) => Ok(row),
                None => Err(self.story(id).await),
            }
        })
        .await
    }

    /// Everything that went out about an incident, oldest first. The text may name others, which are related.
    pub async fn mails(&self, id: &IncidentId) -> Vec<SentMail> {
        let mails = self.gateway().mails().await.unwrap();
        mails.into_iter().filter(|mail| mail.subject.contains(id.as_str())).collect()
    }

    /// The mails that ask a person about an incident, with the link in each.
    pub async fn questions(&self, id: &IncidentId, to: &str) -> Vec<(SentMail, String)> {
        let base = format!("{}/r/", self.stack.output("ApiUrl").unwrap());
        let own = self.mails(id).await.into_iter().filter(|mail| mail.to == [to]);
        own.filter_map(|mail| {
            let at = mail.body_text.find(&base)?;
            let link = mail.body_text[at..].split_whitespace().next()?.to_owned();
            Some((mail, link))
        })
        .collect()
    }

    /// The one link that a person was sent.
    pub async fn link(&self, id: &IncidentId, to: &str) -> String {
        let questions = self.questions(id, to).await;
        assert_eq!(questions.len(), 1, "mails that ask {to} about {id}");
        questions[0].1.clone()
    }

    /// Decides through the page behind the link: asks for the code, reads it in the mailbox, chooses, gives a reason.
    pub async fn decide(&self, id: &IncidentId, person: &str, choice: &str) {
        let asking = self.ask_for_code(id, person).await;
        self.decide_with(id, asking, choice).await;
    }

    /// Opens the link, asks for the one-time code and reads it in the mailbox.
    pub async fn ask_for_code(&self, id: &IncidentId, person: &str) -> Asking {
        let link = self.link(id, person).await;
        let mut browser = Visitor::new(self.gateway());
        let mut form = browser.open(&link).await.form("/code");
        form.set("address", person);
        let page = browser.press(&form).await;
        let code = until(&format!("a code for {id} comes to {person}"), async || {
            let said = "Your one-time code: ";
            let mails = self.mails(id).await.into_iter().filter(|mail| mail.to == [person]);
            let code = mails.rev().find_map(|mail| Some(mail.body_text.split_once(said)?.1.get(..6)?.to_owned()));
            code.ok_or_else(|| format!("the page says {}: {}", page.status, page.text()))
        })
        .await;
        Asking { browser, link, code }
    }

    /// Decides in the session that asked for the code; what is ticked stays ticked.
    pub async fn decide_with(&self, id: &IncidentId, mut asking: Asking, choice: &str) {
        let mut form = asking.browser.open(&asking.link).await.form("/decide");
        assert!(form.choices["choice"].iter().any(|offered| offered == choice), "{choice}: {:?}", form.choices);
        for (name, value) in [("choice", choice), ("reason", "seen in two mailboxes"), ("code", &asking.code)] {
            form.set(name, value);
        }
        let receipt = asking.browser.press(&form).await;
        assert!(receipt.text().contains("Already decided by"), "{id}: {}: {}", receipt.status, receipt.text());
    }

    /// What a firewall fetches of one type.
    pub async fn list(&self, kind: &str) -> Vec<String> {
        self.stack.list(kind, FIREWALL.0, FIREWALL.1).await.unwrap()
    }

    /// Everything that firewalls fetch, in one text.
    pub async fn lists(&self) -> String {
        let mut all = vec![];
        for kind in ["ipv4-addr", "ipv6-addr", "domain-name", "url", "file"] {
            all.extend(self.list(kind).await);
        }
        all.join("\n")
    }

    /// Calls a function directly; `function` as in the template, such as `SweepFunction`. Returns what it returned.
    pub async fn invoke(&self, function: &str, input: &Value) -> Value {
        self.stack.invoke(function, input).await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// What CloudFormation called a resource of the template.
    pub async fn physical_id(&self, logical_id: &str) -> String {
        self.stack.physical_id(logical_id).await.unwrap()
    }

    /// Puts a row, as a function would that was killed after it.
    pub async fn put(&self, pk: &str, sk: &str, document: &Value) {
        let mut item = json!({"pk": {"S": pk}, "sk": {"S": sk}});
        for (name, value) in document.as_object().unwrap() {
            item[name] = match value {
                Value::String(text) => json!({"S": text}),
                Value::Bool(flag) => json!({"BOOL": flag}),
                Value::Number(number) => json!({"N": number.to_string()}),
                Value::Array(items) if items.is_empty() => json!({"L": []}),
                other => panic!("{name}: {other}"),
            };
        }
        let input = json!({"TableName": self.stack.output("IncidentsTableName").unwrap(), "Item": item});
        self.gateway().call("dynamodb", "DynamoDB_20120810.PutItem", &input).await.unwrap();
    }

    /// Sets text attributes of a row, as an operator with the console would.
    pub async fn set(&self, id: &IncidentId, sk: &str, attributes: &[(&str, &str)]) {
        let sets: Vec<String> = (0..attributes.len()).map(|n| format!("#n{n} = :v{n}")).collect();
        let names = attributes.iter().enumerate().map(|(n, (name, _))| (format!("#n{n}"), json!(name)));
        let values = attributes.iter().enumerate().map(|(n, (_, value))| (format!(":v{n}"), json!({"S": value})));
        let input = json!({
            "TableName": self.stack.output("IncidentsTableName").unwrap(),
            "Key": {"pk": {"S": format!("incident#{id}")}, "sk": {"S": sk}},
            "ConditionExpression": "attribute_exists(pk)",
            "UpdateExpression": format!("SET {}", sets.join(", ")),
            "ExpressionAttributeNames": names.collect::<serde_json::Map<_, _>>(),
            "ExpressionAttributeValues": values.collect::<serde_json::Map<_, _>>(),
        });
        self.gateway().call("dynamodb", "DynamoDB_20120810.UpdateItem", &input).await.unwrap();
    }

    /// Every row that hangs on a review link.
    pub async fn rows_of_link(&self, link: &str) -> Vec<Value> {
        let secret = link.rsplit('/').next().unwrap();
        self.stack.rows(&format!("link#{}", canonical::sha256_hex(secret.as_bytes())), "").await.unwrap()
    }

    /// How many messages a queue holds: visible, and taken.
    pub async fn queued(&self, output: &str) -> (u32, u32) {
        let input = json!({"QueueUrl": self.stack.output(output).unwrap(), "AttributeNames": ["All"]});
        let told = self.gateway().call("sqs", "AmazonSQS.GetQueueAttributes", &input).await.unwrap();
        let count = |name: &str| told["Attributes"][name].as_str().unwrap().parse().unwrap();
        (count("ApproximateNumberOfMessages"), count("ApproximateNumberOfMessagesNotVisible"))
    }

    /// Where an incident and its execution stand, for the message of a test that gives up.
    pub async fn story(&self, id: &IncidentId) -> String {
        let incident = self.row(id, "meta").await.unwrap_or_default();
        let name = id.execution_name(incident["run"].as_u64().and_then(|run| run.try_into().ok()).unwrap_or(1));
        let execution = self.stack.execution(&name).await.unwrap();
        let states = if execution.is_some() { self.states(&name).await.join(" → ") } else { String::new() };
        let failure = execution.as_ref().and_then(|execution| execution.failure.clone()).unwrap_or_default();
        let execution = execution.map_or_else(|| "not started".to_owned(), |execution| execution.status);
        format!(
            "incident {} (run {}, route {}, result {}, failure {}); execution {execution} {failure}: {states}",
            incident["status"], incident["run"], incident["route"], incident["result"], incident["failure"],
        )
    }

    /// The states that an execution has entered, in order; each is a transition that AWS bills.
    pub async fn states(&self, execution: &str) -> Vec<String> {
        let events = self.stack.history(execution).await.unwrap();
        let entered = events.iter().filter_map(|event| event["stateEnteredEventDetails"]["name"].as_str());
        entered.map(str::to_owned).collect()
    }

    /// What the functions have logged as errors: the reason of most failures.
    pub async fn errors(&self) -> String {
        let mut text = String::from("errors in the functions' logs:");
        for function in self.project.functions().unwrap() {
            let logged = self.stack.logs(&function).await.unwrap_or_default();
            // What the poison scenario sends is refused again and again.
            let is_news = |line: &&String| line.contains("\"ERROR\"") && !line.contains("not an intake message");
            for line in logged.iter().filter(is_news).rev().take(5) {
                write!(text, "\n  {function}: {line}").unwrap();
            }
        }
        text
    }
}
