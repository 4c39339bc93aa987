//! From what an incident uses to dollars. Pure: quantities in, dollars out.

use serde::{Deserialize, Serialize};

/// When the prices were looked up, where the table names a source.
pub const PRICED_ON: &str = "2026-11-24";
/// Where they hold: list prices, no free tier, no savings plan.
pub const REGION: &str = "us-east-1";

/// The source of prices that AWS has not changed for years and that nobody has looked up for this table.
const NOT_LOOKED_UP: &str = "AWS's list price of long standing, not looked up";

/// A price.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Of what.
    pub what: &'static str,
    /// Dollars for so many.
    pub dollars: f64,
    /// How many.
    pub per: f64,
    /// What is counted.
    pub unit: &'static str,
    /// Where it stands.
    pub source: &'static str,
}

impl Price {
    const fn new(what: &'static str, dollars: f64, per: f64, unit: &'static str, source: &'static str) -> Self {
        Self { what, dollars, per, unit, source }
    }

    fn of(self, count: f64) -> f64 {
        self.dollars * count / self.per
    }
}

/// A state entered, retries included.
pub const TRANSITION: Price = Price::new(
    "Step Functions, Standard",
    0.025,
    1_000.0,
    "state transitions",
    "aws.amazon.com/step-functions/pricing",
);
/// A call of a function.
pub const INVOCATION: Price =
    Price::new("Lambda, requests", 0.20, 1_000_000.0, "requests", "cloudchipr.com/blog/aws-lambda-pricing");
/// A function's time, on the processor that the template takes where nothing else is said.
pub const GB_SECOND: Price = Price::new(
    "Lambda, x86_64 (arm64 is 20 % less)",
    0.000_016_666_7,
    1.0,
    "GB-seconds",
    "cloudchipr.com/blog/aws-lambda-pricing",
);
/// 4 KB read consistently.
pub const READ_UNIT: Price = Price::new(
    "DynamoDB on demand, reads",
    0.125,
    1_000_000.0,
    "read request units",
    "jusdb.com, airbyte.com: half since 2024-11-01",
);
/// 1 KB written.
pub const WRITE_UNIT: Price = Price::new(
    "DynamoDB on demand, writes",
    0.625,
    1_000_000.0,
    "write request units",
    "jusdb.com, airbyte.com: half since 2024-11-01",
);
/// An object written.
pub const PUT: Price = Price::new("S3, PUT", 0.005, 1_000.0, "requests", NOT_LOOKED_UP);
/// An object read.
pub const GET: Price = Price::new("S3, GET", 0.000_4, 1_000.0, "requests", NOT_LOOKED_UP);
/// A message sent, received or deleted.
pub const MESSAGE: Price = Price::new("SQS", 0.40, 1_000_000.0, "requests", "adhdecode.com");
/// A mail out.
pub const MAIL: Price = Price::new("SES, mail out", 0.10, 1_000.0, "mails", NOT_LOOKED_UP);
/// A request of a browser.
pub const API: Price = Price::new("HTTP API", 1.00, 1_000_000.0, "requests", "appropri8.com");
/// A line of the log.
pub const LOG: Price = Price::new("CloudWatch Logs, taken in", 0.50, 1_000_000_000.0, "bytes", NOT_LOOKED_UP);
/// A trace.
pub const TRACE: Price = Price::new("X-Ray", 5.00, 1_000_000.0, "traces recorded", NOT_LOOKED_UP);
/// An alarm on a metric.
pub const ALARM: Price = Price::new("CloudWatch, alarm", 0.10, 1.0, "alarms a month", NOT_LOOKED_UP);
/// A metric of our own.
pub const METRIC: Price = Price::new("CloudWatch, metric of one's own", 0.30, 1.0, "metrics a month", NOT_LOOKED_UP);
/// A secret.
pub const SECRET: Price = Price::new("Secrets Manager", 0.40, 1.0, "secrets a month", NOT_LOOKED_UP);

