//! Retries as the state machine makes them.

use std::time::Duration;

use playbook::Fault;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;
use xtask::project::Project;

/// What the definition says of one state's retries.
pub struct Retries(Vec<Retrier>);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Retrier {
    error_equals: Vec<String>,
    interval_seconds: f64,
    backoff_rate: f64,
    max_attempts: usize,
    max_delay_seconds: f64,
}

/// How an incident ended, and on the way there.
#[derive(Debug)]
pub struct Ended {
    pub is_done: bool,
    pub faults: Vec<Fault>,
}

impl Retries {
    /// Those of state `Enrich` in `statemachine/playbook.asl.json`.
    pub fn of_enrich(project: &Project) -> Self {
        let text = std::fs::read_to_string(project.path("statemachine/playbook.asl.json")).unwrap();
        let definition: Value = serde_json::from_str(&text).unwrap();
        let map = definition["States"]
            .as_object()
            .unwrap()
            .values()
            .find(|state| state.pointer("/ItemProcessor/States/Enrich").is_some());
        let retries = &map.unwrap()["ItemProcessor"]["States"]["Enrich"]["Retry"];
        Self(serde_json::from_value(retries.clone()).unwrap())
    }

    /// Runs it again as often as the definition says, with its pauses and full jitter.
    pub async fn run<T>(&self, incident: usize, mut stage: impl AsyncFnMut() -> Result<T, Fault>) -> Ended {
        let mut faults: Vec<Fault> = vec![];
        let mut used = vec![0; self.0.len()];
        loop {
            let Err(fault) = stage().await else { return Ended { is_done: true, faults } };
            let place = self.0.iter().position(|retrier| retrier.error_equals.iter().any(|name| name == fault.name()));
            faults.push(fault);
            let Some(place) = place.filter(|place| used[*place] < self.0[*place].max_attempts) else {
                return Ended { is_done: false, faults };
            };
            let Retrier { interval_seconds, backoff_rate, max_delay_seconds, .. } = &self.0[place];
            let exponent = i32::try_from(used[place]).unwrap();
            let longest = (interval_seconds * backoff_rate.powi(exponent)).min(*max_delay_seconds);
            used[place] += 1;
            sleep(Duration::from_secs_f64(longest * part(incident, faults.len()))).await;
        }
    }
}

/// Between 0 and 1, different for every incident and try, the same in every run.
fn part(incident: usize, attempt: usize) -> f64 {
    let digest = playbook::canonical::sha256_hex(format!("{incident}#{attempt}").as_bytes());
    f64::from(u16::from_str_radix(&digest[..4], 16).unwrap()) / f64::from(u16::MAX)
}
