use super::resolver::{Answer, Stub, in_hosts, read, servers};
use super::*;
use jaula_testkit::{Fault, Server};
use sha2::{Digest, Sha256};
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, ResourceRecord, TYPE};
use std::path::Path;
use std::time::Duration;

fn client() -> Client {
    Client::new(Settings {
        pause: Duration::from_millis(1),
        attempts: 3,
        ..Settings::default()
    })
    .unwrap()
}

fn wanted(dir: &Path, url: String, content: &[u8]) -> Wanted {
    Wanted {
        urls: vec![url],
        size: content.len() as u64,
        sha256: Sha256::digest(content).into(),
        label: "file".into(),
        part: dir.join("part"),
        path: dir.join("whole"),
    }
}

struct Site {
    server: Server,
    dir: tempfile::TempDir,
    content: Vec<u8>,
}

fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..300_000u32).map(|n| (n * 7 % 251) as u8).collect();
    std::fs::create_dir(dir.path().join("www")).unwrap();
    std::fs::write(dir.path().join("www/f"), &content).unwrap();
    let server = Server::start(&dir.path().join("www")).unwrap();
    Site {
        server,
        dir,
        content,
    }
}

impl Site {
    fn wanted(&self) -> Wanted {
        wanted(
            self.dir.path(),
            format!("{}/f", self.server.url()),
            &self.content,
        )
    }

    fn fetch(&self) -> Result<(), FetchError> {
        download_all(&client(), &[self.wanted()], &|_, _, _| {})
    }

    /// The requests, once there are `count`: the server notes one after it has answered.
    fn requests(&self, count: usize) -> Vec<jaula_testkit::server::Request> {
        while self.server.requests().len() < count {
            std::thread::yield_now();
        }
        self.server.requests()
    }

    fn assert_whole(&self) {
        assert_eq!(
            std::fs::read(self.dir.path().join("whole")).unwrap(),
            self.content
        );
        assert!(!self.dir.path().join("part").exists());
    }
}

#[test]
fn a_file_is_fetched_and_progress_adds_up() {
    let site = site();
    let seen = std::sync::Mutex::new((0, 0));
    download_all(&client(), &[site.wanted()], &|files, bytes, _| {
        *seen.lock().unwrap() = (files, bytes)
    })
    .unwrap();
    site.assert_whole();
    assert_eq!(*seen.lock().unwrap(), (1, 300_000));
}

#[test]
fn a_part_is_gone_on_from() {
    let site = site();
    std::fs::write(site.dir.path().join("part"), &site.content[..100_000]).unwrap();
    site.fetch().unwrap();
    site.assert_whole();
    assert_eq!(site.requests(1)[0].from, Some(100_000));
}

#[test]
fn a_truncated_answer_is_resumed() {
    let site = site();
    site.server.fault("/f", Fault::Truncate(70_000), 1);
    site.fetch().unwrap();
    site.assert_whole();
    assert!(
        site.requests(2)
            .last()
            .unwrap()
            .from
            .is_some_and(|from| from > 0)
    );
}

#[test]
fn a_server_that_ignores_ranges_begins_anew() {
    let site = site();
    std::fs::write(site.dir.path().join("part"), &site.content[..100_000]).unwrap();
    site.server.fault("/f", Fault::IgnoreRange, 1);
    site.fetch().unwrap();
    site.assert_whole();
}

#[test]
fn passing_failures_are_tried_again_and_lasting_ones_are_not() {
    let site = site();
    site.server.fault("/f", Fault::Unavailable, 2);
    site.fetch().unwrap();
    site.assert_whole();
    std::fs::remove_file(site.dir.path().join("whole")).unwrap();
    site.server.fault("/f", Fault::Unavailable, 3);
    assert!(matches!(
        site.fetch(),
        Err(FetchError::Status { status: 503, .. })
    ));
    let before = site.requests(6).len();
    site.server.fault("/f", Fault::NotFound, 9);
    assert!(matches!(site.fetch(), Err(FetchError::NotFound { .. })));
    assert_eq!(site.requests(before + 1).len(), before + 1);
}

#[test]
fn an_altered_file_is_refused_and_not_kept() {
    let site = site();
    site.server.fault("/f", Fault::Flip(12_345), 9);
    let error = site.fetch().unwrap_err();
    assert!(matches!(&error, FetchError::Altered { .. }), "{error}");
    assert!(!site.dir.path().join("part").exists() && !site.dir.path().join("whole").exists());
    assert_eq!(error.kind(), crate::Kind::Verification);
}

#[test]
fn an_altered_part_is_thrown_away() {
    let site = site();
    std::fs::write(site.dir.path().join("part"), vec![1u8; 100_000]).unwrap();
    assert!(matches!(site.fetch(), Err(FetchError::Altered { .. })));
    site.fetch().unwrap();
    site.assert_whole();
}

