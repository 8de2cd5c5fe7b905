//! Who is to be started, renewed, ended, and when: what the files, the ends of programs and the clock make of it.

use crate::service::BackOff;
use std::collections::BTreeMap;
use std::time::Duration;

/// What tells one content of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// When it was written: seconds since 1970 and their nanoseconds.
    pub mtime: (i64, u32),
    /// Bytes.
    pub size: u64,
    /// Which file.
    pub inode: u64,
}

/// How a vassal is. Times are since the reign began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It ended, or could not be started, and is started then.
    Waiting(Duration),
    /// It was told to end; since when, and whether patience is at its end.
    Ending(Duration, bool),
    /// Its file makes no sense: until that changes.
    Cursed,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vassal {
    /// Its file as it was when it was last looked at.
    pub stamp: Stamp,
    /// How it is.
    pub state: State,
    /// When it was first started.
    pub born: Option<Duration>,
    /// When it was last started.
    pub last_run: Option<Duration>,
    /// When it last ended unasked.
    pub last_end: Option<Duration>,
    /// How often it was started.
    pub starts: u32,
    /// Whether it is to be started when it has ended.
    again: bool,
    /// Whether its file is gone.
    gone: bool,
    pauses: BackOff,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Start it, from its file as it is now.
    Start(String),
    /// Its file changed: tell it, or end it and start it anew.
    Renew(String),
    /// Tell it to end.
    Stop(String),
    /// End it.
    Kill(String),
}

/// All of them.
#[derive(Debug, Clone)]
pub struct Reign {
    vassals: BTreeMap<String, Vassal>,
    patience: Duration,
    over: bool,
}

impl Reign {
    /// Nobody yet; `patience` is between being told to end and being killed.
    pub fn new(patience: Duration) -> Self {
        Self {
            vassals: BTreeMap::new(),
            patience,
            over: false,
        }
    }

    /// The vassals by name.
    pub fn vassals(&self) -> &BTreeMap<String, Vassal> {
        &self.vassals
    }

    /// Whether all have ended after [`Reign::end`].
    pub fn is_over(&self) -> bool {
        self.over && self.vassals.is_empty()
    }

    /// What the directory holds now.
    pub fn files(&mut self, now: Duration, files: &BTreeMap<String, Stamp>) -> Vec<Order> {
        let mut orders = Vec::new();
        if self.over {
            return orders;
        }
        for (name, vassal) in &mut self.vassals {
            match files.get(name) {
                None => {
                    vassal.gone = true;
                    vassal.again = false;
                    if vassal.state == State::Running {
                        vassal.state = State::Ending(now, false);
                        orders.push(Order::Stop(name.clone()));
                    }
                }
                Some(stamp) if *stamp != vassal.stamp || vassal.gone => {
                    (vassal.stamp, vassal.gone) = (*stamp, false);
                    vassal.pauses = BackOff::default();
                    match vassal.state {
                        State::Running => orders.push(Order::Renew(name.clone())),
                        State::Ending(..) => vassal.again = true,
                        State::Waiting(_) | State::Cursed => vassal.state = State::Waiting(now),
                    }
                }
                Some(_) => {}
            }
        }
        self.vassals
            .retain(|_, vassal| !vassal.gone || matches!(vassal.state, State::Ending(..)));
        for (name, stamp) in files {
            self.vassals.entry(name.clone()).or_insert(Vassal {
                stamp: *stamp,
                state: State::Waiting(now),
                born: None,
                last_run: None,
                last_end: None,
                starts: 0,
                again: false,
                gone: false,
                pauses: BackOff::default(),
            });
        }
        orders.extend(self.due(now));
        orders
    }

    /// What the clock asks for.
    pub fn due(&mut self, now: Duration) -> Vec<Order> {
        let mut orders = Vec::new();
        for (name, vassal) in &mut self.vassals {
            match &mut vassal.state {
                State::Waiting(at) if *at <= now => {
                    vassal.state = State::Running;
                    vassal.born.get_or_insert(now);
                    vassal.last_run = Some(now);
                    vassal.starts = vassal.starts.saturating_add(1);
                    orders.push(Order::Start(name.clone()));
                }
                State::Ending(since, killed)
                    if !*killed && now.saturating_sub(*since) >= self.patience =>
                {
                    *killed = true;
                    orders.push(Order::Kill(name.clone()));
                }
                _ => {}
            }
        }
        orders
    }

    /// When the clock next asks for something.
    pub fn next(&self) -> Option<Duration> {
        let times = self
            .vassals
            .values()
            .filter_map(|vassal| match vassal.state {
                State::Waiting(at) => Some(at),
                State::Ending(since, false) => Some(since.saturating_add(self.patience)),
                _ => None,
            });
        times.min()
    }

    /// It has to be ended and started anew, as a change of its file asks.
    pub fn restart(&mut self, now: Duration, name: &str) -> Option<Order> {
        let vassal = self.vassals.get_mut(name)?;
        vassal.again = true;
        vassal.state = State::Ending(now, false);
        Some(Order::Stop(name.to_owned()))
    }

    /// Its file makes no sense; what runs is left as it is.
    pub fn curse(&mut self, name: &str, runs: bool) {
        if let Some(vassal) = self.vassals.get_mut(name)
            && !runs
        {
            vassal.state = State::Cursed;
        }
    }

    /// It ended, or could not be started; the pause before it is started again.
    pub fn ended(&mut self, now: Duration, name: &str) -> Option<Duration> {
        let vassal = self.vassals.get_mut(name)?;
        match vassal.state {
            State::Ending(..) if vassal.again && !self.over => {
                (vassal.again, vassal.state) = (false, State::Waiting(now));
                None
            }
            State::Ending(..) => {
                self.vassals.remove(name);
                None
            }
            _ => {
                let ran = now.saturating_sub(vassal.last_run.unwrap_or(now));
                let pause = vassal.pauses.after(ran);
                vassal.last_end = Some(now);
                vassal.state = State::Waiting(now.saturating_add(pause));
                Some(pause)
            }
        }
    }

    /// All are to end.
    pub fn end(&mut self, now: Duration) -> Vec<Order> {
        self.over = true;
        self.vassals
            .retain(|_, vassal| matches!(vassal.state, State::Running | State::Ending(..)));
        let mut orders = Vec::new();
        for (name, vassal) in &mut self.vassals {
            vassal.again = false;
            if vassal.state == State::Running {
                vassal.state = State::Ending(now, false);
                orders.push(Order::Stop(name.clone()));
            }
        }
        orders
    }

    /// All are to read their settings again.
    pub fn renew(&self) -> Vec<Order> {
        let running = self.vassals.iter();
        let running = running.filter(|(_, vassal)| vassal.state == State::Running);
        running
            .map(|(name, _)| Order::Renew(name.clone()))
            .collect()
    }
}
