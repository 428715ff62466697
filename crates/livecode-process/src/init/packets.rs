//! Packet sockets, and the descriptors that come with a packet.

use std::{
    ffi::{c_int, c_uint, c_void},
    io,
    mem::{size_of, zeroed},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use crate::sys::check;

const SOL_SOCKET: c_int = 1;
const SCM_RIGHTS: c_int = 1;
const MSG_NOSIGNAL: c_int = 0x4000;
const MSG_CMSG_CLOEXEC: c_int = 0x4000_0000;

#[repr(C)]
struct Iovec {
    base: *mut c_void,
    len: usize,
}

#[repr(C)]
struct Msghdr {
    name: *mut c_void,
    name_len: c_uint,
    iov: *mut Iovec,
    iov_len: usize,
    control: *mut c_void,
    control_len: usize,
    flags: c_int,
}

/// The longest packet that is sent while programs run.
pub(crate) const MAX_LEN: usize = 4096;

/// The most descriptors that come with a packet, and the control message that holds them.
const MAX_FDS: usize = 16;
const HEADER: usize = size_of::<usize>() + 2 * size_of::<c_int>();
const CONTROL: usize = HEADER + MAX_FDS * size_of::<c_int>();

#[repr(C, align(8))]
struct Control([u8; CONTROL]);

unsafe extern "C" {
    fn recvmsg(socket: c_int, message: *mut Msghdr, flags: c_int) -> isize;
    fn sendmsg(socket: c_int, message: *const Msghdr, flags: c_int) -> isize;
    #[link_name = "send"]
    fn c_send(socket: c_int, bytes: *const c_void, len: usize, flags: c_int) -> isize;
    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut [c_int; 2]) -> c_int;
}

/// One packet and the descriptors that came with it; an empty one at the end.
pub(crate) fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = Control([0; CONTROL]);
    let mut part = Iovec { base: buffer.as_mut_ptr().cast(), len: buffer.len() };
    // SAFETY: all zeroes is an empty message.
    let mut message: Msghdr = unsafe { zeroed() };
    message.iov = &raw mut part;
    message.iov_len = 1;
    message.control = control.0.as_mut_ptr().cast();
    message.control_len = control.0.len();
    // SAFETY: the message points to a buffer and a control area that live through the call, with their lengths.
    let len = check(unsafe { recvmsg(socket.as_raw_fd(), &raw mut message, MSG_CMSG_CLOEXEC) } as i64)?;
    let mut fds = Vec::new();
    if message.control_len >= HEADER {
        let word = |at: usize| c_int::from_ne_bytes([0, 1, 2, 3].map(|byte| control.0[at + byte]));
        let mut size = [0; size_of::<usize>()];
        size.copy_from_slice(&control.0[..size_of::<usize>()]);
        let end = usize::from_ne_bytes(size).min(message.control_len).min(control.0.len());
        let (level, kind) = (word(size_of::<usize>()), word(size_of::<usize>() + size_of::<c_int>()));
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS) {
            for at in (HEADER..end).step_by(size_of::<c_int>()) {
                // SAFETY: the kernel has just made these descriptors for us.
                fds.push(unsafe { OwnedFd::from_raw_fd(word(at)) });
            }
        }
    }
    Ok((len as usize, fds))
}

pub(crate) fn send(socket: &impl AsRawFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: bytes and their length.
    check(unsafe { c_send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), MSG_NOSIGNAL) } as i64)
        .map(drop)
}

/// Sends a packet with descriptors.
pub(crate) fn send_with(socket: &impl AsRawFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    if fds.len() > MAX_FDS {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut control = Control([0; CONTROL]);
    let len = HEADER + size_of_val(fds);
    let header = [&len.to_ne_bytes()[..], &SOL_SOCKET.to_ne_bytes(), &SCM_RIGHTS.to_ne_bytes()].concat();
    let numbers: Vec<u8> = fds.iter().flat_map(|fd| fd.to_ne_bytes()).collect();
    control.0[..HEADER].copy_from_slice(&header);
    control.0[HEADER..len].copy_from_slice(&numbers);
    let mut part = Iovec { base: bytes.as_ptr().cast_mut().cast(), len: bytes.len() };
    // SAFETY: all zeroes is an empty message.
    let mut message: Msghdr = unsafe { zeroed() };
    message.iov = &raw mut part;
    message.iov_len = 1;
    message.control = control.0.as_mut_ptr().cast();
    message.control_len = len.next_multiple_of(size_of::<usize>());
    // SAFETY: the message points to bytes and a control area that live through the call, with their lengths; neither is
    // written.
    check(unsafe { sendmsg(socket.as_raw_fd(), &raw const message, MSG_NOSIGNAL) } as i64).map(drop)
}

/// Two ends of a packet socket.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    const AF_UNIX: c_int = 1;
    const SOCK_SEQPACKET_CLOEXEC: c_int = 5 | 0o2_000_000;
    let mut pair = [0; 2];
    // SAFETY: the pair lives through the call.
    check(unsafe { socketpair(AF_UNIX, SOCK_SEQPACKET_CLOEXEC, 0, &raw mut pair) })?;
    // SAFETY: the kernel has just made these descriptors for us.
    Ok(unsafe { (OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1])) })
}
