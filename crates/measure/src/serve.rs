//! Servers on the loopback interface, each on a thread of its own, so that whoever is measured shares none with them.

use std::{net::Ipv4Addr, thread};

use anyhow::{Context, Result};
use axum::{Router, http::HeaderMap, serve::ListenerExt as _};
use tokio::net::{TcpListener, TcpSocket};

/// A hundred sandboxes connect at the same moment.
const BACKLOG: u32 = 4_096;

/// A free port of 127.0.0.1, and who listens there.
pub fn listen() -> Result<(u16, TcpListener)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(BACKLOG)?;
    Ok((listener.local_addr()?.port(), listener))
}

/// Serves until the process ends; the port.
pub fn on_a_thread(router: Router) -> Result<u16> {
    let (told, port) = std::sync::mpsc::channel();
    thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (port, listener) = listen()?;
            let _ = told.send(port);
            serve(listener, router).await
        })
    });
    port.recv().context("a server on the loopback interface cannot be started")
}

/// Serves until it is dropped. Answers leave at once, however small.
pub async fn serve(listener: TcpListener, router: Router) -> Result<()> {
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    Ok(axum::serve(listener, router).await?)
}

/// The length of a head on the wire: the first line and the headers.
#[must_use]
pub fn head_bytes(first_line: usize, headers: &HeaderMap) -> u64 {
    let headers: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (first_line + 2 + headers + 2) as u64
}
