//! `cargo xtask severity`: a person says how much an incident matters, with the AWS command line's own sign-in.

use anyhow::{Context, Result, bail};
use playbook::{
    IncidentId, Timestamp,
    incident::Incident,
    rows::{self, Key},
    severity::{Pinned, Severity},
};
use serde_json::{Value, json};

use crate::{
    demo,
    project::Project,
    publish::{self, Ask},
    recorded, term,
};

/// The longest reason, in characters.
const REASON_MAX_CHARS: usize = 300;

/// A severity on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Pin {
    /// Nobody needs to hurry.
    Low,
    /// Today.
    Medium,
    /// Within the hour.
    High,
    /// Now.
    Critical,
}

impl From<Pin> for Severity {
    fn from(pin: Pin) -> Self {
        match pin {
            Pin::Low => Self::Low,
            Pin::Medium => Self::Medium,
            Pin::High => Self::High,
            Pin::Critical => Self::Critical,
        }
    }
}

/// What is to become of the severity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is this, whatever the terms say.
    Pin {
        /// What it is.
        severity: Severity,
        /// Why.
        reason: String,
    },
    /// The terms say it again.
    Unpin,
}

/// Pins the severity of an incident of a stack, or lets go of it.
pub fn run(project: &Project, stack: &str, incident: &str, wish: &Wish) -> Result<()> {
    let ask = |arguments: &[&str]| publish::ask(project, arguments);
    for line in set(&ask, stack, incident, wish, demo::now())? {
        term::message(&line);
    }
    Ok(())
}

/// Writes or deletes the row; what happened and what happens next, a line each.
fn set(ask: Ask<'_>, stack: &str, incident: &str, wish: &Wish, now: Timestamp) -> Result<Vec<String>> {
    let id = IncidentId::try_from(incident.to_owned())?;
    let wish = checked(wish)?;
    let outputs = publish::outputs_by(ask, stack)?;
    let table = outputs.get("IncidentsTableName");
    let table =
        table.with_context(|| format!("the stack {stack} has no output IncidentsTableName: is it deployed?"))?;
    let change = match &wish {
        Wish::Pin { severity, reason } => {
            let by = caller(ask)?;
            let schema = Pinned::SCHEMA.to_owned();
            let pinned = Pinned { schema, severity: *severity, by, at: now, reason: reason.clone() };
            json!({ "Put": { "TableName": table, "Item": item(&Pinned::key(&id), &pinned)? } })
        }
        Wish::Unpin => json!({ "Delete": {
            "TableName": table, "Key": key(&Pinned::key(&id)), "ConditionExpression": "attribute_exists(pk)",
        } }),
    };
    let exists = json!({ "ConditionCheck": {
        "TableName": table, "Key": key(&Incident::key(&id)), "ConditionExpression": "attribute_exists(pk)",
    } });
    let writes = json!([exists, change]).to_string();
    ask(&["dynamodb", "transact-write-items", "--transact-items", &writes]).map_err(|why| refused(&why, stack, &id))?;
    let done = match &wish {
        Wish::Pin { severity, .. } => format!("the severity of {id} is pinned to {}", severity.as_str()),
        Wish::Unpin => format!("the severity of {id} is pinned no longer"),
    };
    Ok(vec![
        done,
        "It counts from the next assessment of the incident on; what was concluded so far stays. This command starts no run: \
         docs/OPERATIONS.md, \"The next run of an incident\", says how that is done."
            .to_owned(),
        match wish {
            Wish::Pin { .. } => format!("To undo: cargo xtask severity {id} --unpin --stack {stack}"),
            Wish::Unpin => format!("To undo: cargo xtask severity {id} SEVERITY --reason TEXT --stack {stack}"),
        },
    ])
}

/// The wish with its reason trimmed; a reason that nobody could read is refused.
fn checked(wish: &Wish) -> Result<Wish> {
    let Wish::Pin { severity, reason } = wish else { return Ok(Wish::Unpin) };
    let reason = reason.trim();
    let chars = reason.chars().count();
    if chars == 0 {
        bail!("the reason is empty: say in a sentence why, for those who read the incident later");
    }
    if chars > REASON_MAX_CHARS {
        bail!("the reason has {chars} characters: at most {REASON_MAX_CHARS}");
    }
    if reason.chars().any(char::is_control) {
        bail!("the reason holds a line break or another control character: one line of text");
    }
    Ok(Wish::Pin { severity: *severity, reason: reason.to_owned() })
}

/// Who is signed in.
fn caller(ask: Ask<'_>) -> Result<String> {
    let told = ask(&["sts", "get-caller-identity"]).map_err(|why| anyhow::anyhow!("nobody is signed in: {why}"))?;
    told["Arn"].as_str().map(str::to_owned).context("AWS does not say who is signed in")
}

fn key(key: &Key) -> Value {
    recorded::typed(&json!({ "pk": key.pk, "sk": key.sk }))
}

fn item(key: &Key, pinned: &Pinned) -> Result<Value> {
    let mut attributes = rows::attributes(pinned)?;
    attributes.insert("pk".to_owned(), key.pk.as_str().into());
    attributes.insert("sk".to_owned(), key.sk.as_str().into());
    Ok(recorded::typed(&Value::Object(attributes)))
}