/// Every price that is used.
pub const PRICES: [Price; 15] = [
    TRANSITION, INVOCATION, GB_SECOND, READ_UNIT, WRITE_UNIT, PUT, GET, MESSAGE, MAIL, API, LOG, TRACE, ALARM, METRIC,
    SECRET,
];

/// What one incident uses, or one stage of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// States entered.
    pub transitions: f64,
    /// Functions called.
    pub invocations: f64,
    /// Their time by their memory.
    pub gb_seconds: f64,
    /// DynamoDB.
    pub read_units: f64,
    /// DynamoDB.
    pub write_units: f64,
    /// S3.
    pub puts: f64,
    /// S3.
    pub gets: f64,
    /// SQS requests.
    pub messages: f64,
    /// Mails out.
    pub mails: f64,
    /// Requests at the page.
    pub requests: f64,
    /// Bytes of logs.
    pub log_bytes: f64,
    /// Traces recorded.
    pub traces: f64,
}

/// A part of a bill: what, how many, dollars.
pub type Part = (&'static str, f64, f64);

impl Usage {
    /// The bill for a thousand incidents, part by part; what is not used is left out.
    #[must_use]
    pub fn bill(&self) -> Vec<Part> {
        let part = |what: &'static str, count: f64, price: Price| (what, count, price.of(count) * 1_000.0);
        let parts = [
            part("state transitions", self.transitions, TRANSITION),
            part("Lambda requests", self.invocations, INVOCATION),
            part("Lambda time, GB-seconds", self.gb_seconds, GB_SECOND),
            part("DynamoDB read units", self.read_units, READ_UNIT),
            part("DynamoDB write units", self.write_units, WRITE_UNIT),
            part("S3 PUT", self.puts, PUT),
            part("S3 GET", self.gets, GET),
            part("SQS requests", self.messages, MESSAGE),
            part("mails", self.mails, MAIL),
            part("HTTP API requests", self.requests, API),
            part("log bytes", self.log_bytes, LOG),
            part("traces", self.traces, TRACE),
        ];
        parts.into_iter().filter(|(_, count, _)| *count > 0.0).collect()
    }

    /// Dollars for a thousand incidents.
    #[must_use]
    pub fn per_thousand(&self) -> f64 {
        self.bill().iter().map(|(_, _, dollars)| dollars).sum()
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            transitions: self.transitions + other.transitions,
            invocations: self.invocations + other.invocations,
            gb_seconds: self.gb_seconds + other.gb_seconds,
            read_units: self.read_units + other.read_units,
            write_units: self.write_units + other.write_units,
            puts: self.puts + other.puts,
            gets: self.gets + other.gets,
            messages: self.messages + other.messages,
            mails: self.mails + other.mails,
            requests: self.requests + other.requests,
            log_bytes: self.log_bytes + other.log_bytes,
            traces: self.traces + other.traces,
        }
    }
}

/// Memory by time, as Lambda bills it.
#[must_use]
pub fn gb_seconds(memory_mb: f64, seconds: f64) -> f64 {
    memory_mb / 1_024.0 * seconds
}

/// What stands in the template and costs by the month, whether or not anything comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Alarms, without the canary's.
    pub alarms: f64,
    /// Secrets of Secrets Manager.
    pub secrets: f64,
    /// Queues that Lambda polls.
    pub queues: f64,
}

impl Standing {
    /// Counts them.
    #[must_use]
    pub fn of(template: &str) -> Self {
        let mut counted = Self { alarms: 0.0, secrets: 0.0, queues: 0.0 };
        let resources = template.split("\nResources:\n").nth(1).unwrap_or_default();
        // A resource begins two spaces in; its type and condition stand four spaces in.
        for resource in resources.split("\n    Type: ").skip(1) {
            let kind = resource.lines().next().unwrap_or_default();
            let is_optional = resource.lines().nth(1).is_some_and(|line| line.trim().starts_with("Condition: Has"));
            match kind {
                "AWS::CloudWatch::Alarm" if !is_optional => counted.alarms += 1.0,
                "AWS::SecretsManager::Secret" => counted.secrets += 1.0,
                _ => {}
            }
        }
        counted.queues = resources.matches("\n          Type: SQS\n").fold(0.0, |count, _| count + 1.0);
        counted
    }
}

