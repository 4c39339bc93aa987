//! What must hold of a source's manifest before anything of it is taken; every complaint names its line.

use super::{IntakeSource, feed};
use crate::{
    authored::{self, Complaint, is_id},
    mapping::Expression,
};

/// The longest name that people give a source, in characters.
const NAME_MAX_CHARS: usize = 80;

impl IntakeSource {
    /// Reads and checks a manifest; unknown keys are errors. `file` names it in messages, and its stem must be the id.
    pub fn parse(yaml: &str, file: &str) -> Result<Self, Complaint> {
        let source: Self = authored::read(yaml, file)?;
        let misnamed = authored::named_as(&source.id, file).err().map(|wrong| wrong.message);
        match source.faults().into_iter().chain(misnamed).next() {
            None => Ok(source),
            Some(message) => {
                let keys: Vec<&str> = message.split(':').next().unwrap_or_default().split('.').collect();
                Err(Complaint { file: file.to_owned(), line: authored::line_of(yaml, &keys), message })
            }
        }
    }

    /// Everything that is wrong with the manifest, a sentence each, beginning with the key that it is about.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = vec![];
        let mut complain = |is_wrong: bool, message: &str| {
            if is_wrong {
                faults.push(message.to_owned());
            }
        };
        complain(self.schema != Self::SCHEMA, "schema: this version reads \"intake-source/1\"");
        complain(!is_id(&self.id), "id: lower-case letters, digits and hyphens, at most 40");
        complain(is_blank(&self.name), "name: 1 to 80 characters");
        complain(!is_id(&self.tenant), "tenant: lower-case letters, digits and hyphens, at most 40");
        complain(
            self.terms.as_ref().is_some_and(|terms| terms.note.trim().is_empty()),
            "terms.note: what they ask for",
        );
        let doors =
            [self.webhook.is_some(), self.event.is_some(), self.feed.is_some()].into_iter().filter(|there| *there);
        complain(doors.count() != 1, "schema: there is exactly one of webhook, event and feed");
        if let Some(webhook) = &self.webhook {
            complain(
                !is_id(&webhook.secret),
                "webhook.secret: the id of a secret, of lower-case letters, digits and hyphens, never the secret itself",
            );
        }
        if let Some(event) = &self.event {
            complain(is_blank(&event.source), "event.source: the source of the event, such as aws.guardduty");
            complain(is_blank(&event.detail_type), "event.detail_type: the detail-type of the event");
        }
        faults.extend(feed::faults(self).into_iter().map(|fault| format!("feed.{fault}")));
        if let Err(error) = Expression::compile(&self.mapping) {
            faults.push(format!("mapping: {error}"));
        }
        faults
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty() || text.chars().count() > NAME_MAX_CHARS || text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "schema: intake-source/1\nid: siem\nname: SIEM\nwebhook:\n  auth: hmac\n  secret: siem\nmapping: body\n";

    fn check(from: &str, to: &str, line: u64, expected: &str) {
        assert!(GOOD.contains(from), "{from}");
        let error = IntakeSource::parse(&GOOD.replacen(from, to, 1), "playbook/intake/siem.yaml").unwrap_err();
        assert_eq!((error.line, error.message.contains(expected)), (line, true), "{to}: {error}");
    }

    #[test]
    fn a_good_manifest_is_read() {
        let source = IntakeSource::parse(GOOD, "playbook/intake/siem.yaml").unwrap();
        assert_eq!((source.tenant.as_str(), source.off_reason()), ("default", None));
    }

    #[test]
    fn a_wrong_manifest_is_refused_with_its_line() {
        check("intake-source/1", "intake-source/2", 1, "this version reads");
        check("id: siem", "id: other", 2, "the file is called siem.yaml");
        check("id: siem", "id: ../x", 2, "lower-case letters");
        check("name: SIEM", "name: \"\"", 3, "1 to 80");
        check("name: SIEM", "name: SIEM\ntenant: A B", 4, "tenant");
        check("name: SIEM", "surprise: 1\nname: SIEM", 3, "surprise");
        check("  secret: siem", "  secret: S3cr3t!", 6, "never the secret itself");
        check("auth: hmac", "auth: none", 5, "none");
        check("mapping: body", "mapping: body.$eval(x)", 7, "$eval may not be used");
        check("mapping: body", "event: {source: aws.x, detail_type: y}\nmapping: body", 1, "exactly one");
        let event = "event:\n  source: \"\"\n  detail_type: x\n";
        check("webhook:\n  auth: hmac\n  secret: siem\n", event, 5, "such as aws.guardduty");
        check("webhook:\n  auth: hmac\n  secret: siem\n", "", 1, "exactly one");
    }
}
