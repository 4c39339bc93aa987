//! Metrics: one line of JSON on standard output, of which `CloudWatch` makes metrics (embedded metric format).

use std::{collections::BTreeMap, io::Write as _, sync::OnceLock};

use serde_json::{Map, Value, json};

use crate::{Platform, clock};

/// Counts what a stage has done, under the names that alarms and dashboard of the template know; a name that ends in
/// `Seconds` is a time. Names are fixed and values are numbers: nothing from outside can get into a metric.
///
/// The namespace is `STACK_NAME`; without it nothing is written. A name twice is added up. Zeros are written too, so that
/// an alarm can tell "none" from "silent". Makes no call and cannot fail.
pub fn count(stage: &'static str, values: &[(&'static str, u64)]) {
    static NAMESPACE: OnceLock<Option<String>> = OnceLock::new();
    let Some(namespace) = NAMESPACE.get_or_init(|| Platform::optional_setting("STACK_NAME")) else { return };
    if values.is_empty() {
        return;
    }
    let line = line(namespace, stage, clock::now_ms(), values);
    // A metric that cannot be written is no reason to fail the work.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Counts what a stage says of itself when it has done its work; of a fault nothing is counted here, Lambda does.
pub fn tell<M: Iterator<Item = (&'static str, usize)>, E>(stage: &'static str, metrics: Result<M, E>) {
    let values: Vec<(&'static str, u64)> =
        metrics.into_iter().flatten().map(|(name, number)| (name, of(number))).collect();
    count(stage, &values);
}

/// How many of a thing there are, as [`count`] takes it.
#[must_use]
pub fn of(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
fn line(namespace: &str, stage: &str, now_ms: i64, values: &[(&'static str, u64)]) -> Value {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, value) in values {
        let sum = sums.entry(name).or_default();
        *sum = sum.saturating_add(*value);
    }
    let unit = |name: &str| if name.ends_with("Seconds") { "Seconds" } else { "Count" };
    let metrics: Vec<Value> = sums.keys().map(|name| json!({ "Name": name, "Unit": unit(name) })).collect();
    // Without dimensions: one series a name, and nothing that could grow without bound.
    let about = json!([{ "Namespace": namespace, "Dimensions": [[]], "Metrics": metrics }]);
    let mut line = Map::new();
    line.insert("_aws".to_owned(), json!({ "Timestamp": now_ms, "CloudWatchMetrics": about }));
    line.insert("stage".to_owned(), stage.into());
    line.extend(sums.into_iter().map(|(name, sum)| (name.to_owned(), sum.into())));
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_cloudwatch_reads() {
        let values = [("IncidentsEnforced", 1), ("ReviewWaitSeconds", 90), ("IncidentsEnforced", 2)];
        let expected = json!({
            "_aws": {"Timestamp": 1_000, "CloudWatchMetrics": [{"Namespace": "ioc", "Dimensions": [[]], "Metrics": [
                {"Name": "IncidentsEnforced", "Unit": "Count"}, {"Name": "ReviewWaitSeconds", "Unit": "Seconds"},
            ]}]},
            "stage": "close", "IncidentsEnforced": 3, "ReviewWaitSeconds": 90,
        });
        assert_eq!(line("ioc", "close", 1_000, &values), expected);
    }

    #[test]
    fn nothing_is_so_much_that_it_overflows() {
        let line = line("ioc", "enrich", 0, &[("Lookups", u64::MAX), ("Lookups", of(7))]);
        assert_eq!(line["Lookups"], u64::MAX);
    }
}