/// Why nothing was written. DynamoDB names the reasons in the order of the writes: the incident first.
fn refused(why: &str, stack: &str, id: &IncidentId) -> anyhow::Error {
    if why.contains("[ConditionalCheckFailed") {
        anyhow::anyhow!("the stack {stack} has no incident {id}")
    } else if why.contains("ConditionalCheckFailed") {
        anyhow::anyhow!("the severity of {id} is not pinned")
    } else {
        anyhow::anyhow!("the severity of {id} cannot be written: {why}")
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const ARN: &str = "arn:aws:sts::123456789012:assumed-role/analyst/ana";

    fn id() -> IncidentId {
        IncidentId::of("default", "mail", "1")
    }

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-24T05:00:00Z").unwrap()
    }

    fn pin(severity: Severity, reason: &str) -> Wish {
        Wish::Pin { severity, reason: reason.to_owned() }
    }

    /// What the command says where DynamoDB answers so, and what was written.
    fn say(incident: &str, wish: &Wish, answer: &Result<Value, String>) -> (Result<Vec<String>>, Vec<Value>) {
        let written = RefCell::new(vec![]);
        let ask = |arguments: &[&str]| match arguments {
            ["cloudformation", "describe-stacks", "--stack-name", "ioc"] => Ok(json!({"Stacks": [{
                "Outputs": [{"OutputKey": "IncidentsTableName", "OutputValue": "ioc-incidents"}]
            }]})),
            ["cloudformation", ..] => Ok(json!({"Stacks": [{}]})),
            ["sts", "get-caller-identity"] => Ok(json!({ "Arn": ARN })),
            ["dynamodb", "transact-write-items", "--transact-items", items] => {
                written.borrow_mut().push(serde_json::from_str(items).unwrap());
                answer.clone()
            }
            other => panic!("{other:?} is not asked"),
        };
        let said = set(&ask, "ioc", incident, wish, now());
        (said, written.into_inner())
    }

    fn check_refused(incident: &str, wish: &Wish, expected: &str) {
        let (said, written) = say(incident, wish, &Ok(Value::Null));
        let error = format!("{:#}", said.unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert_eq!(written, Vec::<Value>::new());
    }

    #[test]
    fn a_pin_is_the_row_that_assess_reads_and_needs_the_incident() {
        let (said, written) = say(id().as_str(), &pin(Severity::Low, " a test of ours "), &Ok(Value::Null));
        let said = said.unwrap();
        assert_eq!(said[0], format!("the severity of {} is pinned to low", id()));
        assert!(said[1].contains("next assessment") && said[2].contains("--unpin --stack ioc"), "{said:?}");
        let [exists, put] = <[Value; 2]>::try_from(written[0].as_array().unwrap().clone()).unwrap();
        let check = &exists["ConditionCheck"];
        assert_eq!(recorded::plain(&check["Key"]), json!({"pk": format!("incident#{}", id()), "sk": "meta"}));
        assert_eq!(check["ConditionExpression"], "attribute_exists(pk)");
        let row = recorded::plain(&put["Put"]["Item"]);
        assert_eq!((&row["pk"], &row["sk"]), (&json!(format!("incident#{}", id())), &json!("severity")));
        let pinned: Pinned = serde_json::from_value(row).unwrap();
        let expected = Pinned {
            schema: "pinned/1".to_owned(),
            severity: Severity::Low,
            by: ARN.to_owned(),
            at: now(),
            reason: "a test of ours".to_owned(),
        };
        assert_eq!(pinned, expected);
        assert_eq!((&check["TableName"], &put["Put"]["TableName"]), (&json!("ioc-incidents"), &json!("ioc-incidents")));
    }

    #[test]
    fn letting_go_deletes_the_row() {
        let (said, written) = say(id().as_str(), &Wish::Unpin, &Ok(Value::Null));
        assert_eq!(said.unwrap()[0], format!("the severity of {} is pinned no longer", id()));
        let delete = &written[0][1]["Delete"];
        assert_eq!(recorded::plain(&delete["Key"]), json!({"pk": format!("incident#{}", id()), "sk": "severity"}));
    }

    #[test]
    fn what_cannot_be_written_says_why() {
        let check = |why: &str, wish: &Wish, expected: &str| {
            let (said, _) = say(id().as_str(), wish, &Err(why.to_owned()));
            let error = said.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let cancelled = "An error occurred (TransactionCanceledException) when calling the TransactWriteItems operation: \
                         Transaction cancelled, please refer cancellation reasons for specific reasons ";
        let pin = pin(Severity::High, "x");
        check(&format!("{cancelled}[ConditionalCheckFailed, None]"), &pin, "the stack ioc has no incident inc-");
        check(&format!("{cancelled}[None, ConditionalCheckFailed]"), &Wish::Unpin, "is not pinned");
        check("An error occurred (AccessDeniedException)", &pin, "cannot be written: An error occurred (AccessDenied");
    }

    #[test]
    fn nothing_is_written_for_no_incident_or_without_a_reason() {
        check_refused("inc-1", &pin(Severity::High, "x"), "is not an incident id");
        check_refused(id().as_str(), &pin(Severity::High, " \t "), "the reason is empty");
        check_refused(id().as_str(), &pin(Severity::High, &"ä".repeat(301)), "has 301 characters: at most 300");
        check_refused(id().as_str(), &pin(Severity::High, "a\nb"), "line break");
        let (said, _) = say(id().as_str(), &pin(Severity::High, &"ä".repeat(300)), &Ok(Value::Null));
        assert!(said.is_ok());
    }

    #[test]
    fn a_stack_without_a_table_is_named() {
        let ask = |_: &[&str]| Ok(json!({"Stacks": [{}]}));
        let error = set(&ask, "other", id().as_str(), &Wish::Unpin, now()).unwrap_err();
        assert!(error.to_string().contains("the stack other has no output"), "{error}");
    }
}
