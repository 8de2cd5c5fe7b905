//! `jaula user serve`: the way in where users get no user namespace of their own.

use crate::args::high::given_sockets;
use crate::cmd::{Context, failed};
use crate::output::Done;
use clap::{ArgMatches, Command};
use jaula_engine::accounts::EntrySocket;
use jaula_engine::{Event, Observer};
use jaula_plan::account::entry::SOCKET;

/// The operands and options of `user serve`.
pub fn serve_command(command: Command) -> Command {
    command
        .about("Let users into their jails where they get no user namespace of their own")
        .long_about(
            "Let users into their jails on a host that keeps user namespaces from ordinary users. The login shell then connects \
             to /run/jaula-entry and hands its input, output and errors over; who it is, the kernel says. Root makes the jail, \
             with everything that a login has, and goes on as the user. It is started by the units of systemd that jaula user \
             add writes on such a host, and ends when it was idle for 30 seconds; without systemd it is started at boot by hand \
             and runs until it is told to end. Sessions end with it.",
        )
}

/// Serves.
pub fn serve(_: &ArgMatches, context: &Context) -> Done {
    let engine = context.engine(None, false)?;
    let socket = match given_sockets() {
        Some(_) => EntrySocket::Given,
        None => EntrySocket::Usual,
    };
    let mut ready = || {
        if socket == EntrySocket::Usual {
            let text = format!("users are let in by {SOCKET}");
            context.progress.event(Event::Note { text });
        }
        context.progress.clear();
    };
    engine
        .serve_logins(socket, &mut ready)
        .map_err(|error| failed("cannot let users in", error))?;
    Ok(0)
}
