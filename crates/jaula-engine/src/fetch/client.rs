//! One request at a time, retried.

use super::error::FetchError;
use super::resolver::Stub;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
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
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proxies: Proxies::default(),
            connections: 8,
            attempts: 4,
            pause: Duration::from_millis(400),
            offline: false,
        }
    }
}

/// Fetches. Connections are kept open and shared between threads.
#[derive(Debug)]
pub struct Client {
    http: Agent,
    https: Agent,
    pub(super) settings: Settings,
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

fn agent(proxy: &Option<String>, no_proxy: &Option<String>) -> Result<Agent, FetchError> {
    let proxy = match proxy.as_deref() {
        None | Some("") => None,
        Some(url) => {
            let bad = |_| FetchError::BadAddress {
                url: url.to_owned(),
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
    /// [`FetchError::BadAddress`] for a proxy that is none.
    pub fn new(settings: Settings) -> Result<Self, FetchError> {
        let Proxies {
            http,
            https,
            no_proxy,
        } = &settings.proxies;
        Ok(Self {
            http: agent(http, no_proxy)?,
            https: agent(https, no_proxy)?,
            settings,
        })
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
            if let Some(path) = file_path(url) {
                let file = open_file(url, &path?)?;
                return Ok(Small::Fresh {
                    bytes: bounded(url, file, limit)?,
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
        let agent = if url.starts_with("https:") {
            &self.https
        } else {
            &self.http
        };
        let mut request = agent.get(url);
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

/// The path of a `file:` address, its escapes undone.
pub(super) fn file_path(url: &str) -> Option<Result<PathBuf, FetchError>> {
    let path = url.strip_prefix("file://")?;
    let bad = || FetchError::BadAddress {
        url: url.to_owned(),
    };
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| (byte as char).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) if (high, low) != (0, 0) => bytes.push((high * 16 + low) as u8),
            _ => return Some(Err(bad())),
        }
    }
    let path =
        PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes));
    Some(if path.is_absolute() {
        Ok(path)
    } else {
        Err(bad())
    })
}

pub(super) fn open_file(url: &str, path: &std::path::Path) -> Result<File, FetchError> {
    File::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => FetchError::NotFound {
            url: url.to_owned(),
        },
        _ => FetchError::Read {
            url: url.to_owned(),
            source,
        },
    })
}

pub(super) fn seek(url: &str, mut file: File, at: u64) -> Result<File, FetchError> {
    file.seek(SeekFrom::Start(at))
        .map_err(|source| FetchError::Read {
            url: url.to_owned(),
            source,
        })?;
    Ok(file)
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
