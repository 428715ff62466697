//! What a URL says.

use std::{collections::HashMap, fs};

use livecode_core::{Error, Result};
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
    TlsCertificates, TlsMode,
    cluster::ClusterClient,
    io::tcp::TcpSettings,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use rustls::crypto::{CryptoProvider, ring};
use tokio::sync::Mutex;
use url::Url;

use crate::connection::{ANSWER_TIMEOUT, Servers};

/// The least and the most that a cluster's client waits before it tries a call again, while the cluster changes its masters.
const CLUSTER_PAUSES: [u64; 2] = [20, 500];
const CLUSTER_RETRIES: u32 = 4;

#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) servers: Servers,
    /// Which queue.
    pub(crate) prefix: String,
    /// The most jobs that there may be; 0: any number.
    pub(crate) most: u64,
    /// Whether a server may be used that throws jobs away.
    pub(crate) may_evict: bool,
}

/// Who we say that we are.
#[derive(Clone, Default)]
struct User {
    name: Option<String>,
    password: Option<String>,
}

impl Address {
    /// Errors don't repeat the URL: it may hold a password.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(unknown)?;
        let (tls, kind) = match scheme {
            "redis" => (false, Kind::One),
            "rediss" => (true, Kind::One),
            "redis+cluster" => (false, Kind::Cluster),
            "rediss+cluster" => (true, Kind::Cluster),
            "redis+sentinel" => (false, Kind::Sentinel),
            "rediss+sentinel" => (true, Kind::Sentinel),
            _ => return Err(unknown()),
        };
        // Several hosts are more than a URL has: what is around them is read beside the last of them.
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let hosts = hosts.split(',').map(host).collect::<Result<Vec<_>>>()?;
        let url = Url::parse(&format!("redis://{user}host{path}")).map_err(misunderstood)?;
        if url.fragment().is_some() {
            return Err(unescaped());
        }
        let mut options = Options::read(&url)?;
        let certificates = options.certificates()?;
        if tls && CryptoProvider::get_default().is_none() {
            // What the host's other libraries chose meanwhile is as good.
            ring::default_provider().install_default().ok();
        }
        let addresses: Vec<_> = hosts.into_iter().map(|(host, port)| address(host, port, tls)).collect();
        let user =
            User { name: decoded(url.username())?, password: decoded(url.password().unwrap_or_default())? };
        let database = match url.path().trim_matches('/') {
            "" => 0,
            number => number.parse::<u32>().map_err(misunderstood)?.into(),
        };
        let servers = match kind {
            Kind::One => Self::one(addresses, &user, database, certificates)?,
            Kind::Cluster if database != 0 => {
                return Err(Error::invalid(
                    "a Redis Cluster has one database: leave its number out of the URL",
                ));
            }
            Kind::Cluster => Self::cluster(addresses, &user, certificates)?,
            Kind::Sentinel => {
                let service = options.take("service").ok_or_else(|| {
                    Error::invalid(
                        "the URL names Sentinels and no master: add its name, as ?service=mymaster",
                    )
                })?;
                let sentinels = User {
                    name: options.take("sentinel_username"),
                    password: options.take("sentinel_password"),
                };
                Self::sentinel(addresses, &service, [user, sentinels], database, certificates, tls)?
            }
        };
        let prefix = options.take("prefix").unwrap_or_else(|| "livecode".to_owned());
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            return Err(Error::invalid(
                "the prefix in the URL of Redis is empty or has a brace in it: choose another",
            ));
        }
        let most = match options.take("max_jobs").as_deref().map(str::parse) {
            None => 0,
            Some(Ok(most)) if most > 0 => most,
            Some(_) => {
                return Err(Error::invalid(
                    "max_jobs in the URL of Redis isn't a number of jobs, at least 1",
                ));
            }
        };
        let may_evict = match options.take("eviction").as_deref() {
            None | Some("refuse") => false,
            Some("warn") => true,
            Some(_) => return Err(Error::invalid("eviction in the URL of Redis is either refuse or warn")),
        };
        options.all_are_taken()?;
        Ok(Self { servers, prefix, most, may_evict })
    }

    fn one(
        addresses: Vec<ConnectionAddr>,
        user: &User,
        database: i64,
        certificates: Option<TlsCertificates>,
    ) -> Result<Servers> {
        let Ok([address]) = <[ConnectionAddr; 1]>::try_from(addresses) else {
            return Err(Error::invalid(
                "the URL of Redis names several hosts: begin it with redis+cluster:// or redis+sentinel://",
            ));
        };
        client(address, user, database, certificates).map(|client| Servers::One(Box::new(client)))
    }

    fn cluster(
        addresses: Vec<ConnectionAddr>,
        user: &User,
        certificates: Option<TlsCertificates>,
    ) -> Result<Servers> {
        let infos: Result<Vec<_>> = addresses.iter().map(|address| info(address.clone(), user, 0)).collect();
        let mut builder = ClusterClient::builder(infos?)
            .tcp_settings(TcpSettings::default().set_nodelay(true))
            // Some nodes may be gone, and all are asked before the first call.
            .connection_timeout(ANSWER_TIMEOUT / 4)
            .response_timeout(ANSWER_TIMEOUT)
            .overall_response_timeout(Some(ANSWER_TIMEOUT))
            .min_retry_wait(CLUSTER_PAUSES[0])
            .max_retry_wait(CLUSTER_PAUSES[1])
            .retries(CLUSTER_RETRIES);
        if let Some(certificates) = certificates.clone() {
            builder = builder.certs(certificates);
        }
        let client = Box::new(builder.build().map_err(misunderstood)?);
        let nodes = addresses.into_iter().map(|address| self::client(address, user, 0, certificates.clone()));
        Ok(Servers::Cluster { client, nodes: nodes.collect::<Result<_>>()? })
    }

    fn sentinel(
        addresses: Vec<ConnectionAddr>,
        service: &str,
        [user, sentinels]: [User; 2],
        database: i64,
        certificates: Option<TlsCertificates>,
        tls: bool,
    ) -> Result<Servers> {
        let settings = TcpSettings::default().set_nodelay(true);
        let mut builder = SentinelClientBuilder::new(addresses, service, SentinelServerType::Master)
            .map_err(misunderstood)?
            .set_client_to_redis_db(database)
            .set_client_to_redis_tcp_settings(settings);
        if tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        if let Some(name) = user.name {
            builder = builder.set_client_to_redis_username(name);
        }
        if let Some(password) = user.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(name) = sentinels.name {
            builder = builder.set_client_to_sentinel_username(name);
        }
        if let Some(password) = sentinels.password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        Ok(Servers::Sentinel(Box::new(Mutex::new(builder.build().map_err(misunderstood)?))))
    }
}

