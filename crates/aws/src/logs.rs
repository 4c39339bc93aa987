//! The log: one JSON object a line on standard output, fields under their dotted names.

use std::{
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
};

use lambda_runtime::{
    Context,
    tracing::subscriber::{
        self,
        filter::EnvFilter,
        fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
        registry::LookupSpan,
    },
};
use playbook::IncidentId;
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};

static STAGE: OnceLock<&'static str> = OnceLock::new();
/// A sandbox works on one invocation at a time: what every line of it carries.
static COMMON: Mutex<Vec<(&str, String)>> = Mutex::new(Vec::new());

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
    // The usual hook prints what the panic says as it stands, over as many lines as it likes. `serve` says it in one.
    std::panic::set_hook(Box::new(|panic| {
        tracing::warn!(location = panic.location().map(tracing::field::display), "panicked");
    }));
}

/// The log with every level, to a writer of one's own.
pub fn to<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(writer).event_format(Lines).finish()
}

/// The stage that this sandbox runs.
pub fn stage() -> &'static str {
    STAGE.get().copied().unwrap_or("unknown")
}

/// The lines from here on belong to this request, to its trace, and to its incident where it is about one.
pub fn begin(context: &Context, incident: Option<&IncidentId>) {
    *COMMON.lock().unwrap_or_else(PoisonError::into_inner) = common(context, incident);
}

fn common(context: &Context, incident: Option<&IncidentId>) -> Vec<(&'static str, String)> {
    // Root=1-67891233-abcdef012345678912345678;Parent=…;Sampled=1
    let trace = context.xray_trace_id.as_deref().unwrap_or_default();
    let root = trace.split(';').find_map(|part| part.trim().strip_prefix("Root=")).unwrap_or_default();
    let incident = incident.map(IncidentId::as_str).unwrap_or_default();
    let fields = [("request_id", context.request_id.as_str()), ("trace_id", root), ("incident.id", incident)];
    fields.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.to_owned())).collect()
}

struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let common = COMMON.lock().unwrap_or_else(PoisonError::into_inner).clone();
        writeln!(writer, "{}", Value::Object(line(event, common)))
    }
}

fn line(event: &Event<'_>, common: Vec<(&str, String)>) -> Map<String, Value> {
    let mut fields = Fields::default();
    fields.0.insert("time".to_owned(), playbook::Timestamp::from_millis(crate::clock::now_ms()).to_string().into());
    fields.0.insert("level".to_owned(), event.metadata().level().as_str().into());
    fields.0.insert("stage".to_owned(), stage().into());
    event.record(&mut fields);
    fields.0.insert("target".to_owned(), event.metadata().target().into());
    // What the event says itself is nearer: one of a batch names its own incident.
    for (name, value) in common {
        fields.0.entry(name).or_insert_with(|| value.into());
    }
    for value in fields.0.values_mut() {
        if let Value::String(text) = value {
            // JSON alone leaves some characters as they are that terminals obey or that turn a text around.
            *text = ioc::visible(text);
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tracing::{info, subscriber::with_default};

    use super::*;

    /// Keeps the lines instead of printing them.
    struct Kept(Arc<Mutex<Vec<Map<String, Value>>>>, Vec<(&'static str, String)>);

    impl Subscriber for Kept {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(line(event, self.1.clone()));
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    fn context() -> Context {
        let mut context = Context::default();
        context.request_id = "request-1".to_owned();
        context.xray_trace_id =
            Some("Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1".to_owned());
        context
    }

    #[test]
    fn every_line_names_its_request_its_trace_and_its_incident() {
        let (one, other) = (IncidentId::of("t", "s", "one"), IncidentId::of("t", "s", "other"));
        let lines = Arc::new(Mutex::new(vec![]));
        with_default(Kept(lines.clone(), common(&context(), Some(&one))), || {
            info!(count = 1, "said something");
            info!(incident.id = %other, "said something of another");
        });
        let lines = lines.lock().unwrap();
        assert_eq!(lines[0]["incident.id"], one.as_str());
        assert_eq!(lines[1]["incident.id"], other.as_str());
        for line in lines.iter() {
            assert_eq!(line["request_id"], "request-1");
            assert_eq!(line["trace_id"], "1-67891233-abcdef012345678912345678");
        }
    }

    #[test]
    fn what_steers_a_terminal_is_an_escape() {
        let lines = Arc::new(Mutex::new(vec![]));
        with_default(Kept(lines.clone(), vec![("request_id", "a\u{9b}b".to_owned())]), || {
            info!(text = "\u{202e}x", debug = ?'\u{7f}', "one\n\u{1b}[31m{{\"_aws\":1}}");
        });
        let line = lines.lock().unwrap().remove(0);
        assert_eq!(line["message"], "one\\n\\u{1b}[31m{\"_aws\":1}");
        assert_eq!((&line["text"], &line["request_id"]), (&json!("\\u{202e}x"), &json!("a\\u{9b}b")));
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        assert_eq!(common(&Context::default(), None), []);
    }
}
