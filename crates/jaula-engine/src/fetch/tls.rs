//! Certificates that are shown to servers.

use super::error::FetchError;
use jaula_plan::spec::source::TlsClient;
use std::io::Read;
use std::path::Path;
use ureq::tls::{ClientCert, PemItem, parse_pem};

/// Largest file of certificates, in bytes.
const LIMIT: u64 = 1 << 20;

/// Reads a certificate with its chain, and its key.
pub fn client_certificate(client: &TlsClient) -> Result<ClientCert, FetchError> {
    let wrong = |path: &Path, what: &str| FetchError::Certificate {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    let (mut chain, mut key) = (Vec::new(), None);
    let key_file = client.key.as_deref().unwrap_or(&client.certificate);
    for path in [client.certificate.as_path(), key_file] {
        let mut pem = Vec::new();
        let file = std::fs::File::open(path);
        file.and_then(|file| file.take(LIMIT).read_to_end(&mut pem))
            .map_err(|error| wrong(path, &error.to_string()))?;
        for item in parse_pem(&pem) {
            match item {
                Ok(PemItem::Certificate(found)) if path == client.certificate => chain.push(found),
                Ok(PemItem::PrivateKey(found)) if path == key_file => key = Some(found),
                Ok(_) => {}
                Err(_) => return Err(wrong(path, "it is not in PEM form")),
            }
        }
        // Certificate and key in one file.
        if key_file == client.certificate {
            break;
        }
    }
    if chain.is_empty() {
        return Err(wrong(&client.certificate, "there is no certificate in it"));
    }
    match key {
        Some(key) => Ok(ClientCert::new_with_certs(&chain, key)),
        None => Err(wrong(key_file, "there is no private key in it")),
    }
}
