//! Work on several threads whose results come back in the order in which it was given out, so that what is written
//! does not depend on who was faster.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Threads that do one kind of work. Dropped, they end.
#[derive(Debug)]
pub struct Lanes<J, R> {
    give: Option<SyncSender<(u64, J)>>,
    take: Receiver<(u64, R)>,
    threads: Vec<JoinHandle<()>>,
    given: u64,
    taken: u64,
    early: BTreeMap<u64, R>,
    most: u64,
}

impl<J: Send + 'static, R: Send + 'static> Lanes<J, R> {
    /// Starts `threads` of them, at least one. At most twice as many pieces are under way at a time.
    pub fn start(threads: usize, work: impl Fn(J) -> R + Send + Sync + 'static) -> Self {
        let threads = threads.clamp(1, 64);
        let most = threads.saturating_mul(2);
        let (give, jobs) = sync_channel::<(u64, J)>(most);
        // Never full: no more results than pieces under way.
        let (put, take) = sync_channel(most.saturating_add(1));
        let (jobs, work) = (Arc::new(Mutex::new(jobs)), Arc::new(work));
        let threads = (0..threads).map(|_| {
            let (jobs, work, put) = (jobs.clone(), work.clone(), put.clone());
            std::thread::spawn(move || {
                loop {
                    let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, job)) = next else { break };
                    if put.send((number, work(job))).is_err() {
                        break;
                    }
                }
            })
        });
        Self {
            give: Some(give),
            take,
            threads: threads.collect(),
            given: 0,
            taken: 0,
            early: BTreeMap::new(),
            most: most as u64,
        }
    }

    /// Whether a result must be taken before the next piece is given.
    pub fn full(&self) -> bool {
        self.given.saturating_sub(self.taken) >= self.most
    }

    /// Gives out a piece; the number of the piece. False when the threads are gone.
    pub fn give(&mut self, job: J) -> bool {
        let sent = self
            .give
            .as_ref()
            .is_some_and(|give| give.send((self.given, job)).is_ok());
        self.given = self.given.saturating_add(u64::from(sent));
        sent
    }

    /// The next result in the order of the pieces, waited for; none when there is nothing under way, or the threads
    /// are gone.
    pub fn next_result(&mut self) -> Option<R> {
        if self.taken == self.given {
            return None;
        }
        loop {
            if let Some(result) = self.early.remove(&self.taken) {
                self.taken = self.taken.saturating_add(1);
                return Some(result);
            }
            let (number, result) = self.take.recv().ok()?;
            self.early.insert(number, result);
        }
    }

    /// Whether everything that was given came back.
    pub fn idle(&self) -> bool {
        self.taken == self.given
    }
}

impl<J, R> Drop for Lanes<J, R> {
    fn drop(&mut self) {
        self.give = None;
        // Whoever waits to put a result must not wait for ever.
        let mut ends: VecDeque<_> = self.threads.drain(..).collect();
        while let Some(thread) = ends.pop_front() {
            while !thread.is_finished() && self.take.recv().is_ok() {}
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whoever_was_faster() {
        for threads in [1, 2, 7] {
            let mut lanes = Lanes::start(threads, |number: u64| {
                // The first ones take longest.
                (0..(200u64.saturating_sub(number)) * 500).fold(number, |a, b| a.max(b % 2))
            });
            let mut got = Vec::new();
            for number in 2..200u64 {
                while lanes.full() {
                    got.push(lanes.next_result().unwrap());
                }
                assert!(lanes.give(number));
            }
            while let Some(result) = lanes.next_result() {
                got.push(result);
            }
            assert!(lanes.idle());
            assert_eq!(got, (2..200).collect::<Vec<_>>());
        }
    }

    #[test]
    fn dropped_in_the_middle_they_end() {
        let mut lanes = Lanes::start(3, |bytes: Vec<u8>| bytes.len());
        for _ in 0..4 {
            assert!(lanes.give(vec![0; 1 << 20]));
        }
        drop(lanes);
    }
}
