//! The log: one JSON object a line on standard output, fields under their dotted names.

use std::{
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
};

use lambda_runtime::tracing::subscriber::{
    self,
    filter::EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};

static STAGE: OnceLock<&'static str> = OnceLock::new();
/// A sandbox works on one invocation at a time.
static REQUEST: Mutex<String> = Mutex::new(String::new());

/// Sets the log up, once; later calls change nothing. Levels come from `RUST_LOG`, `info` where it is absent.
pub fn start(stage: &'static str) {
    if STAGE.set(stage).is_err() {
        return;
    }
    let mut filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    // The runtime logs what a handler returns as an error; `serve` has said it already.
    if let Ok(directive) = "lambda_runtime::layers::panic=off".parse() {
        filter = filter.add_directive(directive);
    }
    let log = subscriber::fmt().with_env_filter(filter).with_writer(std::io::stdout).event_format(Lines);
    // Fails only where a test has set up a log of its own.
    let _ = log.try_init();
}

/// The stage that this sandbox runs.
pub fn stage() -> &'static str {
    STAGE.get().copied().unwrap_or("unknown")
}

/// The lines from here on belong to this request.
pub fn begin(request_id: &str) {
    let mut request = REQUEST.lock().unwrap_or_else(PoisonError::into_inner);
    request.clear();
    request.push_str(request_id);
}

struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let request = REQUEST.lock().unwrap_or_else(PoisonError::into_inner).clone();
        writeln!(writer, "{}", Value::Object(line(event, &request)))
    }
}

fn line(event: &Event<'_>, request_id: &str) -> Map<String, Value> {
    let mut fields = Fields::default();
    fields.0.insert("time".to_owned(), playbook::Timestamp::from_millis(crate::clock::now_ms()).to_string().into());
    fields.0.insert("level".to_owned(), event.metadata().level().as_str().into());
    fields.0.insert("stage".to_owned(), stage().into());
    event.record(&mut fields);
    fields.0.insert("target".to_owned(), event.metadata().target().into());
    if !request_id.is_empty() {
        fields.0.insert("request_id".to_owned(), request_id.into());
    }
    fields.0
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}
