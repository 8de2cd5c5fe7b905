//! A server that wants a certificate, and the certificates.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

use std::path::Path;

/// A server of the repository that wants a certificate, as openssl's own. None where there is no openssl.
pub struct Tls {
    server: std::process::Child,
    pub url: String,
}

impl Drop for Tls {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

fn openssl(dir: &Path, words: &[&str]) -> Result<(), String> {
    let mut command = std::process::Command::new("openssl");
    let ran = command.args(words).current_dir(dir).output();
    let ran = ran.map_err(|error| format!("no openssl: {error}"))?;
    match ran.status.success() {
        true => Ok(()),
        false => Err(format!("openssl: {}", String::from_utf8_lossy(&ran.stderr))),
    }
}

pub fn certificates(dir: &Path) -> Result<(), String> {
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "30",
    ];
    let ca = [
        "req",
        "-x509",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=test authority",
    ];
    openssl(dir, &[&ca[..], &key].concat())?;
    for (name, more) in [
        ("server", "subjectAltName=IP:127.0.0.1"),
        ("client", "extendedKeyUsage=clientAuth"),
    ] {
        let (k, c, subject) = (
            format!("{name}.key"),
            format!("{name}.pem"),
            format!("/CN={name}"),
        );
        let leaf = [
            "req",
            "-x509",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-keyout",
            &k,
            "-out",
            &c,
            "-subj",
            &subject,
            "-addext",
            more,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ];
        openssl(dir, &[&leaf[..], &key].concat())?;
    }
    Ok(())
}

pub fn serve(dir: &Path, keys: &Path) -> Result<Tls, String> {
    let port = {
        let listener =
            std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        listener
            .local_addr()
            .map_err(|error| error.to_string())?
            .port()
    };
    let at = |name: &str| keys.join(name).display().to_string();
    let server = std::process::Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-WWW",
            "-Verify",
            "1",
            "-verify_return_error",
        ])
        .args([
            "-accept",
            &format!("127.0.0.1:{port}"),
            "-CAfile",
            &at("ca.pem"),
        ])
        .args(["-cert", &at("server.pem"), "-key", &at("server.key")])
        .current_dir(dir)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .map_err(|error| format!("no openssl: {error}"))?;
    let tls = Tls {
        server,
        url: format!("https://127.0.0.1:{port}"),
    };
    let start = std::time::Instant::now();
    while start.elapsed().as_secs() < 10 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(tls);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Err("openssl does not listen".to_owned())
}
