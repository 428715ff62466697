//! Network namespaces with nothing in them, each for one run at a time.
//!
//! To make one and to take it down costs more than all the rest of a world. So one in which a run has left no trace is handed
//! on: by what the kernel counts in it and lists of it, it can't be told from a new one.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use crate::{
    in_force,
    layer::Layer,
    root::during,
    sys::{self, Fork},
    worlds::KEPT,
};

/// What is looked at: every packet, error and socket shows in one of them.
const LOOKED_AT: [&str; 3] = ["snmp", "snmp6", "unix"];

/// One of them.
pub(crate) struct Network {
    pub(crate) namespace: OwnedFd,
    /// What is looked at, and what it was when it was new; none where that can't be looked at.
    seen: Vec<(File, Vec<u8>)>,
}

pub(crate) struct Networks {
    own: OwnedFd,
    free: Vec<Network>,
}

impl Networks {
    /// Enters one of its own: only one that its user namespace owns can be come back to.
    pub(crate) fn new() -> io::Result<Self> {
        if in_force(Layer::HelperNetwork) || in_force(Layer::Network) {
            sys::unshare(sys::CLONE_NEWNET)?;
        }
        Ok(Self { own: namespace()?, free: Vec::new() })
    }

    /// One that nobody has.
    pub(crate) fn take(&mut self) -> io::Result<Network> {
        if let Some(network) = self.free.pop() {
            return Ok(network);
        }
        sys::unshare(sys::CLONE_NEWNET)?;
        let made = Network::here();
        during("come back from a network", sys::enter(&self.own, sys::CLONE_NEWNET))?;
        made
    }

    /// Nothing of the run that had it is alive.
    pub(crate) fn give_back(&mut self, network: Network) {
        if self.free.len() < KEPT && network.is_as_new() {
            self.free.push(network);
        }
    }

    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    pub(crate) fn let_go(&mut self) {
        self.free.clear();
    }

    /// Does something in that network. Who is made there stays there.
    pub(crate) fn within(
        &self,
        network: &Network,
        make: impl FnOnce() -> io::Result<Fork>,
    ) -> io::Result<Fork> {
        sys::enter(&network.namespace, sys::CLONE_NEWNET)?;
        let made = make();
        if !matches!(made, Ok(Fork::Child)) {
            during("come back from a network", sys::enter(&self.own, sys::CLONE_NEWNET))?;
        }
        made
    }
}

fn namespace() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/self/ns/net")?.into())
}

impl Network {
    fn here() -> io::Result<Self> {
        let namespace = namespace()?;
        let mut seen = Vec::new();
        for name in LOOKED_AT {
            match File::open(format!("/proc/self/net/{name}")) {
                Ok(file) => {
                    let text = read(&file)?;
                    seen.push((file, text));
                }
                // A kernel without it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { namespace, seen })
    }

    fn is_as_new(&self) -> bool {
        let is_as_new = |(file, new): &(File, Vec<u8>)| {
            // The kernel makes the whole text for each call.
            let mut now = vec![0; new.len() + 1];
            file.read_at(&mut now, 0).is_ok_and(|len| now[..len] == **new)
        };
        !self.seen.is_empty() && self.seen.iter().all(is_as_new)
    }
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut text = vec![0; 16 << 10];
    let mut len = 0;
    loop {
        match file.read_at(&mut text[len..], len as u64)? {
            0 => break,
            more => len += more,
        }
    }
    text.truncate(len);
    Ok(text)
}