#[test]
fn an_endless_file_is_cut_off() {
    let site = site();
    let mut wanted = site.wanted();
    wanted.size = 1000;
    let error = download_all(&client(), &[wanted], &|_, _, _| {}).unwrap_err();
    assert!(
        matches!(error, FetchError::TooLarge { limit: 1000, .. }),
        "{error}"
    );
    let url = format!("{}/f", site.server.url());
    assert!(matches!(
        client().small(&url, 1000, None, None),
        Err(FetchError::TooLarge { .. })
    ));
}

#[test]
fn an_unreachable_mirror_is_an_error_with_a_hint() {
    let error = client()
        .small("http://127.0.0.1:1/x", 10, None, None)
        .unwrap_err();
    assert!(matches!(&error, FetchError::Unreachable { .. }), "{error}");
    assert!(error.hints()[0].contains("--mirror"));
}

#[test]
fn two_at_once_fetch_one_file() {
    let site = site();
    site.server.fault("/f", Fault::Slow(2_000_000), 1);
    std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| site.fetch()));
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap().unwrap());
    });
    site.assert_whole();
    assert_eq!(site.requests(1).len(), 1);
}

#[test]
fn files_of_the_host_and_bad_addresses() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a b"), b"content").unwrap();
    let url = format!("file://{}/a%20b", dir.path().display());
    let Small::Fresh { bytes, .. } = client().small(&url, 100, None, None).unwrap() else {
        panic!("unchanged")
    };
    assert_eq!(bytes, b"content");
    download_all(
        &client(),
        &[wanted(dir.path(), url, b"content")],
        &|_, _, _| {},
    )
    .unwrap();
    assert_eq!(std::fs::read(dir.path().join("whole")).unwrap(), b"content");
    for bad in [
        "file://relative",
        "file:///a%0",
        "file:///a%00b",
        "nonsense",
    ] {
        let error = client().small(bad, 10, None, None).unwrap_err();
        assert!(
            matches!(&error, FetchError::BadAddress { .. }),
            "{bad}: {error}"
        );
    }
    assert!(matches!(
        client().small("file:///no/such", 10, None, None),
        Err(FetchError::NotFound { .. })
    ));
}

#[test]
fn offline_means_no_connection() {
    let site = site();
    let client = Client::new(Settings {
        offline: true,
        ..Settings::default()
    })
    .unwrap();
    let outcome = download_all(&client, &[site.wanted()], &|_, _, _| {});
    assert!(matches!(outcome, Err(FetchError::Offline { .. })));
    assert!(site.server.requests().is_empty());
}

