//! One connection: what is asked, whether it is granted, and the session.

use super::super::log::{Log, Said};
use super::super::login::{facts_of, host_facts, name, whole};
use crate::cgroup::Groups;
use crate::jail;
use crate::outcome::Io;
use crate::store::Store;
use jaula_plan::account::entry::{Answer, REQUEST, plan_entry, read_request, signal, with_groups};
use jaula_plan::account::login::{LoginPlan, LoginRefusal, LoginRequest, Relax};
use jaula_plan::account::{JK_LOGIN, LOGIN, allow};
use jaula_plan::jail::{JailPlan, JailPlanError, plan_jail};
use jaula_sys::peer::{self, Peer};
use jaula_sys::process::{self, readable};
use jaula_sys::userns;
use std::io::{PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// How many milliseconds somebody who connected has to say what he wants.
const PATIENCE: i32 = 10_000;

/// What is taken of a message while a session runs.
const MESSAGE: usize = 16;

const EAGAIN: i32 = 11;
const SIGKILL: i32 = 9;

/// Somebody who is not let in.
enum Refused {
    /// By what is known of him.
    By(LoginRefusal),
    /// Because of what he sent, or of what this host cannot do; for the log.
    Because(String),
}

impl<E: std::error::Error> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Because(whole(&error))
    }
}

/// The exit code of a session that was ended, as of what signal 9 ended.
const ENDED: u8 = 137;

/// How a session ended.
enum End {
    /// By itself, with this code.
    Code(u8),
    /// It did not begin, and the log was told why.
    Failed,
    /// Who wanted it is gone.
    Alone,
    /// The service is gone.
    Closed,
}

/// Lets him in or not, and stays until his session is over.
pub(super) fn open(store: &Store, connection: OwnedFd, peer: &Peer, service: &PipeReader) {
    let log = Log::open(LOGIN);
    let mut said = Said::new(
        &format!("#{}", peer.uid),
        peer.uid,
        &LoginRequest::default(),
    );
    let refusal = match admit(store, connection.as_fd(), peer, service, &log, &mut said) {
        Ok(answer) => {
            drop(peer::send(connection.as_fd(), &answer.bytes(), &[]));
            return;
        }
        Err(refusal) => refusal,
    };
    let (cause, told) = match refusal {
        Refused::By(refusal) => (
            refusal.to_string(),
            refusal.is_told().then(|| refusal.to_string()),
        ),
        Refused::Because(cause) => (cause, None),
    };
    log.say(&said.refused(&cause));
    drop(peer::send(
        connection.as_fd(),
        &Answer::Refused(told).bytes(),
        &[],
    ));
}

fn admit(
    store: &Store,
    connection: BorrowedFd<'_>,
    peer: &Peer,
    service: &PipeReader,
    log: &Log,
    said: &mut Said,
) -> Result<Answer, Refused> {
    let because = |why: &str| Refused::Because(why.to_owned());
    if readable(&[connection], PATIENCE) == 0 {
        return Err(because("the login shell did not say what is asked for"));
    }
    let (bytes, fds) = peer::receive(connection, REQUEST)?;
    let facts = facts_of(
        peer.uid,
        None,
        false,
        &|account, gid| match allow::base(account.shell()) == JK_LOGIN {
            true => super::super::chrootsh_relax(&account.name, gid),
            false => Ok(Relax::default()),
        },
    );
    let user = name(&facts);
    *said = Said::new(&user, peer.uid, &LoginRequest::default());
    let request = read_request(&bytes)?;
    *said = Said::new(&user, peer.uid, &request);
    let standard = <[OwnedFd; 3]>::try_from(fds)
        .map_err(|_| because("input, output and errors did not come with the request"))?;
    let login = plan_entry(&facts, &request).map_err(Refused::By)?;
    let ids = (facts.uid, facts.gid);
    drop((facts, bytes, request));
    let plan = planned(&login)?;
    let groups = Groups::make(&plan, Some(store))?;
    log.say(&said.opened(&login.dir));
    let start = Instant::now();
    let end = session(
        &plan, groups, standard, ids, connection, peer, service, said,
    )?;
    let (code, answer) = match end {
        End::Code(code) => (code, Answer::Ended(code)),
        End::Failed => return Ok(Answer::Refused(None)),
        End::Alone => (ENDED, Answer::Ended(ENDED)),
        End::Closed => (ENDED, super::ended()),
    };
    log.say(&said.closed(code, start.elapsed()));
    Ok(answer)
}

