//! The providers on a port of the loopback interface, each by its host, on a thread of their own.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use playbook::outcome::Status;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// Says whom a request is for.
const HOST_HEADER: &str = egress::STAND_IN_HEADER;
const HUGE_BYTES: usize = 10 * 1024 * 1024;
const BOMB_BYTES: usize = 50 * 1024 * 1024;
/// A whole answer would take an hour.
const DRIP: Duration = Duration::from_millis(100);

/// What a provider does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Says that it is harmless.
    Answers,
    /// Takes the request and says nothing.
    Hangs,
    /// Bytes that are no text.
    Garbles,
    /// 10 MB of JSON.
    Floods,
    /// Headers without end.
    Heads,
    /// A page for people.
    Pages,
    /// 50 MB of zeros in a few kilobytes.
    Bombs,
    /// Promises more bytes than it sends, and leaves.
    Stops,
    /// A JSON document that ends in the middle, complete by its length.
    Cuts,
    /// A byte now and then.
    Drips,
    /// Resets the connection.
    Resets,
}

impl Does {
    pub const ALL: [Self; 11] = [
        Self::Answers,
        Self::Hangs,
        Self::Garbles,
        Self::Floods,
        Self::Heads,
        Self::Pages,
        Self::Bombs,
        Self::Stops,
        Self::Cuts,
        Self::Drips,
        Self::Resets,
    ];

    pub const fn id(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Hangs => "hangs",
            Self::Garbles => "garbles",
            Self::Floods => "floods",
            Self::Heads => "heads",
            Self::Pages => "pages",
            Self::Bombs => "bombs",
            Self::Stops => "stops",
            Self::Cuts => "cuts",
            Self::Drips => "drips",
            Self::Resets => "resets",
        }
    }

    /// What the stage has to say of it.
    pub const fn expected(self) -> (Status, Option<&'static str>) {
        match self {
            Self::Answers => (Status::Found, None),
            Self::Hangs | Self::Drips => (Status::Error, Some("timeout")),
            Self::Garbles | Self::Pages | Self::Cuts => (Status::Error, Some("garbage")),
            Self::Floods | Self::Bombs => (Status::Error, Some("too_large")),
            Self::Heads | Self::Stops | Self::Resets => (Status::Error, Some("unreachable")),
        }
    }
}

pub struct StandIn {
    /// `http://127.0.0.1:<port>`.
    pub address: String,
    open: Arc<AtomicUsize>,
}

impl StandIn {
    pub fn start() -> Self {
        let open = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&open);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let bomb: Arc<[u8]> = bomb().into();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(format!("http://{}", listener.local_addr().unwrap())).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let (count, bomb) = (Arc::clone(&count), Arc::clone(&bomb));
                    count.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(async move {
                        // Whoever we talk to leaves when they have had enough.
                        let _left = play(stream, &bomb).await;
                        count.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
        });
        Self { address: told.recv().unwrap(), open }
    }

    /// Whether nobody holds a connection any longer.
    pub fn is_left_alone(&self) -> bool {
        let asked = Instant::now();
        while self.open.load(Ordering::SeqCst) > 0 {
            if asked.elapsed() > Duration::from_secs(5) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

fn bomb() -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    let zeros = vec![0; 1024 * 1024];
    for _ in 0..BOMB_BYTES / zeros.len() {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap()
}

fn answer(more: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n{more}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn play(mut stream: TcpStream, bomb: &[u8]) -> std::io::Result<()> {
    let asked = head(&mut stream).await?;
    let does = Does::ALL.into_iter().find(|does| asked.contains(&format!("{HOST_HEADER}: {}.example", does.id())));
    match does.unwrap() {
        Does::Answers => stream.write_all(&answer("", br#"{"found": true}"#)).await?,
        Does::Hangs => {}
        Does::Garbles => stream.write_all(&answer("", b"\x00\xff\xfe{\x1b[2J")).await?,
        Does::Floods => {
            let body = [br#"{"found": true, "filler": ""#, "a".repeat(HUGE_BYTES).as_bytes(), br#""}"#].concat();
            stream.write_all(&answer("", &body)).await?;
        }
        Does::Heads => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                stream.write_all(format!("x-filler: {}\r\n", "a".repeat(8_000)).as_bytes()).await?;
            }
        }
        Does::Pages => {
            stream.write_all(&answer("", b"<!doctype html><title>Just a moment</title>{\"found\": true}")).await?;
        }
        Does::Bombs => stream.write_all(&answer("content-encoding: gzip\r\n", bomb)).await?,
        Does::Stops => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n{\"found\": true}").await?;
            return Ok(());
        }
        Does::Cuts => stream.write_all(&answer("", br#"{"found": true, "about": "asked-0.exa"#)).await?,
        Does::Drips => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 36000\r\n\r\n").await?;
            loop {
                stream.write_all(b" ").await?;
                sleep(DRIP).await;
            }
        }
        Does::Resets => {
            stream.set_zero_linger()?;
            return Ok(());
        }
    }
    // Stays until the other side leaves.
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

/// The head of the request; nobody here is sent a body.
async fn head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut read = vec![];
    while !read.ends_with(b"\r\n\r\n") {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => read.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&read).to_ascii_lowercase())
}
