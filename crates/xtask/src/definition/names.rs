//! ARNs and names that a deployment has filled in, turned back into `${…}`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// How the resources of a stack are called.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// By what CloudFormation says: the resource's own name, and its id in the template.
    by_name: BTreeMap<String, String>,
    /// The ids in the template that may be named; CloudFormation calls a resource `<stack>-<id>-<suffix>`.
    ids: BTreeSet<String>,
}

impl Names {
    /// Goes by what CloudFormation calls a resource of one of these ids.
    #[must_use]
    pub fn of_ids(ids: impl IntoIterator<Item = String>) -> Self {
        Self { by_name: BTreeMap::new(), ids: ids.into_iter().collect() }
    }

    /// Goes by what a stack says of itself first: the answer of `aws cloudformation list-stack-resources`.
    #[must_use]
    pub fn with_resources(mut self, told: &Value) -> Self {
        for resource in told["StackResourceSummaries"].as_array().into_iter().flatten() {
            let text = |key: &str| resource[key].as_str().unwrap_or_default();
            let (id, name) = (text("LogicalResourceId"), text("PhysicalResourceId"));
            if self.ids.contains(id) && !name.is_empty() {
                self.by_name.insert(last(name).to_owned(), id.to_owned());
            }
        }
        self
    }

    /// Puts `${…}` in the place of every name and ARN that is a resource of ours.
    pub fn restore(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(id) = self.id_of(text) {
                    *text = format!("${{{id}}}");
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.restore(item);
                }
            }
            Value::Object(map) => {
                for (_, value) in map.iter_mut().filter(|(key, _)| *key != "Comment") {
                    self.restore(value);
                }
            }
            _ => {}
        }
    }

    fn id_of(&self, text: &str) -> Option<&str> {
        if text.starts_with("arn:aws:states:::") || text.starts_with("{%") {
            return None;
        }
        // The editor writes the newest version of a function out; that is what the bare name means too.
        let name = last(text.strip_suffix(":$LATEST").unwrap_or(text));
        if let Some(id) = self.by_name.get(name) {
            return Some(id);
        }
        let (head, suffix) = name.rsplit_once('-')?;
        let is_suffix = suffix.len() >= 8 && suffix.bytes().all(|b| b.is_ascii_alphanumeric());
        let (_, id) = head.rsplit_once('-')?;
        self.ids.get(id).filter(|_| is_suffix).map(String::as_str)
    }
}

/// The last part of an ARN; a name that is none is itself.
fn last(arn: &str) -> &str {
    if arn.starts_with("arn:") { arn.rsplit([':', '/']).next().unwrap_or(arn) } else { arn }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &str, expected: &str) {
        let told = json!({"StackResourceSummaries": [
            {"LogicalResourceId": "CloseFunction", "PhysicalResourceId": "a-stack-with-a-long-name-CloseFun-1A2B3C4D5E6F"},
            {"LogicalResourceId": "Other", "PhysicalResourceId": "other"},
        ]});
        let names = Names::of_ids(["CloseFunction", "IncidentsTable", "AlarmTopic"].map(str::to_owned));
        let mut value = json!([{"x": text}]);
        names.with_resources(&told).restore(&mut value);
        assert_eq!(value, json!([{"x": expected}]), "{text}");
    }

    #[test]
    fn what_the_deployment_filled_in_is_a_placeholder_again() {
        let function = "arn:aws:lambda:eu-west-1:111111111111:function:ioc-CloseFunction-AbCdEf123456";
        check(function, "${CloseFunction}");
        check(&format!("{function}:$LATEST"), "${CloseFunction}");
        check("ioc-prod-IncidentsTable-1ABCDEFGHIJKL", "${IncidentsTable}");
        check("arn:aws:sns:eu-west-1:111111111111:ioc-AlarmTopic-x1y2z3a4b5c6", "${AlarmTopic}");
    }

    #[test]
    fn a_name_that_was_cut_is_known_from_the_stack() {
        check(
            "arn:aws:lambda:eu-west-1:111111111111:function:a-stack-with-a-long-name-CloseFun-1A2B3C4D5E6F",
            "${CloseFunction}",
        );
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        let version = "arn:aws:lambda:eu-west-1:111111111111:function:ioc-CloseFunction-AbCdEf123456:7";
        for text in
            ["${CloseFunction}", "CloseFunction", "arn:aws:states:::lambda:invoke", "{% $x %}", "other", version]
        {
            check(text, text);
        }
    }
}
