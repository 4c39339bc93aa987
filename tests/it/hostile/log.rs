//! The log: whatever it is told, each line is one JSON object, and none is a metric.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use playbook::Fault;
use serde_json::Value;
use tracing::{debug, error, info, subscriber::with_default};

use super::{each, places::Scenes, readers};

/// Keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Members that a line may have.
const MEMBERS: [&str; 9] =
    ["fault", "incident.id", "level", "message", "observable", "stage", "target", "text", "time"];

/// Reads lines as `CloudWatch` does: each is an object by itself.
fn read(lines: &str) -> Result<usize, String> {
    for line in lines.lines() {
        let Ok(Value::Object(object)) = serde_json::from_str(line) else { return Err(format!("no object: {line}")) };
        if let Some(foreign) = object.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            return Err(format!("{foreign} is no member of ours: {line}"));
        }
        if !readers::hidden(line).is_empty() {
            return Err(format!("a line hides something: {line}"));
        }
    }
    Ok(lines.lines().count())
}

#[test]
fn a_line_is_one_object_of_ours_whatever_it_is_told() {
    let scenes = Scenes::new();
    each("lines of the log", 3 + scenes.count(), |payload| {
        let kept = Kept::default();
        let writer = kept.clone();
        let scene = scenes.with(payload);
        let faults = [
            Fault::Rejected(payload.to_owned()),
            Fault::Unavailable(format!("x: {payload}")),
            Fault::Misconfigured(payload.to_owned()),
        ];
        with_default(aws::logs::to(move || writer.clone()), || {
            for fault in &faults {
                error!(incident.id = payload, fault = fault.name(), "{fault}");
            }
            for assessed in &scene.assessment.observables {
                debug!(observable = %assessed.sighted.observable, "looked up");
            }
            info!(text = ?scene.assessment.omissions, "{payload}");
        });
        let lines = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let expected = faults.len() + scene.assessment.observables.len() + 1;
        assert_eq!(read(&lines), Ok(expected), "{payload:?}");
    });
}

#[test]
fn a_line_that_is_not_ours_is_found() {
    assert_eq!(read("{\"level\":\"INFO\",\"message\":\"x\"}\n"), Ok(1));
    for lines in
        ["{\"message\":\"x\"}\nforged", "{\"_aws\":{}}", "{\"message\":\"\u{9b}\"}", "[]", "{\"message\":\"\u{202e}\"}"]
    {
        assert!(read(lines).is_err(), "{lines}");
    }
}
