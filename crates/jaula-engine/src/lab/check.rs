//! Whether nodes reach each other: echo requests from every node that is asked for, both families.

use super::{LabEntry, LabRunError};
use jaula_plan::lab::{Expectation, Queue};
use jaula_sys::icmp::Echo;
use jaula_sys::{namespace, process};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long an answer that is expected may take besides the delays of links: the host may be busy.
const PATIENCE: Duration = Duration::from_millis(4000);
/// How long one is waited for that is not expected.
const DOUBT: Duration = Duration::from_millis(1000);
/// A question without an answer is asked again after this: a link may have lost it.
const AGAIN: Duration = Duration::from_millis(200);
/// How many links an answer may pass that are as late as the latest.
const HOPS: u32 = 20;

/// What came of a pair.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Answer {
    /// Who asked.
    pub from: String,
    /// Who was asked.
    pub to: String,
    /// His address.
    pub address: IpAddr,
    /// Whether he answered.
    pub reached: bool,
    /// Whether that was expected.
    pub expected: bool,
    /// Microseconds until the answer.
    pub micros: Option<u64>,
}

struct Question {
    to: usize,
    address: IpAddr,
    expected: bool,
    asked: Option<Instant>,
    answered: Option<Duration>,
    refused: bool,
}

/// Tries every pair that the plan names, in its order. This process must have one thread, and is in the lab from then
/// on.
///
/// # Errors
/// When the lab has ended.
pub fn check(entry: &LabEntry) -> Result<Vec<Answer>, LabRunError> {
    let pairs = entry.plan.pairs();
    let (users, kind) = entry.users()?;
    let mut nets = Vec::new();
    for node in 0..entry.plan.nodes.len() {
        let asks = pairs.iter().any(|pair| pair.from == node);
        nets.push(if asks { Some(entry.net(node)?) } else { None });
    }
    let refused = |source| LabRunError::Make {
        what: "the way into the lab".to_owned(),
        source,
    };
    namespace::join_kind(users.as_fd(), kind).map_err(refused)?;
    let queues = entry.plan.cables.iter().filter_map(|cable| cable.queue);
    let latest = queues.filter_map(|queue| match queue {
        Queue::Netem { delay, .. } => Some(delay),
        Queue::Tbf { .. } => None,
    });
    let latest = Duration::from_micros(latest.max().unwrap_or(0).into());
    let late = latest.saturating_mul(HOPS);
    let mut answers = Vec::new();
    for (node, net) in nets.iter().enumerate() {
        let Some((fd, _)) = net else { continue };
        namespace::join(fd.as_fd()).map_err(refused)?;
        let own: Vec<&Expectation> = pairs.iter().filter(|pair| pair.from == node).collect();
        ask(entry, node, &own, late, &mut answers).map_err(refused)?;
    }
    Ok(answers)
}

fn ask(
    entry: &LabEntry,
    node: usize,
    pairs: &[&Expectation],
    late: Duration,
    answers: &mut Vec<Answer>,
) -> Result<(), jaula_sys::SysError> {
    let id = u16::try_from(std::process::id() & 0xffff).unwrap_or(0);
    let sockets = [Echo::open(false, id)?, Echo::open(true, id)?];
    let mut questions: Vec<Question> = Vec::new();
    for pair in pairs {
        let theirs = entry.plan.nodes.get(pair.to);
        for v6 in [false, true] {
            // Any of its addresses: the first of the family.
            let mut all = theirs
                .iter()
                .flat_map(|n| &n.interfaces)
                .flat_map(|i| &i.addresses);
            let found = all.find(|cidr| cidr.address.is_ipv6() == v6);
            questions.extend(found.map(|cidr| Question {
                to: pair.to,
                address: cidr.address,
                expected: pair.reach,
                asked: None,
                answered: None,
                refused: false,
            }));
        }
    }
    let start = Instant::now();
    let mut round = start;
    let mut first = true;
    loop {
        let open = |question: &Question| question.answered.is_none() && !question.refused;
        if first || round.elapsed() >= AGAIN {
            round = Instant::now();
            for (at, question) in questions.iter_mut().enumerate().filter(|(_, q)| open(q)) {
                let [four, six] = &sockets;
                let socket = if question.address.is_ipv6() {
                    six
                } else {
                    four
                };
                let sequence = u16::try_from(at & 0xffff).unwrap_or(0);
                question.asked.get_or_insert_with(Instant::now);
                let sent = socket.ask(question.address, sequence);
                // Who is expected may be on the way: a network that has just been made settles.
                question.refused = !question.expected
                    && sent.is_err_and(|error| matches!(error.errno.0, 101 | 113));
            }
            first = false;
        }
        for socket in &sockets {
            while let Some((from, sequence)) = socket.answer() {
                let question = questions.get_mut(usize::from(sequence));
                if let Some(question) = question.filter(|q| q.address == from)
                    && let Some(asked) = question.asked
                {
                    question.answered.get_or_insert(asked.elapsed());
                }
            }
        }
        let expected = questions
            .iter()
            .any(|question| open(question) && question.expected);
        let patience = late + if expected { PATIENCE } else { DOUBT };
        if !questions.iter().any(open) || start.elapsed() >= patience {
            break;
        }
        let [four, six] = &sockets;
        process::readable(&[four.fd(), six.fd()], 20);
    }
    let name = |node: usize| {
        entry
            .plan
            .nodes
            .get(node)
            .map(|n| n.name.clone())
            .unwrap_or_default()
    };
    answers.extend(questions.into_iter().map(|question| {
        Answer {
            from: name(node),
            to: name(question.to),
            address: question.address,
            reached: question.answered.is_some(),
            expected: question.expected,
            micros: question
                .answered
                .and_then(|took| u64::try_from(took.as_micros()).ok()),
        }
    }));
    Ok(())
}
