//! `cargo xtask doctor`: looks at a deployment for what makes a playbook fail in silence, and says what to do about it.

use std::collections::BTreeSet;

use anyhow::Result;
use playbook::{bundle::Bundle, canonical};
use serde::Serialize;
use serde_json::Value;

use crate::{
    config,
    project::Project,
    publish::{self, Ask},
    term,
};

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// In order.
    Good,
    /// Somebody must do something.
    Attention,
    /// It could not be looked at.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    what: &'static str,
    state: State,
    found: String,
    /// What to do; empty when there is nothing.
    next: &'static str,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, state: State::Good, found: found.into(), next: "" }
    }

    fn attention(what: &'static str, found: impl Into<String>, next: &'static str) -> Self {
        Self { what, state: State::Attention, found: found.into(), next }
    }
}

/// The stack as far as the checks need it.
#[derive(Default)]
struct Deployed {
    outputs: Vec<(String, String)>,
    parameters: Vec<(String, String)>,
}

impl Deployed {
    fn of(described: &Value) -> Self {
        let pairs = |list: &str, name: &str, value: &str| {
            let items = described["Stacks"][0][list].as_array().cloned().unwrap_or_default();
            let pair = |item: &Value| Some((item[name].as_str()?.to_owned(), item[value].as_str()?.to_owned()));
            items.iter().filter_map(pair).collect()
        };
        Self {
            outputs: pairs("Outputs", "OutputKey", "OutputValue"),
            parameters: pairs("Parameters", "ParameterKey", "ParameterValue"),
        }
    }

