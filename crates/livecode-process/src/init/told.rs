//! What the helper and a fork server say to each other, by packets of their socket.

use crate::protocol::{Damaged, Message, Reader, Writer};

/// What the helper tells a fork server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// First.
    Settings(Settings),
    /// A copy of it is to be a world's init. Comes with its end of the control socket and the entrances of its cgroups. It
    /// answers with the copy's pid and pidfd.
    Copy(Copied),
}

/// What is the same for all copies of a fork server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) seccomp: Vec<u8>,
    pub(crate) landlock: u8,
    pub(crate) shown: Vec<String>,
    /// Bits of layers.
    pub(crate) left_out: u64,
    /// Which step its interpreter is of.
    pub(crate) step: u32,
}

/// What isn't.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Which host user the user namespace is made by.
    pub(crate) payer: Option<u32>,
    pub(crate) namespaces: u64,
    pub(crate) room: (u64, u32),
    pub(crate) user: u32,
    pub(crate) clear_groups: bool,
    pub(crate) cgroup: Option<String>,
    /// How many of the entrances are for all and how many for programs; as many lead back, and the rest is the cgroup of the
    /// unified hierarchy, if there is one.
    pub(crate) entrances: (u32, u32),
    /// Whether the next is the network that it belongs into.
    pub(crate) has_network: bool,
}

impl Message for Told {
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Settings(settings) => {
                0u8.write(out);
                settings.write(out);
            }
            Self::Copy(copied) => {
                1u8.write(out);
                copied.write(out);
            }
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        match u8::read(from)? {
            0 => Settings::read(from).map(Self::Settings),
            1 => Copied::read(from).map(Self::Copy),
            _ => Err(Damaged),
        }
    }
}

message!(Settings { seccomp, landlock, shown, left_out, step });
message!(Copied { payer, namespaces, room, user, clear_groups, cgroup, entrances, has_network });