/// The jail, in control groups where the host has them to give.
fn planned(login: &LoginPlan) -> Result<JailPlan, JailPlanError> {
    let mut grouped = login.jail.clone();
    grouped.limits = with_groups(&login.jail.limits);
    let with = LoginPlan {
        jail: grouped,
        ..login.clone()
    };
    match plan_jail(&with.jail, &host_facts(&with)) {
        Err(JailPlanError::Limit { group: true, .. }) => plan_jail(&login.jail, &host_facts(login)),
        other => other,
    }
}

/// Runs it.
#[allow(clippy::too_many_arguments, reason = "all that a session is about")]
fn session(
    plan: &JailPlan,
    groups: Groups,
    standard: [OwnedFd; 3],
    ids: (u32, u32),
    connection: BorrowedFd<'_>,
    peer: &Peer,
    service: &PipeReader,
    said: &Said,
) -> Result<End, Refused> {
    let (mut result, writer) = std::io::pipe()?;
    let door = process::pidfd(std::process::id())?;
    let mut writer = Some(writer);
    // Both have them: the session to put the jail in, this process to remove them when it cannot any more.
    let mut groups = Some(groups);
    let forked = userns::fork_bound(&mut || {
        let (Some(mut writer), Some(groups)) = (writer.take(), groups.take()) else {
            return 0;
        };
        let came = run(
            plan,
            groups.left_to_starter(),
            &standard,
            ids,
            door.as_fd(),
            said,
        );
        // Nobody reads it only when nobody waits.
        drop(writer.write_all(&came.map_or(vec![], |code| vec![code])));
        0
    })?;
    // What came stays open here until the end: closing it may wait for somebody else.
    drop(writer);
    let number = u32::try_from(forked.pid()).unwrap_or_default();
    let running = process::pidfd(number)?;
    let end = follow(&running, connection, peer, service);
    if !matches!(end, End::Failed) {
        drop(process::signal(&running, SIGKILL));
    }
    forked.wait()?;
    drop(groups);
    let mut code = [0];
    let count = result.read(&mut code)?;
    Ok(match (end, count, code) {
        (End::Failed, 1, [code]) => End::Code(code),
        (end, ..) => end,
    })
}

/// Hands signals on until the session is over, or has to be ended. What it ended with is not known here.
fn follow(running: &OwnedFd, connection: BorrowedFd<'_>, peer: &Peer, service: &PipeReader) -> End {
    let client = peer.process.as_ref().map_or(running.as_fd(), AsFd::as_fd);
    loop {
        let ready = readable(&[running.as_fd(), connection, service.as_fd(), client], -1);
        if ready & 1 != 0 {
            return End::Failed;
        }
        if ready & 4 != 0 {
            return End::Closed;
        }
        if ready & 8 != 0 {
            return End::Alone;
        }
        if ready & 2 == 0 {
            continue;
        }
        match peer::receive_bytes(connection, MESSAGE) {
            Ok(bytes) if bytes.is_empty() => return End::Alone,
            Ok(bytes) => {
                if let Some(signal) = signal(&bytes) {
                    drop(process::signal(running, signal));
                }
                // Who sends without end is read a thousand times a second.
                readable(&[running.as_fd()], 1);
            }
            Err(error) if error.errno.0 == EAGAIN => {}
            Err(_) => return End::Alone,
        }
    }
}

/// The process of the session. It is root until the jail is there, and touches nothing that came before it is the user.
fn run(
    plan: &JailPlan,
    groups: Groups,
    standard: &[OwnedFd; 3],
    (uid, gid): (u32, u32),
    door: BorrowedFd<'_>,
    said: &Said,
) -> Option<u8> {
    let log = Log::open(LOGIN);
    let failed = |text: &str| {
        log.say(&said.refused(text));
        None
    };
    let terminal = standard.iter().all(|fd| peer::is_terminal(fd.as_fd()));
    if let Err(error) = peer::take_as_standard(standard) {
        return failed(&error.to_string());
    }
    let io = match terminal {
        true => Io::Pty,
        false => Io::Inherit,
    };
    let mut started = |_, _: &[_]| {
        if let Err(error) = peer::go_on_as(uid, gid, door) {
            failed(&error.to_string());
            // The jail ends with this process.
            process::leave(0);
        }
    };
    match jail::run_in(plan, io, groups, Some(&mut started)) {
        Ok(outcome) => Some(outcome.code()),
        Err(error) => failed(&whole(&error)),
    }
}
