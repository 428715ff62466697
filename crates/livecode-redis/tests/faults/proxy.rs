//! A network between a client and its server that does as the test says.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part of it")]

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    select,
    sync::watch,
    task::AbortHandle,
};

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Weather {
    /// They pass.
    Clear,
    /// They wait.
    Stalled,
    /// Each piece takes that long.
    Late(Duration),
    /// The server, or the client, is told that nothing comes any more, and goes on being heard.
    HalfClosed { answers: bool },
    /// Those of the server, or of the client, are lost; so is all that comes after them on the same connection.
    Swallowed { answers: bool },
    /// Their connections break, and so do new ones.
    Cut,
}

#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    accepting: AbortHandle,
}

impl Proxy {
    /// To the port `server`.
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (weather, seen) = watch::channel(Weather::Clear);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(connect(client, server, seen.clone()));
            }
        });
        Self { port, weather, accepting: accepting.abort_handle() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connect(client: TcpStream, server: u16, weather: watch::Receiver<Weather>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Where one direction ends the connection does.
    select! {
        () = carry(from_client, to_server, false, weather.clone()) => {}
        () = carry(from_server, to_client, true, weather) => {}
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    is_answer: bool,
    mut weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut lossy = false;
    loop {
        let broken = |now: &Weather| {
            *now == Weather::Cut
                || lossy && !matches!(now, Weather::Swallowed { .. } | Weather::HalfClosed { .. })
        };
        let read = select! {
            _ = weather.wait_for(broken) => return,
            read = from.read(&mut buffer) => read.unwrap_or(0),
        };
        if read == 0 {
            return;
        }
        // Without a test that changes it, there is no weather.
        let Ok(now) = weather.wait_for(|now| *now != Weather::Stalled).await.map(|now| *now) else { return };
        match now {
            Weather::Cut => return,
            Weather::HalfClosed { answers } if answers == is_answer => {
                // The other direction goes on, until the weather changes.
                to.shutdown().await.ok();
                lossy = true;
            }
            Weather::Swallowed { answers } if answers == is_answer || lossy => lossy = true,
            _ if lossy => return,
            now => {
                if let Weather::Late(by) = now {
                    tokio::time::sleep(by).await;
                }
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
