//! The host's network and other runs' sockets.

use std::{
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use rustix::io::Errno;

use crate::{
    attempt::{attempts, is_in_vain, is_refused, works_without},
    plain::Layer,
};

attempts! {
    /// Where clouds tell who asks. TCP is Landlock's to refuse, all else the namespace's.
    nobody_tells_what_machine_it_is ACCESS "socket.create_connection(('169.254.169.254', 80), 2); return True";
    no_datagram_leaves NETUNREACH "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('169.254.169.254', 53)) == 1";
    no_datagram_leaves_by_version_6 NETUNREACH "return socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', ('fe80::1', 53)) == 1";
    nobody_listens ACCESS "
listener = socket.socket()
listener.bind(('127.0.0.1', 0))
return True
";
}

#[test]
fn there_are_no_interfaces() {
    let body = "return len(open('/proc/net/dev').read().splitlines()) > 3";
    is_in_vain(body);
    works_without(&[Layer::Network], body);
}

#[test]
fn no_name_is_looked_up() {
    is_in_vain(
        "
try: return bool(socket.getaddrinfo('example.org', 80))
except socket.gaierror: return False
",
    );
}

#[test]
fn a_listener_of_the_hosts_is_not_reached() {
    for address in ["127.0.0.1", "::1"] {
        let Ok(listener) = TcpListener::bind((address, 0)) else { continue };
        let port = listener.local_addr().unwrap().port();
        let body = format!("return socket.create_connection(('{address}', {port}), 2).fileno() > 2");
        is_refused(&body, Errno::ACCESS);
        works_without(&[Layer::Network], &body);
    }
}

#[test]
fn no_datagram_reaches_the_host() {
    let host = UdpSocket::bind("127.0.0.1:0").unwrap();
    host.set_nonblocking(true).unwrap();
    let port = host.local_addr().unwrap().port();
    // It has a loopback, of its own.
    let body = format!(
        "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port})) == 1"
    );
    crate::attempt::said(&body);
    assert!(host.recv(&mut [0; 8]).is_err());
    works_without(&[Layer::Network], &body);
    assert!(host.recv(&mut [0; 8]).is_ok());
}

#[test]
fn an_abstract_socket_of_the_hosts_is_not_reached() {
    let name = format!("livecode-escapes-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let body = format!("socket.socket(socket.AF_UNIX).connect('\\0{name}'); return True");
    is_refused(&body, Errno::CONNREFUSED);
    works_without(&[Layer::Network], &body);
}
