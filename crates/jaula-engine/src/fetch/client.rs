//! One request at a time, retried.

use super::error::FetchError;
use super::local;
use super::login::Accounts;
use super::resolver::Stub;
use super::tls::client_certificate;
use jaula_plan::facts::apt_conf::ProxyRules;
use jaula_plan::facts::auth::Machine;
use jaula_plan::rootfs::Source;
use jaula_plan::spec::source::TlsClient;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use ureq::http::Response;
use ureq::tls::{ClientCert, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Proxy};

/// Proxies, as the environment of the caller has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// `http_proxy`
    pub http: Option<String>,
    /// `https_proxy`
    pub https: Option<String>,
    /// `no_proxy`: hosts, separated by commas.
    pub no_proxy: Option<String>,
}

/// How to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Proxies.
    pub proxies: Proxies,
    /// Requests at once.
    pub connections: usize,
    /// Attempts before giving up.
    pub attempts: u32,
    /// The first pause between attempts; it doubles.
    pub pause: Duration,
    /// No network at all (`file:` works).
    pub offline: bool,
    /// Proxies that the host's apt.conf(5) names, where the environment names none.
    pub apt_proxies: ProxyRules,
    /// Users and passwords that the host's apt_auth.conf(5) names.
    pub machines: Vec<Machine>,
    /// What is shown to servers that ask for a certificate.
    pub tls_client: Option<TlsClient>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proxies: Proxies::default(),
            connections: 8,
            attempts: 4,
            pause: Duration::from_millis(400),
            offline: false,
            apt_proxies: ProxyRules::default(),
            machines: Vec::new(),
            tls_client: None,
        }
    }
}

/// Fetches. Connections are kept open and shared between threads.
#[derive(Debug, Clone)]
pub struct Client {
    http: Agent,
    https: Agent,
    /// For hosts that apt.conf(5) names a proxy of their own for, or none.
    by_host: Vec<(String, String, Agent)>,
    accounts: Accounts,
    pub(super) settings: Settings,
    /// Set when nobody wants more.
    stop: Arc<AtomicBool>,
}

/// A small file, and what makes the next request for it cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Small {
    /// It is as it was.
    Unchanged,
    /// Its content.
    Fresh {
        /// The bytes.
        bytes: Vec<u8>,
        /// `ETag`
        etag: Option<String>,
        /// `Last-Modified`
        modified: Option<String>,
    },
}

