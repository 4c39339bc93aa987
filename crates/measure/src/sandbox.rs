//! A Lambda sandbox on this machine: the program in a process of its own, and the runtime API that hands it invocations.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use axum::{
    Router,
    body::Bytes,
    extract::{Path as UrlPath, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde_json::Value;
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
    sync::{Mutex as Line, mpsc, oneshot, watch},
};

use crate::serve;

const API: &str = "/2018-06-01/runtime";
/// What the template gives `enrich`.
const TIMEOUT: Duration = Duration::from_secs(30);

/// From its question for work until a process sleeps.
const SETTLING: Duration = Duration::from_millis(5);

/// What runs in a sandbox.
#[derive(Debug)]
pub struct Program(Command);

impl Program {
    /// The bootstrap of a function.
    #[must_use]
    pub fn bootstrap(path: &Path) -> Self {
        Self(Command::new(path))
    }

    /// A script and what interprets it.
    #[must_use]
    pub fn interpreted(interpreter: &str, script: &Path) -> Self {
        let mut command = Command::new(interpreter);
        command.arg(script);
        Self(command)
    }

    /// With these variables and those that Lambda sets; nothing else of ours.
    #[must_use]
    pub fn with(mut self, variables: &[(&str, &str)]) -> Self {
        self.0
            .env_clear()
            .envs(variables.iter().copied())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "measured")
            .env("AWS_SECRET_ACCESS_KEY", "measured")
            .env("AWS_SESSION_TOKEN", "measured")
            .env("AWS_LAMBDA_FUNCTION_NAME", "measured")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "measured")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "measured")
            .env("STACK_NAME", "measured")
            .env("RUST_LOG", "info");
        self
    }
}

/// How an invocation ended.
#[derive(Debug)]
pub struct Ended {
    /// What it returned; the error's type and text where it failed.
    pub result: Result<Value, String>,
    /// From handing the invocation out to the answer: what Lambda bills.
    pub took: Duration,
}

/// How a start went.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    /// From starting the process to its first question for work.
    pub wall: Duration,
    /// The processor's time of the process until then; `None` where the system does not tell.
    pub cpu: Option<Duration>,
}

/// Work to hand out, and who waits for its end.
#[derive(Debug)]
struct Invocation {
    id: String,
    payload: Vec<u8>,
    done: oneshot::Sender<Ended>,
}

/// An invocation that was handed out, and when.
struct Open {
    at: Instant,
    done: oneshot::Sender<Ended>,
}

/// The runtime API of one sandbox.
struct Api {
    wanted: Line<mpsc::UnboundedReceiver<Invocation>>,
    open: Mutex<BTreeMap<String, Open>>,
    ready: watch::Sender<Option<Instant>>,
}

/// A running sandbox; it ends when it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    child: Child,
    started: Instant,
    send: mpsc::UnboundedSender<Invocation>,
    ready: watch::Receiver<Option<Instant>>,
    log: Arc<Mutex<Vec<u8>>>,
    numbers: AtomicU64,
}

impl Sandbox {
    /// Starts the program. Must be called within a runtime, which serves it.
    pub fn start(program: Program) -> Result<Self> {
        let (port, listener) = serve::listen()?;
        let (send, wanted) = mpsc::unbounded_channel();
        let (told, ready) = watch::channel(None);
        let api = Arc::new(Api { wanted: Line::new(wanted), open: Mutex::default(), ready: told });
        let router = Router::new()
            .route(&format!("{API}/invocation/next"), get(next))
            .route(&format!("{API}/invocation/{{id}}/response"), post(response))
            .route(&format!("{API}/invocation/{{id}}/error"), post(error))
            .with_state(api);
        tokio::spawn(serve::serve(listener, router));
        let mut command = program.0;
        command.env("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{port}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn().context("the program cannot be started")?;
        let log = Arc::<Mutex<Vec<u8>>>::default();
        if let Some(mut stdout) = child.stdout.take() {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut buffer = vec![0; 16_384];
                while let Ok(length @ 1..) = stdout.read(&mut buffer).await {
                    log.lock().unwrap_or_else(PoisonError::into_inner).extend(buffer.iter().take(length));
                }
            });
        }
        Ok(Self { child, started, send, ready, log, numbers: AtomicU64::new(0) })
    }

    /// Waits until it asks for work.
    pub async fn ready(&mut self) -> Result<Started> {
        let asked = tokio::time::timeout(TIMEOUT, self.ready.wait_for(Option::is_some)).await;
        let at = asked.ok().and_then(|asked| asked.ok().and_then(|at| *at));
        let Some(at) = at else { bail!("the program does not ask for work:\n{}", self.log()) };
        // The scheduler counts when a thread goes to sleep.
        tokio::time::sleep(SETTLING).await;
        let cpu = self.child.id().and_then(cpu_of);
        Ok(Started { wall: at.saturating_duration_since(self.started), cpu })
    }

    /// One invocation.
    pub async fn invoke(&self, payload: &Value) -> Result<Ended> {
        let id = format!("measured-{}", self.numbers.fetch_add(1, Ordering::Relaxed));
        let (done, ended) = oneshot::channel();
        let sent = self.send.send(Invocation { id, payload: payload.to_string().into_bytes(), done });
        sent.ok().context("the sandbox has ended")?;
        match tokio::time::timeout(TIMEOUT, ended).await {
            Ok(Ok(ended)) => Ok(ended),
            _ => bail!("the invocation does not end:\n{}", self.log()),
        }
    }

    /// What it has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

async fn next(State(api): State<Arc<Api>>) -> Response {
    api.ready.send_if_modified(|at| at.is_none() && at.replace(Instant::now()).is_none());
    let Some(Invocation { id, payload, done }) = api.wanted.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + TIMEOUT;
    let answer = Response::builder()
        .header("lambda-runtime-aws-request-id", &id)
        .header("lambda-runtime-deadline-ms", deadline.as_millis().to_string())
        .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:measured")
        .header("lambda-runtime-trace-id", "Root=1-67891233-abcdef012345678912345678;Sampled=0")
        .header("content-type", "application/json");
    api.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Open { at: Instant::now(), done });
    answer.body(payload.into()).unwrap_or_default()
}

async fn response(State(api): State<Arc<Api>>, UrlPath(id): UrlPath<String>, body: Bytes) -> StatusCode {
    end(&api, &id, Ok(serde_json::from_slice(&body).unwrap_or_default()))
}

async fn error(State(api): State<Arc<Api>>, UrlPath(id): UrlPath<String>, body: Bytes) -> StatusCode {
    end(&api, &id, Err(String::from_utf8_lossy(&body).into_owned()))
}

fn end(api: &Api, id: &str, result: Result<Value, String>) -> StatusCode {
    let open = api.open.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    if let Some(Open { at, done }) = open {
        let _ = done.send(Ended { result, took: at.elapsed() });
    }
    StatusCode::ACCEPTED
}

/// The processor's time of a process, its threads' together, as the scheduler counts it, in user and system mode.
fn cpu_of(process: u32) -> Option<Duration> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let of = |thread: std::fs::DirEntry| {
        let told = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        told.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    Some(threads.flatten().filter_map(of).sum()).filter(|sum: &Duration| !sum.is_zero())
}