/// Minutes of a month.
const MINUTES: f64 = 43_800.0;
/// Metrics of our own that `sweep` writes every minute, so that they are there all month.
const METRICS_OF_SWEEP: f64 = 6.0;

/// Questions that Lambda asks an empty queue in a month.
const POLLS: f64 = 5.0 * 3.0 * MINUTES;

/// What a month costs in which nothing comes in: what, dollars.
#[must_use]
pub fn fixed(template: &str) -> Vec<(&'static str, f64)> {
    let standing = Standing::of(template);
    // Estimates: a tenth of a second each; a handful of queries that find nothing, and the metrics' lines.
    let run = |memory_mb: f64, reads: f64| Usage {
        invocations: 1.0,
        gb_seconds: gb_seconds(memory_mb, 0.1),
        read_units: reads,
        log_bytes: 700.0,
        ..Usage::default()
    };
    let sweep = run(256.0, 6.0).per_thousand() / 1_000.0 * MINUTES;
    let feeds = run(512.0, 4.0).per_thousand() / 1_000.0 * MINUTES / 5.0;
    vec![
        ("alarms", ALARM.of(standing.alarms)),
        ("metrics that `sweep` writes every minute", METRIC.of(METRICS_OF_SWEEP)),
        (
            "secrets of Secrets Manager (providers' keys lie in Parameter Store, which is free)",
            SECRET.of(standing.secrets),
        ),
        (
            "Lambda's polling of the queues (estimate: five at once, 20 seconds each)",
            MESSAGE.of(standing.queues * POLLS),
        ),
        ("`sweep`, once a minute (estimate)", sweep),
        ("`poll-feeds`, every five minutes (estimate)", feeds),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(usage: Usage, dollars: f64) {
        let got = usage.per_thousand();
        assert!((got - dollars).abs() < 0.000_5, "{got} instead of {dollars}: {usage:?}");
    }

    #[test]
    fn dollars_follow_from_quantities() {
        let none = Usage::default();
        check(none, 0.0);
        check(Usage { transitions: 7.0, ..none }, 0.175);
        check(Usage { transitions: 301.0, ..none }, 7.525);
        check(Usage { write_units: 75.0, ..none }, 0.046_9);
        check(Usage { read_units: 25.0, ..none }, 0.003_1);
        check(Usage { puts: 1.0, gets: 2.0, ..none }, 0.005_8);
        check(Usage { gb_seconds: gb_seconds(512.0, 2.0), ..none }, 0.016_7);
        check(Usage { mails: 2.0, ..none }, 0.2);
        let both = Usage { transitions: 1.0, ..none }.plus(&Usage { transitions: 2.0, mails: 1.0, ..none });
        check(both, 0.175);
        assert_eq!(both.bill().len(), 2);
    }

    #[test]
    fn what_stands_is_counted_in_the_template() {
        let template = "Parameters:\n  A:\n    Type: String\nResources:\n  One:\n    Type: AWS::CloudWatch::Alarm\n    Properties: {}\n  \
                        Two:\n    Type: AWS::CloudWatch::Alarm\n    Condition: HasCanary\n  Three:\n    Type: AWS::SecretsManager::Secret\n";
        assert_eq!(Standing::of(template), Standing { alarms: 1.0, secrets: 1.0, queues: 0.0 });
        let shipped = Standing::of(include_str!("../../../infra/template.yaml"));
        assert!(shipped.alarms >= 8.0 && shipped.secrets >= 1.0 && shipped.queues >= 2.0, "{shipped:?}");
    }
}