fn agent(
    proxy: &Option<String>,
    no_proxy: &Option<String>,
    certificate: &Option<ClientCert>,
) -> Result<Agent, FetchError> {
    let proxy = match proxy.as_deref() {
        None | Some("") => None,
        Some(url) => {
            let bad = |_| FetchError::BadAddress {
                url: jaula_plan::rootfs::address::without_login(url),
            };
            let parsed = Proxy::new(url).map_err(bad)?;
            // The crate has the exceptions only on its builder.
            let mut builder = Proxy::builder(parsed.protocol())
                .host(parsed.host())
                .port(parsed.port());
            if let Some(user) = parsed.username() {
                builder = builder.username(user);
            }
            if let Some(password) = parsed.password() {
                builder = builder.password(password);
            }
            for host in no_proxy
                .iter()
                .flat_map(|hosts| hosts.split(','))
                .map(str::trim)
                .filter(|h| !h.is_empty())
            {
                builder = builder.no_proxy(host);
            }
            Some(builder.build().map_err(bad)?)
        }
    };
    let config = ureq::config::Config::builder()
        .proxy(proxy)
        .http_status_as_error(false)
        .user_agent(concat!("jaula/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .tls_config(
            TlsConfig::builder()
                .root_certs(RootCerts::PlatformVerifier)
                .client_cert(certificate.clone())
                .build(),
        )
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_per_read(Some(Duration::from_secs(30)))
        .max_redirects(8)
        .max_idle_connections_per_host(16)
        .max_idle_connections(32)
        .build();
    Ok(Agent::with_parts(
        config,
        DefaultConnector::default(),
        Stub::default(),
    ))
}

impl Client {
    /// # Errors
    /// [`FetchError::BadAddress`] for a proxy that is none, [`FetchError::Certificate`] for a certificate that cannot be
    /// used.
    pub fn new(settings: Settings) -> Result<Self, FetchError> {
        let Proxies {
            http,
            https,
            no_proxy,
        } = &settings.proxies;
        let certificate = settings
            .tls_client
            .as_ref()
            .map(client_certificate)
            .transpose()?;
        let rules = &settings.apt_proxies;
        let make = |own: &Option<String>, scheme: &str| {
            let proxy = own.clone().or_else(|| rules.of(scheme, "").flatten());
            agent(&proxy, no_proxy, &certificate)
        };
        let mut by_host = Vec::new();
        for (scheme, own) in [("http", http), ("https", https)] {
            for host in rules.hosts(scheme).filter(|_| own.is_none()) {
                let proxy = rules.of(scheme, host).flatten();
                by_host.push((
                    scheme.to_owned(),
                    host.to_owned(),
                    agent(&proxy, no_proxy, &certificate)?,
                ));
            }
        }
        Ok(Self {
            http: make(http, "http")?,
            https: make(https, "https")?,
            by_host,
            accounts: Accounts::of_machines(&settings.machines),
            settings,
            stop: Arc::default(),
        })
    }

    /// The same client, who also knows the users and passwords of these sources.
    pub fn with_logins(&self, sources: &[Source]) -> Self {
        let mut client = self.clone();
        client.accounts.add_sources(sources);
        client
    }

    /// The same, until `stop` is set: what is being fetched then is [`FetchError::Stopped`].
    pub fn until(&self, stop: &Arc<AtomicBool>) -> Self {
        let mut client = self.clone();
        client.stop = Arc::clone(stop);
        client
    }

    /// # Errors
    /// [`FetchError::Stopped`] when nobody wants more.
    pub(super) fn wanted(&self, url: &str) -> Result<(), FetchError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(FetchError::Stopped {
                url: url.to_owned(),
            });
        }
        Ok(())
    }

    /// A small file as a whole, unless it is as `etag` and `modified` say.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn small(
        &self,
        url: &str,
        limit: u64,
        etag: Option<&str>,
        modified: Option<&str>,
    ) -> Result<Small, FetchError> {
        self.retry(&mut || {
            if let Some(file) = local::open(url, 0) {
                return Ok(Small::Fresh {
                    bytes: bounded(url, file?, limit)?,
                    etag: None,
                    modified: None,
                });
            }
            let mut headers = Vec::new();
            match (etag, modified) {
                (Some(etag), _) => headers.push(("If-None-Match", etag.to_owned())),
                (None, Some(modified)) => headers.push(("If-Modified-Since", modified.to_owned())),
                (None, None) => {}
            }
            let response = self.request(url, &headers)?;
            match response.status().as_u16() {
                304 if !headers.is_empty() => return Ok(Small::Unchanged),
                200 => {}
                status => return Err(refused(url, status)),
            }
            let header = |name: &str| {
                response
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned)
            };
            let (etag, modified) = (header("etag"), header("last-modified"));
            let expected = response.body().content_length();
            let bytes = bounded(url, response.into_body().into_reader(), limit)?;
            match expected {
                Some(expected) if expected != bytes.len() as u64 => Err(FetchError::Truncated {
                    url: url.to_owned(),
                    got: bytes.len() as u64,
                    expected,
                }),
                _ => Ok(Small::Fresh {
                    bytes,
                    etag,
                    modified,
                }),
            }
        })
    }

    /// Tries again what may pass, after a pause that doubles.
    pub(super) fn retry<T>(
        &self,
        attempt: &mut dyn FnMut() -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        let mut pause = self.settings.pause;
        let mut left = self.settings.attempts.max(1);
        loop {
            left -= 1;
            match attempt() {
                Err(error) if left > 0 && error.is_passing() => {
                    std::thread::sleep(pause);
                    pause = pause.saturating_mul(2);
                }
                other => return other,
            }
        }
    }

    pub(super) fn request(
        &self,
        url: &str,
        headers: &[(&str, String)],
    ) -> Result<Response<Body>, FetchError> {
        if self.settings.offline {
            return Err(FetchError::Offline {
                url: url.to_owned(),
            });
        }
        let (scheme, _) = url.split_once(':').unwrap_or(("http", ""));
        let host = jaula_plan::rootfs::address::host(url);
        let of_host = self
            .by_host
            .iter()
            .find(|(s, h, _)| s == scheme && h.eq_ignore_ascii_case(host));
        let agent = match of_host {
            Some((_, _, agent)) => agent,
            None if scheme == "https" => &self.https,
            None => &self.http,
        };
        let mut request = agent.get(url);
        if let Some(authorization) = self.accounts.authorization(url) {
            request = request.header("Authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.call().map_err(|source| match source {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => FetchError::BadAddress {
                url: url.to_owned(),
            },
            source => FetchError::Unreachable {
                url: url.to_owned(),
                source: Box::new(source),
            },
        })
    }
}

pub(super) fn refused(url: &str, status: u16) -> FetchError {
    let url = url.to_owned();
    if status == 404 || status == 410 {
        FetchError::NotFound { url }
    } else {
        FetchError::Status { url, status }
    }
}

fn bounded(url: &str, reader: impl Read, limit: u64) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    let read = reader.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|source| FetchError::Read {
        url: url.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > limit {
        return Err(FetchError::TooLarge {
            url: url.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}
