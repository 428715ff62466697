//! The host's network, other runs' sockets, and what processes leave for each other in the kernel.

use std::{
    io::ErrorKind,
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use livecode_process::Layer;

use crate::attempt::{Attempt, Held, attempts, escapes, is_left, python};

attempts! {
    /// Nothing but a loopback that is down.
    there_are_no_interfaces [Network, HelperNetwork] "return len(open('/proc/net/dev').read().splitlines()) > 3";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_of_the_hosts_is_not_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let attempt = Attempt::against(&[Layer::Network, Layer::HelperNetwork, Layer::Landlock]);
    let source = format!("return socket.create_connection(('127.0.0.1', {port}), 2).fileno() > 2");
    attempt
        .made_by(async |runner| {
            let said = escapes(&runner, python(&source)).await;
            let came = match listener.accept() {
                Ok(_) => true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(error) => panic!("{error}"),
            };
            assert_eq!(said, came);
            came
        })
        .await;
}

/// Of which Landlock knows nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_datagram_reaches_the_host() {
    let host = UdpSocket::bind("127.0.0.1:0").unwrap();
    host.set_nonblocking(true).unwrap();
    let address = host.local_addr().unwrap();
    let source = format!(
        "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {})) == 1",
        address.port()
    );
    Attempt::against(&[Layer::Network, Layer::HelperNetwork])
        .made_by(async |runner| {
            escapes(&runner, python(&source)).await;
            host.recv(&mut [0; 8]).is_ok()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abstract_socket_of_the_hosts_is_not_reached() {
    let name = format!("livecode-escapes-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    Attempt::against(&[Layer::Network, Layer::HelperNetwork, Layer::Landlock])
        .python(&format!("socket.socket(socket.AF_UNIX).connect('\\0{name}'); return True"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abstract_socket_of_another_run_is_not_reached() {
    let listen =
        python("listener = socket.socket(socket.AF_UNIX); listener.bind('\\0x'); listener.listen(); hold()");
    let connect = python("socket.socket(socket.AF_UNIX).connect('\\0x'); return True");
    Attempt::against(&[Layer::Network, Layer::Landlock])
        .made_by(async |runner| {
            let other = Held::start(&runner, listen.clone()).await;
            let escaped = escapes(&runner, connect.clone()).await;
            other.cancel().await;
            escaped
        })
        .await;
}

/// A queue of the host's that everybody may use.
struct Queue(i32);

impl Queue {
    fn new() -> Self {
        // SAFETY: no memory is involved.
        let queue = unsafe { libc::msgget(libc::IPC_PRIVATE, 0o666) };
        assert!(queue >= 0);
        Self(queue)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: removing takes no structure.
        assert_eq!(unsafe { libc::msgctl(self.0, libc::IPC_RMID, std::ptr::null_mut()) }, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_message_queues_are_not_reached() {
    let queue = Queue::new();
    let source =
        format!("return checked(libc.msgsnd({}, struct.pack('l8s', 1, b'x'), 8, 0o4000)) == 0", queue.0);
    Attempt::against(&[Layer::Ipc, Layer::HelperIpc]).python(&source).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_run_finds_no_shared_memory() {
    is_left(
        Attempt::against(&[Layer::Ipc]),
        "return checked(libc.shmget(0x1234, 4096, 0o1666)) >= 0",
        "return checked(libc.shmget(0x1234, 4096, 0o666)) >= 0",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_run_finds_no_message_queue() {
    is_left(
        Attempt::against(&[Layer::Ipc, Layer::LimitMsgqueue, Layer::Landlock]),
        "os.umask(0); return checked(libc.mq_open(b'/left', 0o102, 0o666, None)) > 2",
        "return checked(libc.mq_open(b'/left', 0)) > 2",
    )
    .await;
}
