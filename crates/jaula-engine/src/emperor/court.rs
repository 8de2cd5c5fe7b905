//! The reign itself: processes, signals, the clock.

use super::{EmperorError, EmperorSpec, Place, look};
use crate::error::{At, PathError};
use crate::event::{Event, Observer};
use crate::service::{Sink, To};
use jaula_plan::emperor::{App, CONFIG_DIR, Order, Reign, Stamp, State};
use jaula_plan::service::Known;
use jaula_sys::companion::bound;
use jaula_sys::process::{self, readable};
use jaula_sys::signal::{self, Blocked};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGUSR1: i32 = 10;
const SIGTERM: i32 = 15;

/// How long one who asks is waited for.
const PATIENCE: Duration = Duration::from_millis(200);
/// So many are answered before the apps have their turn again.
const AT_ONCE: usize = 8;

struct Subject {
    child: Child,
    app: App,
}

pub struct Court<'a> {
    spec: &'a EmperorSpec,
    place: &'a Place,
    observer: &'a dyn Observer,
    reign: Reign,
    began: Instant,
    /// The same, in seconds since 1970.
    since: u64,
    subjects: BTreeMap<String, Subject>,
    listener: Option<TcpListener>,
    /// Whether the directory could not be read.
    blind: bool,
}

impl<'a> Court<'a> {
    pub fn new(
        spec: &'a EmperorSpec,
        place: &'a Place,
        observer: &'a dyn Observer,
    ) -> Result<Self, EmperorError> {
        let listener = spec.stats.map(|address| {
            let listener = TcpListener::bind(address);
            listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        });
        let failed = |source| EmperorError::Stats {
            address: spec.stats.unwrap_or_else(|| ([0, 0, 0, 0], 0).into()),
            source,
        };
        Ok(Self {
            spec,
            place,
            observer,
            reign: Reign::new(spec.patience),
            began: Instant::now(),
            since: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
            subjects: BTreeMap::new(),
            listener: listener.transpose().map_err(failed)?,
            blind: false,
        })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn note(&self, text: String) {
        self.observer.event(Event::Note { text });
    }

    pub fn reign(mut self) -> Result<(), EmperorError> {
        let blocked = Blocked::new()?;
        let signals = blocked.descriptor()?;
        let mut look_at = Duration::ZERO;
        loop {
            let now = self.now();
            let mut orders = Vec::new();
            if now >= look_at {
                let files = self.files();
                orders = self.reign.files(now, &files);
                look_at = now + self.spec.freq;
            }
            orders.extend(self.reign.due(now));
            self.obey(orders);
            self.report()?;
            if self.reign.is_over() {
                return Ok(());
            }
            let next = self.reign.next().into_iter().chain([look_at]).min();
            let left = next.unwrap_or(look_at).saturating_sub(self.now());
            let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
            let mut fds = vec![signals.as_fd()];
            fds.extend(self.listener.as_ref().map(|listener| listener.as_fd()));
            let ready = readable(&fds, millis.saturating_add(1));
            if ready & 2 != 0 {
                self.answer();
            }
            while let Some(signal) = signal::next(&signals) {
                let now = self.now();
                let orders = match signal {
                    SIGTERM | SIGINT | SIGQUIT => self.reign.end(now),
                    SIGHUP => self.reign.renew(),
                    SIGUSR1 => {
                        self.tell();
                        Vec::new()
                    }
                    _ => Vec::new(),
                };
                self.obey(orders);
            }
            self.reap();
        }
    }

    /// A directory that is gone, or is not safe any more, has no files: its apps end, until it is as it was.
    fn files(&mut self) -> BTreeMap<String, Stamp> {
        match look::files(&self.place.dir) {
            Ok(files) => {
                self.blind = false;
                files
            }
            Err(error) => {
                if !std::mem::replace(&mut self.blind, true) {
                    self.note(format!("all apps are ended: {}", look::whole(&error)));
                }
                BTreeMap::new()
            }
        }
    }

    fn obey(&mut self, orders: Vec<Order>) {
        for order in orders {
            match order {
                Order::Start(name) => self.start(&name),
                Order::Renew(name) => self.renew(&name),
                Order::Stop(name) => self.stop(&name),
                Order::Kill(name) => {
                    if let Some(subject) = self.subjects.get_mut(&name) {
                        drop(subject.child.kill());
                    }
                }
            }
        }
    }

    fn start(&mut self, name: &str) {
        let app = match self.app(name) {
            Ok(app) => app,
            Err(why) => {
                self.note(format!("{name} is not started: {why}"));
                self.reign.curse(name, false);
                return;
            }
        };
        match self.spawn(name, &app) {
            Ok(child) => {
                self.note(format!("{name} is started (process {})", child.id()));
                self.subjects
                    .insert(name.to_owned(), Subject { child, app });
            }
            Err(error) => {
                let pause = self.reign.ended(self.now(), name).unwrap_or_default();
                let wait = pause.as_millis();
                self.note(format!(
                    "{name} cannot be started, and is tried again in {wait} ms: {error}"
                ));
            }
        }
    }

    fn renew(&mut self, name: &str) {
        let app = match self.app(name) {
            Ok(app) => app,
            Err(why) => {
                self.note(format!("{name} goes on as it was: {why}"));
                self.reign.curse(name, true);
                return;
            }
        };
        let reload = app.reload.as_deref().and_then(Known::number);
        let Some(subject) = self.subjects.get_mut(name) else {
            return;
        };
        let same = App {
            config: app.config.clone(),
            ..subject.app.clone()
        } == app;
        if let (true, Some(signal)) = (same, reload) {
            subject.app = app.clone();
            let told = self.configure(name, &app).is_ok() && self.signal(name, signal);
            if told {
                self.note(format!("{name} reads its settings again"));
                return;
            }
        }
        self.note(format!("{name} is started anew"));
        if self.reign.restart(self.now(), name).is_some() {
            self.stop(name);
        }
    }

    fn stop(&mut self, name: &str) {
        let Some(subject) = self.subjects.get(name) else {
            return;
        };
        let signal = Known::number(&subject.app.stop).unwrap_or(SIGTERM);
        self.signal(name, signal);
    }

    fn signal(&self, name: &str, signal: i32) -> bool {
        let Some(subject) = self.subjects.get(name) else {
            return false;
        };
        // It is this process's child and not waited for: the number is its own.
        let process = process::pidfd(subject.child.id());
        process.is_ok_and(|process| process::signal(&process, signal).is_ok())
    }

    fn app(&self, name: &str) -> Result<App, String> {
        look::app(&self.place.dir, name)
    }

    /// The directory that an app sees its configuration in.
    fn own_dir(&self, name: &str) -> PathBuf {
        self.place.public.join(name)
    }

    fn configure(&self, name: &str, app: &App) -> Result<(), PathError> {
        let Some((file, text)) = &app.config else {
            return Ok(());
        };
        // Nobody but the caller comes here from outside; inside it may be anybody who reads it.
        let dir = self.own_dir(name);
        if !dir.is_dir() {
            std::fs::create_dir(&dir).at("make", &dir)?;
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&dir, mode).at("change", &dir)?;
        }
        let (path, new) = (dir.join(file), dir.join(".new"));
        std::fs::write(&new, text).at("write", &new)?;
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&new, mode).at("change", &new)?;
        std::fs::rename(&new, &path).at("write", &path)
    }

    fn spawn(&self, name: &str, app: &App) -> Result<Child, PathError> {
        self.configure(name, app)?;
        let mut words = self.spec.launch.iter();
        let program = words.next().cloned().unwrap_or_default();
        let mut command = Command::new(&program);
        command.args(words).args(&app.options);
        if app.config.is_some() {
            let mut bind = OsString::from("--bind=");
            bind.push(self.own_dir(name));
            bind.push(format!(":{CONFIG_DIR}:ro"));
            command.arg(bind);
        }
        command.args(&app.root).arg("--").args(&app.command);
        let pipe = PathBuf::from("a pipe");
        let (output, input) = std::io::pipe().at("make", &pipe)?;
        let again = input.try_clone().at("make", &pipe)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::from(OwnedFd::from(input)))
            .stderr(Stdio::from(OwnedFd::from(again)));
        bound(&mut command);
        let child = command.spawn().at("start", Path::new(&program))?;
        let tag = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        pass_on(output, tag, &self.spec.to);
        Ok(child)
    }

    fn reap(&mut self) {
        let mut ended = Vec::new();
        for (name, subject) in &mut self.subjects {
            if let Ok(Some(status)) = subject.child.try_wait() {
                ended.push((name.clone(), status));
            }
        }
        for (name, status) in ended {
            self.subjects.remove(&name);
            match self.reign.ended(self.now(), &name) {
                Some(pause) => {
                    let wait = pause.as_millis();
                    self.note(format!(
                        "{name} ended ({status}) and is started again in {wait} ms"
                    ));
                }
                None => self.note(format!("{name} ended ({status})")),
            }
        }
    }

    /// All there is to know, in the words of uWSGI's emperor.
    fn status(&self) -> Value {
        let (uid, gid) = process::effective_ids();
        let when =
            |at: Option<Duration>| at.map_or(0, |at| self.since.saturating_add(at.as_secs()));
        let vassals = self.reign.vassals().iter().map(|(name, vassal)| {
            let subject = self.subjects.get(name);
            let state = match vassal.state {
                State::Running => "running",
                State::Waiting(_) => "waiting",
                State::Ending(..) => "ending",
                State::Cursed => "cursed",
            };
            let cursed = match vassal.state {
                State::Cursed => when(vassal.last_end.or(vassal.last_run)),
                State::Waiting(_) => when(vassal.last_end),
                _ => 0,
            };
            json!({
                "id": name, "pid": subject.map_or(-1, |subject| i64::from(subject.child.id())),
                "state": state, "born": when(vassal.born), "last_mod": vassal.stamp.mtime.0,
                "first_run": when(vassal.born), "last_run": when(vassal.last_run), "cursed": cursed,
                "starts": vassal.starts, "uid": uid, "gid": gid,
            })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id(), "uid": uid, "gid": gid,
            "cwd": self.spec.cwd, "emperor": [self.place.dir],
            "emperor_tyrant": 0, "vassals": vassals.collect::<Vec<_>>(),
        })
    }

    /// Leaves the status for who asks by the store.
    fn report(&self) -> Result<(), EmperorError> {
        let (path, new) = (self.place.status(), self.place.path.join(".status"));
        let text = self.status().to_string();
        if std::fs::read(&path).is_ok_and(|was| was == text.as_bytes()) {
            return Ok(());
        }
        std::fs::write(&new, text).at("write", &new)?;
        std::fs::rename(&new, &path).at("write", &path)?;
        Ok(())
    }

    fn tell(&self) {
        for (name, vassal) in self.reign.vassals() {
            let pid = self.subjects.get(name).map(|subject| subject.child.id());
            let pid = pid.map_or_else(|| "no process".to_owned(), |pid| format!("process {pid}"));
            self.note(format!(
                "{name}: {pid}, started {} times, {:?}",
                vassal.starts, vassal.state
            ));
        }
    }

    /// Tells those who connected.
    fn answer(&self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let text = self.status().to_string();
        for _ in 0..AT_ONCE {
            let Ok((mut caller, _)) = listener.accept() else {
                return;
            };
            // One who does not read is left.
            if caller.set_nonblocking(false).is_ok()
                && caller.set_write_timeout(Some(PATIENCE)).is_ok()
            {
                drop(caller.write_all(text.as_bytes()));
            }
        }
    }
}

/// What an app writes goes on until nobody has its pipe any more.
fn pass_on(mut output: impl Read + Send + 'static, tag: &str, to: &To) {
    let Ok(mut sink) = Sink::new(tag, to.clone()) else {
        return;
    };
    std::thread::spawn(move || {
        let mut buffer = vec![0u8; 16 << 10];
        while let Ok(count) = output.read(&mut buffer) {
            if count == 0 {
                break;
            }
            sink.add(buffer.get(..count).unwrap_or_default());
        }
        sink.end();
    });
}
