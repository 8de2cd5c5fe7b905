//! Questions that wait, of which nobody's stand in the way of another's: who asks often waits behind himself.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Condvar, Mutex};

/// What waits, by who asked.
pub struct Queue<T> {
    inner: Mutex<Inner<T>>,
    some: Condvar,
    limits: Limits,
}

/// How much of it there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// What waits, of all together.
    pub waiting: usize,
    /// What waits of one.
    pub of_one: usize,
    /// What is done at once for one.
    pub at_once: usize,
}

struct Inner<T> {
    waiting: BTreeMap<IpAddr, VecDeque<T>>,
    /// Those of whom something waits, in the order in which it is their turn.
    turns: VecDeque<IpAddr>,
    busy: BTreeMap<IpAddr, usize>,
    count: usize,
}

impl<T> Queue<T> {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            inner: Mutex::new(Inner {
                waiting: BTreeMap::new(),
                turns: VecDeque::new(),
                busy: BTreeMap::new(),
                count: 0,
            }),
            some: Condvar::new(),
            limits,
        }
    }

    /// Adds a question; false if there is no room for it.
    pub fn put(&self, from: IpAddr, what: T) -> bool {
        let Ok(mut inner) = self.inner.lock() else {
            return false;
        };
        let of_one = inner.waiting.get(&from).map_or(0, VecDeque::len);
        if of_one >= self.limits.of_one || inner.count >= self.limits.waiting {
            return false;
        }
        if of_one == 0 {
            inner.turns.push_back(from);
        }
        inner.waiting.entry(from).or_default().push_back(what);
        inner.count = inner.count.saturating_add(1);
        self.some.notify_one();
        true
    }

    /// The next question, as soon as there is one that may be worked on; [`Self::done`] has to follow.
    pub fn take(&self) -> Option<(IpAddr, T)> {
        let mut inner = self.inner.lock().ok()?;
        loop {
            if let Some(found) = inner.next(self.limits.at_once) {
                return Some(found);
            }
            inner = self.some.wait(inner).ok()?;
        }
    }

    /// Says that a question that was taken is worked on no longer.
    pub fn done(&self, from: IpAddr) {
        if let Ok(mut inner) = self.inner.lock() {
            let left = inner
                .busy
                .get(&from)
                .map_or(0, |busy| busy.saturating_sub(1));
            match left {
                0 => inner.busy.remove(&from),
                left => inner.busy.insert(from, left),
            };
            self.some.notify_one();
        }
    }
}

impl<T> Inner<T> {
    fn next(&mut self, at_once: usize) -> Option<(IpAddr, T)> {
        let may = |from: &IpAddr| self.busy.get(from).is_none_or(|busy| *busy < at_once);
        let at = self.turns.iter().position(may)?;
        let from = self.turns.remove(at)?;
        let waiting = self.waiting.get_mut(&from)?;
        let what = waiting.pop_front()?;
        match waiting.is_empty() {
            true => drop(self.waiting.remove(&from)),
            false => self.turns.push_back(from),
        }
        self.count = self.count.saturating_sub(1);
        *self.busy.entry(from).or_default() += 1;
        Some((from, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(last: u8) -> IpAddr {
        [10, 77, 0, last].into()
    }

    #[test]
    fn who_asks_much_stands_in_nobodys_way() {
        let queue = Queue::new(Limits {
            waiting: 20,
            of_one: 8,
            at_once: 3,
        });
        let put = (0..100)
            .filter(|number| queue.put(guest(2), *number))
            .count();
        assert_eq!(put, 8);
        assert!(queue.put(guest(3), 1000));
        let taken: Vec<(IpAddr, u32)> = (0..4).filter_map(|_| queue.take()).collect();
        assert_eq!(
            taken,
            [
                (guest(2), 0),
                (guest(3), 1000),
                (guest(2), 1),
                (guest(2), 2)
            ]
        );
        // Three are worked on: the next is another's, although it came last.
        assert!(queue.put(guest(4), 2000));
        assert_eq!(queue.take(), Some((guest(4), 2000)));
        queue.done(guest(2));
        assert_eq!(queue.take(), Some((guest(2), 3)));
        // All together have a bound too.
        for last in 10..200 {
            queue.put(guest(last), 0);
        }
        assert_eq!(queue.inner.lock().unwrap().count, 20);
    }
}