#[test]
fn hosts_and_resolv_conf_are_read() {
    let hosts = "127.0.0.1 localhost\n::1 ip6 # x\n10.0.0.1 a.example A.other\nnonsense line\n";
    assert_eq!(
        in_hosts(hosts, "a.OTHER"),
        ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
    assert!(in_hosts(hosts, "x").is_empty());
    let conf = "search x\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\nnameserver ::2 # y\n";
    let expected: Vec<std::net::IpAddr> = vec!["10.0.0.2".parse().unwrap(), "::2".parse().unwrap()];
    assert_eq!(servers(conf), expected);
    assert_eq!(
        servers(""),
        ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
}

fn answer(id: u16, asked: &str, records: Vec<ResourceRecord<'_>>, rcode: RCODE) -> Vec<u8> {
    let mut packet = Packet::new_reply(id);
    packet.set_flags(PacketFlag::RESPONSE);
    *packet.rcode_mut() = rcode;
    packet.questions.push(Question::new(
        Name::new_unchecked(asked),
        TYPE::A.into(),
        CLASS::IN.into(),
        false,
    ));
    packet.answers = records;
    packet.build_bytes_vec().unwrap()
}

fn a(name: &'static str, last: u32) -> ResourceRecord<'static> {
    ResourceRecord::new(
        Name::new_unchecked(name),
        CLASS::IN,
        60,
        RData::A(A {
            address: 0x0a00_0000 + last,
        }),
    )
}

#[test]
fn answers_follow_aliases_and_nothing_else() {
    let alias = ResourceRecord::new(
        Name::new_unchecked("m.example"),
        CLASS::IN,
        60,
        RData::CNAME(simple_dns::rdata::CNAME(Name::new_unchecked(
            "real.example",
        ))),
    );
    let bytes = answer(
        7,
        "m.example",
        vec![a("real.example", 1), alias, a("evil.example", 2)],
        RCODE::NoError,
    );
    let expected = Answer::Addresses(vec!["10.0.0.1".parse().unwrap()]);
    assert_eq!(read(&bytes, 7, "M.example", TYPE::A), expected);
    assert_eq!(read(&bytes, 8, "m.example", TYPE::A), Answer::Stray);
    assert_eq!(read(&bytes, 7, "other.example", TYPE::A), Answer::Stray);
    assert_eq!(read(&bytes, 7, "m.example", TYPE::AAAA), Answer::Stray);
    assert_eq!(
        read(
            &answer(7, "m.example", vec![], RCODE::NameError),
            7,
            "m.example",
            TYPE::A
        ),
        Answer::Addresses(vec![])
    );
    assert_eq!(
        read(
            &answer(7, "m.example", vec![], RCODE::ServerFailure),
            7,
            "m.example",
            TYPE::A
        ),
        Answer::Failed
    );
    for cut in 0..bytes.len() {
        assert_ne!(
            read(&bytes[..cut], 7, "m.example", TYPE::A),
            expected,
            "cut at {cut}"
        );
    }
}

#[test]
fn a_name_is_asked_for_over_udp() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let mut buffer = [0u8; 512];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            let query = Packet::parse(&buffer[..length]).unwrap();
            let question = query.questions[0].clone().into_owned();
            let mut reply = query.into_reply();
            reply.questions = vec![question.clone()];
            if question.qtype == TYPE::A.into() {
                reply.answers.push(a("m.example", 9));
            }
            socket
                .send_to(&reply.build_bytes_vec().unwrap(), from)
                .unwrap();
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let (hosts, resolv_conf) = (dir.path().join("hosts"), dir.path().join("resolv.conf"));
    std::fs::write(&hosts, "").unwrap();
    std::fs::write(&resolv_conf, "nameserver 127.0.0.1\n").unwrap();
    let stub = Stub {
        hosts,
        resolv_conf,
        port,
    };
    assert_eq!(
        stub.lookup("m.example").unwrap(),
        ["10.0.0.9".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(
        stub.lookup("[::1]").unwrap(),
        ["::1".parse::<std::net::IpAddr>().unwrap()]
    );
    server.join().unwrap();
}

/// A server that gives its one file to who says who he is, and hands on the others.
fn asking(times: usize) -> (String, std::thread::JoinHandle<Vec<String>>) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut heard = Vec::new();
        for stream in listener.incoming().take(times) {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut said = String::new();
            for line in lines
                .by_ref()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
            {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("authorization: ") {
                    said = line.split_at(line.len() - value.len()).1.to_owned();
                }
            }
            // ana:geheim
            let answer = match said.as_str() {
                "Basic YW5hOmdlaGVpbQ==" => "200 OK",
                _ => "401 Unauthorized",
            };
            write!(
                stream,
                "HTTP/1.1 {answer}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
            )
            .unwrap();
            heard.push(said);
        }
        heard
    });
    (url, thread)
}

#[test]
fn a_login_is_said_to_its_own_archive_alone() {
    let (url, server) = asking(4);
    let mut source = jaula_plan::rootfs::Source::new(
        format!("{url}/debian"),
        "bookworm",
        jaula_plan::rootfs::Kind::Main,
    );
    source.login = jaula_plan::rootfs::address::split_login("http://ana:geheim@h").1;
    let known = client().with_logins(&[source]);
    assert!(
        known
            .small(&format!("{url}/debian/dists/x"), 10, None, None)
            .is_ok()
    );
    for other in ["/debian-security/x", "/x"] {
        let refused = known
            .small(&format!("{url}{other}"), 10, None, None)
            .unwrap_err();
        assert!(
            matches!(&refused, FetchError::Status { status: 401, .. }),
            "{refused}"
        );
        assert!(!format!("{refused:?}{refused}").contains("geheim"));
    }
    // apt_auth.conf(5), which names plain http on purpose.
    let host = url.trim_start_matches("http://");
    let text = format!("machine http://{host}/private login ana password geheim");
    let by_file = Client::new(Settings {
        machines: jaula_plan::facts::auth::machines(&text),
        ..Settings::default()
    });
    assert!(
        by_file
            .unwrap()
            .small(&format!("{url}/private/x"), 10, None, None)
            .is_ok()
    );
    let heard = server.join().unwrap();
    assert_eq!(
        heard.iter().filter(|said| said.is_empty()).count(),
        2,
        "{heard:?}"
    );
}

#[test]
fn apts_own_proxies_are_used_where_the_environment_names_none() {
    let site = site();
    let mut rules = jaula_plan::facts::apt_conf::ProxyRules::default();
    rules.read(&format!("Acquire::http::Proxy \"{}\";", site.server.url()));
    let through = |proxies: Proxies| {
        let client = Client::new(Settings {
            proxies,
            apt_proxies: rules.clone(),
            attempts: 1,
            ..Settings::default()
        });
        client
            .unwrap()
            .small("http://archive.invalid/f", 1 << 20, None, None)
    };
    // The proxy is asked for the whole address, which it does not know: but it is asked.
    drop(through(Proxies::default()));
    assert_eq!(site.server.requests().len(), 1);
    let other = Proxies {
        http: Some("http://127.0.0.1:9".into()),
        ..Proxies::default()
    };
    assert!(matches!(
        through(other),
        Err(FetchError::Unreachable { .. })
    ));
    assert_eq!(site.server.requests().len(), 1);
}