    fn output(&self, name: &str) -> &str {
        self.outputs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// Looks at everything; true when nothing needs attention.
pub fn run(project: &Project, stack: &str, json: bool) -> Result<bool> {
    let bundle = config::load(project, None)?;
    let ask = |arguments: &[&str]| publish::ask(project, arguments);
    let findings = findings(&ask, stack, &bundle)?;
    if json {
        term::line(&serde_json::to_string_pretty(&findings)?);
    } else {
        for finding in &findings {
            let (mark, colour) = match finding.state {
                State::Good => ("good     ", anstyle::AnsiColor::Green),
                State::Attention => ("ATTENTION", anstyle::AnsiColor::Red),
                State::Unknown => ("unknown  ", anstyle::AnsiColor::Yellow),
            };
            term::line(&format!("  {}  {}: {}", term::coloured(mark, colour), finding.what, finding.found));
            if !finding.next.is_empty() {
                term::line(&format!("             {}", finding.next));
            }
        }
        let open = findings.iter().filter(|finding| finding.state != State::Good).count();
        term::line(&format!("\n{} looked at, {open} need attention or could not be looked at", findings.len()));
    }
    Ok(findings.iter().all(|finding| finding.state == State::Good))
}

fn findings(ask: Ask<'_>, stack: &str, bundle: &Bundle) -> Result<Vec<Finding>> {
    let mut findings = vec![];
    let described = ask(&["cloudformation", "describe-stacks", "--stack-name", stack]);
    let deployed = match &described {
        Ok(told) => {
            let status = told["Stacks"][0]["StackStatus"].as_str().unwrap_or("unknown").to_owned();
            let is_settled = status.ends_with("_COMPLETE") && !status.contains("ROLLBACK");
            findings.push(if is_settled {
                Finding::good("stack", status)
            } else {
                Finding::attention("stack", status, "look at its events: aws cloudformation describe-stack-events")
            });
            Deployed::of(told)
        }
        Err(why) => {
            let next = "sign in (aws sts get-caller-identity), or name the stack: cargo xtask doctor --stack NAME";
            return Ok(vec![Finding { what: "stack", state: State::Unknown, found: why.clone(), next }]);
        }
    };
    findings.push(configuration(ask, &deployed, bundle)?);
    findings.extend(keys(ask, stack, bundle));
    findings.extend(mail_out(ask, &deployed));
    findings.push(mail_in(ask, &deployed));
    findings.push(concurrency(ask));
    for (what, output) in [
        ("intake dead letters", "IntakeDeadLetterQueueUrl"),
        ("mail dead letters", "MailDeadLetterQueueUrl"),
        ("dead letters of events", "AlertDeadLetterQueueUrl"),
        ("follow-up dead letters", "FollowUpDeadLetterQueueUrl"),
    ] {
        findings.extend(dead_letters(ask, what, deployed.output(output)));
    }
    findings.push(alarms(ask, stack));
    Ok(findings)
}

fn unknown(what: &'static str, why: &str) -> Finding {
    Finding { what, state: State::Unknown, found: why.to_owned(), next: "" }
}

/// Whether the configuration that the stack names is there, and is the one in `playbook/`.
fn configuration(ask: Ask<'_>, deployed: &Deployed, bundle: &Bundle) -> Result<Finding> {
    let what = "configuration";
    let digest = deployed.parameter("ConfigDigest");
    let short: String = digest.chars().take(12).collect();
    let key = Bundle::location(digest);
    let bucket = deployed.output("EvidenceBucketName");
    if ask(&["s3api", "head-object", "--bucket", bucket, "--key", &key]).is_err() {
        let next = "cargo xtask config publish, then deploy with the digest that it prints";
        return Ok(Finding::attention(what, format!("{short}… is not in {bucket}: every stage refuses to work"), next));
    }
    let ours = canonical::digest(bundle).map_err(|fault| anyhow::anyhow!("{fault}"))?;
    if ours == digest {
        return Ok(Finding::good(what, format!("{short}… is published, and is what playbook/ says")));
    }
    let next = "cargo xtask config publish, then deploy with the digest that it prints, if that is what you want";
    Ok(Finding::attention(what, format!("{short}… is published, playbook/ here says something else"), next))
}

/// Whether everything that is on has its key.
fn keys(ask: Ask<'_>, stack: &str, bundle: &Bundle) -> Vec<Finding> {
    let named = publish::named(bundle);
    let next = "cargo xtask secret set ID; what has no key is off, and every incident says so";
    let look = |kind: &'static str| {
        let what = match kind {
            "providers" => "keys of providers",
            "targets" => "keys of targets",
            "alerts" => "keys of alert doors",
            _ => "keys of feeds",
        };
        let wanted: BTreeSet<&str> = named.iter().filter(|s| s.kind == kind && s.is_on).map(|s| s.id).collect();
        let path = format!("/{stack}/{kind}");
        let set = match ask(&["ssm", "get-parameters-by-path", "--path", &path]) {
            Ok(told) => told["Parameters"].as_array().cloned().unwrap_or_default(),
            Err(why) => return unknown(what, &why),
        };
        let is_set = |id: &&str| set.iter().any(|item| item["Name"] == format!("{path}/{id}").as_str());
        let missing: Vec<&str> = wanted.iter().copied().filter(|id| !is_set(id)).collect();
        if missing.is_empty() {
            Finding::good(what, format!("{} of {} are set", wanted.len(), wanted.len()))
        } else {
            Finding::attention(what, format!("missing: {}", missing.join(", ")), next)
        }
    };
    publish::KINDS.into_iter().map(look).collect()
}

/// Whether SES sends to anybody, and knows the sender.
fn mail_out(ask: Ask<'_>, deployed: &Deployed) -> Vec<Finding> {
    let account = match ask(&["sesv2", "get-account"]) {
        Ok(told) if told["SendingEnabled"] == false => Finding::attention(
            "mail out",
            "sending is paused in this account",
            "look at the account's reputation in the SES console",
        ),
        Ok(told) if told["ProductionAccessEnabled"] == true => {
            Finding::good("mail out", format!("production access, {} a day", told["SendQuota"]["Max24HourSend"]))
        }
        Ok(_) => Finding::attention(
            "mail out",
            "SES is in its sandbox: approvers whose addresses are not verified get no mail",
            "ask for production access, or verify each approver's address",
        ),
        Err(why) => unknown("mail out", &why),
    };
    let sender = deployed.parameter("SenderAddress");
    let domain = sender.rsplit('@').next().unwrap_or_default();
    let is_verified = |identity: &str| {
        ask(&["sesv2", "get-email-identity", "--email-identity", identity])
            .is_ok_and(|told| told["VerifiedForSendingStatus"] == true)
    };
    let identity = if is_verified(sender) || is_verified(domain) {
        Finding::good("sender", format!("{sender} is verified"))
    } else {
        Finding::attention(
            "sender",
            format!("neither {sender} nor {domain} is verified: SES refuses every mail"),
            "open the link that SES has mailed, or set the DNS records that it asks for",
        )
    };
    vec![account, identity]
}

/// Whether the receipt rule is in the active set.
fn mail_in(ask: Ask<'_>, deployed: &Deployed) -> Finding {
    let what = "mail in";
    if deployed.parameter("InboundDomain").is_empty() {
        return Finding::good(what, "no mail is received through SES (InboundDomain is empty)");
    }
    let domain = deployed.parameter("InboundDomain");
    match ask(&["ses", "describe-active-receipt-rule-set"]) {
        Ok(told) => {
            let rules = told["Rules"].as_array().cloned().unwrap_or_default();
            let is_heard = rules.iter().any(|rule| {
                rule["Enabled"] == true
                    && rule["Recipients"].as_array().is_some_and(|all| all.iter().any(|one| one == domain))
            });
            if is_heard {
                Finding::good(what, format!("{domain} is in the active rule set"))
            } else {
                Finding::attention(
                    what,
                    format!("no rule of the active rule set takes mail for {domain}"),
                    "aws ses set-active-receipt-rule-set --rule-set-name NAME",
                )
            }
        }
        Err(why) => unknown(what, &why),
    }
}

/// Whether Lambda has room for a storm beside everything else of the account.
fn concurrency(ask: Ask<'_>) -> Finding {
    let what = "Lambda concurrency";
    match ask(&["lambda", "get-account-settings"]) {
        Ok(told) => {
            let left = told["AccountLimit"]["UnreservedConcurrentExecutions"].as_u64();
            match left {
                Some(left) if left < 50 => Finding::attention(
                    what,
                    format!("{left} at once: ten incidents at the same time take about 50"),
                    "ask for a higher quota of concurrent executions (new accounts have 10)",
                ),
                Some(left) => Finding::good(what, format!("{left} at once")),
                None => unknown(what, "Lambda does not say"),
            }
        }
        Err(why) => unknown(what, &why),
    }
}

fn dead_letters(ask: Ask<'_>, what: &'static str, queue: &str) -> Option<Finding> {
    if queue.is_empty() {
        return None;
    }
    let attributes = ["sqs", "get-queue-attributes", "--queue-url", queue];
    let arguments = [&attributes[..], &["--attribute-names", "ApproximateNumberOfMessages"]].concat();
    Some(match ask(&arguments) {
        Ok(told) => match told["Attributes"]["ApproximateNumberOfMessages"].as_str() {
            Some("0") => Finding::good(what, "none"),
            Some(count) => Finding::attention(what, count, "docs/OPERATIONS.md, Dead letters"),
            None => unknown(what, "SQS does not say"),
        },
        Err(why) => unknown(what, &why),
    })
}

fn alarms(ask: Ask<'_>, stack: &str) -> Finding {
    let what = "alarms";
    match ask(&["cloudwatch", "describe-alarms", "--alarm-name-prefix", stack, "--state-value", "ALARM"]) {
        Ok(told) => {
            let alarms = told["MetricAlarms"].as_array().cloned().unwrap_or_default();
            let names: Vec<&str> = alarms.iter().filter_map(|alarm| alarm["AlarmName"].as_str()).collect();
            if names.is_empty() {
                Finding::good(what, "none rings")
            } else {
                Finding::attention(what, names.join(", "), "docs/OPERATIONS.md, Alarms")
            }
        }
        Err(why) => unknown(what, &why),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An account in which everything is in order, as the AWS command line tells it.
    fn told(arguments: &[&str], digest: &str) -> Result<Value, String> {
        let bundle = config::load(&Project::find().unwrap(), None).unwrap();
        match arguments {
            ["cloudformation", ..] => Ok(json!({"Stacks": [{
                "StackStatus": "UPDATE_COMPLETE",
                "Parameters": [
                    {"ParameterKey": "ConfigDigest", "ParameterValue": digest},
                    {"ParameterKey": "SenderAddress", "ParameterValue": "playbook@soc.example"},
                    {"ParameterKey": "InboundDomain", "ParameterValue": "report.soc.example"}
                ],
                "Outputs": [
                    {"OutputKey": "EvidenceBucketName", "OutputValue": "ioc-evidence"},
                    {"OutputKey": "IntakeDeadLetterQueueUrl", "OutputValue": "https://sqs.example/dlq"},
                    {"OutputKey": "AlertDeadLetterQueueUrl", "OutputValue": "https://sqs.example/alerts"}
                ]
            }]})),
            ["s3api", ..] => Ok(Value::Null),
            ["ssm", _, "--path", path] => {
                let names = publish::named(&bundle).into_iter().map(|s| json!({"Name": format!("{path}/{}", s.id)}));
                Ok(json!({"Parameters": names.collect::<Vec<_>>()}))
            }
            ["sesv2", "get-account"] => Ok(
                json!({"SendingEnabled": true, "ProductionAccessEnabled": true, "SendQuota": {"Max24HourSend": 50000}}),
            ),
            ["sesv2", _, _, "soc.example"] => Ok(json!({"VerifiedForSendingStatus": true})),
            ["sesv2", ..] => Err("NotFoundException".to_owned()),
            ["ses", ..] => Ok(json!({"Rules": [{"Enabled": true, "Recipients": ["report.soc.example"]}]})),
            ["lambda", ..] => Ok(json!({"AccountLimit": {"UnreservedConcurrentExecutions": 1000}})),
            ["sqs", ..] => Ok(json!({"Attributes": {"ApproximateNumberOfMessages": "0"}})),
            ["cloudwatch", ..] => Ok(json!({"MetricAlarms": []})),
            other => panic!("{other:?} is not asked"),
        }
    }

    fn check(change: impl Fn(&[&str]) -> Option<Result<Value, String>>, expected: &[(&str, State)]) {
        let bundle = config::load(&Project::find().unwrap(), None).unwrap();
        let digest = bundle.digest().unwrap();
        let ask = |arguments: &[&str]| change(arguments).unwrap_or_else(|| told(arguments, &digest));
        let findings = findings(&ask, "ioc", &bundle).unwrap();
        let odd: Vec<(&str, State)> =
            findings.iter().filter(|f| f.state != State::Good).map(|f| (f.what, f.state)).collect();
        assert_eq!(odd, expected, "{findings:#?}");
        assert!(findings.iter().all(|f| f.state != State::Attention || !f.next.is_empty()), "each says what to do");
    }

    #[test]
    fn a_deployment_in_order_needs_nothing() {
        check(|_| None, &[]);
    }

    #[test]
    fn what_fails_in_silence_is_found() {
        let sandbox = json!({"SendingEnabled": true, "ProductionAccessEnabled": false});
        check(|a| (a == ["sesv2", "get-account"]).then(|| Ok(sandbox.clone())), &[("mail out", State::Attention)]);
        check(
            |a| (a.starts_with(&["sesv2", "get-email-identity"])).then(|| Err("no".to_owned())),
            &[("sender", State::Attention)],
        );
        check(|a| (a[0] == "ses").then(|| Ok(json!({}))), &[("mail in", State::Attention)]);
        check(|a| (a[0] == "s3api").then(|| Err("404".to_owned())), &[("configuration", State::Attention)]);
        let few = json!({"AccountLimit": {"UnreservedConcurrentExecutions": 10}});
        check(|a| (a[0] == "lambda").then(|| Ok(few.clone())), &[("Lambda concurrency", State::Attention)]);
        let some = json!({"Attributes": {"ApproximateNumberOfMessages": "3"}});
        for (queue, what) in [("dlq", "intake dead letters"), ("alerts", "dead letters of events")] {
            let is_it = |a: &[&str]| a[0] == "sqs" && a[3].ends_with(queue);
            check(|a| is_it(a).then(|| Ok(some.clone())), &[(what, State::Attention)]);
        }
        let none = json!({"Parameters": []});
        for kind in publish::KINDS {
            let path = format!("/ioc/{kind}");
            let is_wanted = |bundle: &Bundle| publish::named(bundle).iter().any(|s| s.kind == kind && s.is_on);
            let bundle = config::load(&Project::find().unwrap(), None).unwrap();
            let what = match kind {
                "alerts" => "keys of alert doors".to_owned(),
                _ => format!("keys of {kind}"),
            };
            let odd = [(what.as_str(), State::Attention)];
            let odd = if is_wanted(&bundle) { &odd[..] } else { &[] };
            check(|a| (a.get(3) == Some(&path.as_str())).then(|| Ok(none.clone())), odd);
        }
        let rings = json!({"MetricAlarms": [{"AlarmName": "ioc-degraded"}]});
        check(|a| (a[0] == "cloudwatch").then(|| Ok(rings.clone())), &[("alarms", State::Attention)]);
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_called_good() {
        check(|a| (a[0] == "cloudformation").then(|| Err("no credentials".to_owned())), &[("stack", State::Unknown)]);
        check(|a| (a[0] == "lambda").then(|| Err("denied".to_owned())), &[("Lambda concurrency", State::Unknown)]);
    }
}