#[derive(Clone, Copy)]
enum Kind {
    One,
    Cluster,
    Sentinel,
}

/// The query.
struct Options(HashMap<String, String>);

impl Options {
    fn read(url: &Url) -> Result<Self> {
        let mut options = HashMap::new();
        for (name, value) in url.query_pairs() {
            if options.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(Error::invalid("the URL of Redis says something twice"));
            }
        }
        Ok(Self(options))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn file(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(path) = self.take(name) else { return Ok(None) };
        let read = fs::read(&path).map_err(|error| {
            Error::invalid(format!("the URL of Redis names {name}={path}, which can't be read"))
                .with_source(error)
        });
        read.map(Some)
    }

    fn certificates(&mut self) -> Result<Option<TlsCertificates>> {
        let root_cert = self.file("ca")?;
        let client_tls = match (self.file("cert")?, self.file("key")?) {
            (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
            (None, None) => None,
            _ => {
                return Err(Error::invalid(
                    "the URL of Redis has one of cert and key: name both files, or neither",
                ));
            }
        };
        let any = root_cert.is_some() || client_tls.is_some();
        Ok(any.then_some(TlsCertificates { client_tls, root_cert }))
    }

    fn all_are_taken(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        // Which one isn't said: it may be the end of a password.
        Err(Error::invalid(
            "the URL of Redis has a parameter that means nothing here: write prefix, max_jobs, eviction, ca, cert, key, service, \
             sentinel_username or sentinel_password, and in a password %3F for ?",
        ))
    }
}

fn host(text: &str) -> Result<(String, u16)> {
    let url = Url::parse(&format!("redis://{text}")).map_err(misunderstood)?;
    match url.host_str() {
        Some(host) => Ok((host.trim_matches(['[', ']']).to_owned(), url.port().unwrap_or(6379))),
        None => Err(Error::invalid("the URL of Redis names no host: write redis://HOST:PORT")),
    }
}

fn address(host: String, port: u16, tls: bool) -> ConnectionAddr {
    if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn info(address: ConnectionAddr, user: &User, database: i64) -> Result<ConnectionInfo> {
    let mut settings =
        RedisConnectionInfo::default().set_db(database).set_lib_name("livecode", env!("CARGO_PKG_VERSION"));
    if let Some(name) = &user.name {
        settings = settings.set_username(name);
    }
    if let Some(password) = &user.password {
        settings = settings.set_password(password);
    }
    let info = address.into_connection_info().map_err(misunderstood)?;
    Ok(info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

fn client(
    address: ConnectionAddr,
    user: &User,
    database: i64,
    certificates: Option<TlsCertificates>,
) -> Result<Client> {
    let info = info(address, user, database)?;
    match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    }
    .map_err(misunderstood)
}

/// What stands for other characters in a URL as those; none where there is nothing.
fn decoded(text: &str) -> Result<Option<String>> {
    // A query says the same, but for the plus sign and what joins its parts.
    let query = format!("redis://host?v={}", text.replace('+', "%2B").replace('&', "%26"));
    let url = Url::parse(&query).map_err(misunderstood)?;
    Ok(url.query_pairs().next().map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty()))
}

fn unescaped() -> Error {
    Error::invalid(
        "the URL of Redis has a ?, # or & where it means something else: in a password write %3F, %23 and %26",
    )
}

fn unknown() -> Error {
    Error::invalid(
        "the URL of Redis begins with redis://, redis+cluster:// or redis+sentinel://, or with rediss for TLS",
    )
}

fn misunderstood(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::invalid("the URL of Redis can't be understood: write redis://USER:PASSWORD@HOST:PORT/DATABASE")
        .with_source(error)
}
