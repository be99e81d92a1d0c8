//! A TCP proxy that breaks connections on demand, to put in front of a store or an API server.
//!
//! It knows nothing of what passes through it, TLS included. Connections that are open when the behaviour changes are
//! cut; so a test says "from now on" and that is so for every client, pooled connections too.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    #[default]
    Forward,
    /// Closes each connection as soon as it is made, without a byte.
    Refuse,
    /// Closes a connection when it has carried this many bytes to the server.
    CutAfterSent(usize),
    /// Closes a connection when it has carried this many bytes from the server.
    CutAfterReceived(usize),
    /// Holds back each piece of data for this long, both ways.
    Delay(Duration),
    /// Takes connections and data, and forwards nothing.
    Swallow,
}

/// A running proxy; it ends when it is dropped, or with its runtime.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    behaviour: watch::Sender<Behaviour>,
    held: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy on a free port that forwards to a port of 127.0.0.1.
    pub async fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("open the proxy's port")?;
        let address = listener.local_addr()?;
        let (behaviour, current) = watch::channel(Behaviour::default());
        let (held, holding) = watch::channel(false);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, port, current.clone(), holding.clone()));
            }
        });
        Ok(Self {
            address,
            behaviour,
            held,
            task,
        })
    }

    /// Changes what happens to connections from now on, and cuts the open ones.
    pub fn set(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    /// Cuts the open connections; new ones fare as before.
    pub fn cut(&self) {
        self.behaviour.send_modify(|_| ());
    }

    /// Holds back whatever arrives, both ways, until [`Proxy::release`]; nothing is cut, nothing lost.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets pass what was held back, and what comes.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the proxy as the address of an HTTP server.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn carry(
    mut client: TcpStream,
    port: u16,
    mut current: watch::Receiver<Behaviour>,
    held: watch::Receiver<bool>,
) {
    let behaviour = *current.borrow_and_update();
    if behaviour == Behaviour::Refuse {
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let sent_limit = if let Behaviour::CutAfterSent(limit) = behaviour {
        limit
    } else {
        usize::MAX
    };
    let received_limit = if let Behaviour::CutAfterReceived(limit) = behaviour {
        limit
    } else {
        usize::MAX
    };
    // Either direction's end ends both, as does a change of behaviour. Half-closed connections, which HTTP does not use,
    // are therefore not carried.
    tokio::select! {
        _ = pump(&mut from_client, &mut to_server, behaviour, sent_limit, held.clone()) => (),
        _ = pump(&mut from_server, &mut to_client, behaviour, received_limit, held.clone()) => (),
        _ = current.changed() => (),
    }
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    behaviour: Behaviour,
    mut limit: usize,
    mut held: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        match behaviour {
            Behaviour::Delay(time) => tokio::time::sleep(time).await,
            Behaviour::Swallow => continue,
            Behaviour::Forward
            | Behaviour::Refuse
            | Behaviour::CutAfterSent(_)
            | Behaviour::CutAfterReceived(_) => (),
        }
        if held.wait_for(|held| !held).await.is_err() {
            return Ok(());
        }
        to.write_all(&buffer[..count.min(limit)]).await?;
        if count >= limit {
            return Ok(());
        }
        limit -= count;
    }
}
