//! Where this server goes when a stranger names the place: to public addresses, and to networks that the operator lets through.
//!
//! What is checked is what is connected to: an address in a URL before anything is sent, and of a name all that it resolves to in
//! the very look-up whose result the connection is made to.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use livecode::{Error, Result};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// What isn't a public place: the IANA's registry of special addresses, and the one at which Azure's hosts serve their guests.
const SPECIAL_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(168, 63, 129, 16, 32),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

const fn v6(a: u16, b: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// What has been given out to the public; all else of version 6 is special.
const GIVEN_OUT_V6: Ipv6Net = v6(0x2000, 0, 3);

/// And what of that is special: for protocols (Teredo's tunnels among them), documentation, 6to4's tunnels.
const SPECIAL_V6: [Ipv6Net; 4] =
    [v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];

/// Version 4 as a network that has only version 6 reaches it (NAT64): the last four bytes say where.
const TRANSLATED: Ipv6Net = v6(0x64, 0xff9b, 96);

/// Which addresses are connected to. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Allowed(Arc<[IpNet]>);

impl Allowed {
    /// Public ones, and these networks.
    pub(super) fn new(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }

    fn is_allowed(&self, address: IpAddr) -> bool {
        // The one of version 4 that it stands for, however it's written.
        let address = match address.to_canonical() {
            IpAddr::V6(address) if TRANSLATED.contains(&address) => {
                let [.., a, b, c, d] = address.octets();
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            address => address,
        };
        let is_public = match address {
            IpAddr::V4(address) => !SPECIAL_V4.iter().any(|network| network.contains(&address)),
            IpAddr::V6(address) => {
                GIVEN_OUT_V6.contains(&address)
                    && !SPECIAL_V6.iter().any(|network| network.contains(&address))
            }
        };
        is_public || self.0.iter().any(|network| network.contains(&address))
    }

    /// The URL, as the client understands it.
    pub(super) fn url(&self, text: &str) -> Result<Url> {
        let url =
            Url::parse(text).map_err(|error| Error::invalid(format!("callback_url is no URL: {error}")))?;
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || has_credentials {
            return Err(Error::invalid(
                "callback_url is no URL of http or https with a host and without a password: send another",
            ));
        }
        Ok(url)
    }

    /// Whether the URL has an address in it, in whatever spelling, that isn't connected to. What its name stands for is found out
    /// when it's connected to.
    pub(super) fn is_refused(&self, url: &Url) -> bool {
        match url.host() {
            Some(Host::Ipv4(address)) => !self.is_allowed(address.into()),
            Some(Host::Ipv6(address)) => !self.is_allowed(address.into()),
            Some(Host::Domain(_)) => false,
            None => true,
        }
    }
}

/// Where one address of a name isn't allowed, none is: who mixes them is up to something.
impl Resolve for Allowed {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if !found.iter().all(|found| allowed.is_allowed(found.ip())) {
                return Err(io::Error::other("the name stands for an address that isn't allowed").into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
