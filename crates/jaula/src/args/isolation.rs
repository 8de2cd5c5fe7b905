//! Which namespaces a run has, whose identifiers are in them, and how far their clocks are ahead, as typed.

use crate::args::low::{parse, text};
use crate::error::CommandError;
use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use jaula_plan::spec::jail::{
    Clocks, IdRange, IdSpec, JailNet, JailSpec, Namespaces, Propagation, UserSpec,
};
use std::path::PathBuf;

/// The options.
pub fn options(command: Command) -> Command {
    let value = |name: &'static str, form: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(form).help(help)
    };
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    command.args([
        value(
            "ns",
            "LIST",
            "Namespaces of its own besides mnt and user, with commas: uts, ipc, net, pid, cgroup, time; +NAME and -NAME change the default, which is all but time",
        )
        .allow_hyphen_values(true),
        value(
            "clock-offset",
            "CLOCK=SECS,…",
            "Set the clocks monotonic and boottime ahead, in a time namespace",
        ),
        value(
            "map",
            "IN:OUT:N",
            "N users from IN inside are those from OUT of the host; repeatable",
        )
        .action(ArgAction::Append)
        .conflicts_with_all(["ids", "as-root"]),
        value("gmap", "IN:OUT:N", "The same for groups [default: as --map]")
            .action(ArgAction::Append)
            .requires("map"),
        switch("as-root", "Map only the caller, to root inside").conflicts_with("ids"),
        value("uid", "UID", "Run as this user")
            .value_parser(value_parser!(u32).range(..i64::from(u32::MAX)))
            .conflicts_with("user"),
        value("gid", "GID", "Run with this group [default: as --uid]")
            .value_parser(value_parser!(u32).range(..i64::from(u32::MAX)))
            .conflicts_with("user"),
        value("groups", "GID,…", "Run with these supplementary groups")
            .value_parser(value_parser!(u32).range(..i64::from(u32::MAX)))
            .action(ArgAction::Append)
            .value_delimiter(',')
            .conflicts_with("user"),
        value(
            "propagation",
            "HOW",
            "How mounts travel: private, slave or shared [default: private]",
        )
        .value_parser(["private", "slave", "shared", "unchanged"])
        .hide_possible_values(true),
        switch(
            "empty",
            "Start from an empty root: only what the options below put is there, not even /dev and /proc",
        )
        .conflicts_with_all(["ref", "root", "write"]),
        value("root", "DIR", "The root is this directory, as REF with a slash")
            .value_parser(ValueParser::path_buf())
            .conflicts_with("ref"),
    ])
}

/// The directory of `--root`, as a REF.
pub fn root(matches: &ArgMatches) -> Option<PathBuf> {
    matches.get_one::<PathBuf>("root").cloned()
}

/// Changes a jail as the options say.
///
/// # Errors
/// When one is not in its form, or two contradict each other.
pub fn apply(matches: &ArgMatches, jail: &mut JailSpec) -> Result<(), CommandError> {
    jail.propagation = match text(matches, "propagation") {
        Some("slave") => Propagation::Slave,
        Some("shared") => Propagation::Shared,
        Some("unchanged") => {
            return Err(
                CommandError::usage("cannot use \"unchanged\" for --propagation")
                    .hint("a jail's mounts would be seen on the host: the most it takes is slave"),
            );
        }
        _ => Propagation::Private,
    };
    let maps = ranges(matches, "map")?;
    if !maps.is_empty() {
        jail.ids = IdSpec::Map {
            users: maps,
            groups: ranges(matches, "gmap")?,
        };
    } else if matches.get_flag("as-root") {
        jail.ids = IdSpec::CallerAsRoot;
    }
    if let Some(list) = text(matches, "ns") {
        apply_namespaces(list, jail)?;
    }
    if let Some(list) = text(matches, "clock-offset") {
        jail.clocks = Some(clocks(list)?);
        // Said or not: without it there are no clocks of its own.
        jail.namespaces.time |= text(matches, "ns").is_none_or(|list| !list.contains("-time"));
    }
    let number = |name| matches.get_one::<u32>(name).copied();
    let groups: Vec<u32> = matches
        .get_many("groups")
        .into_iter()
        .flatten()
        .copied()
        .collect();
    let (uid, gid) = (number("uid"), number("gid"));
    if uid.is_some() || gid.is_some() || !groups.is_empty() {
        let uid = uid.unwrap_or(0);
        jail.user = UserSpec::Ids {
            uid,
            gid: gid.unwrap_or(uid),
            groups,
        };
    }
    Ok(())
}

fn apply_namespaces(list: &str, jail: &mut JailSpec) -> Result<(), CommandError> {
    let wrong = |word: &str| {
        CommandError::usage(format!("cannot use {word:?} for --ns")).hint(
            "there are mnt, uts, ipc, net, pid, user, cgroup and time, each with or without + or -",
        )
    };
    let relative = list.starts_with(['+', '-']);
    let mut set = match relative {
        true => Namespaces {
            net: jail.net.is_own(),
            user: jail.ids != IdSpec::Host,
            ..jail.namespaces
        },
        false => Namespaces {
            uts: false,
            ipc: false,
            pid: false,
            net: false,
            // A list names what a jail has besides the two that make it one.
            user: jail.ids != IdSpec::Host,
            cgroup: false,
            time: false,
        },
    };
    let mut mount = true;
    for word in list.split(',') {
        let (name, on) = match (word.strip_prefix('+'), word.strip_prefix('-')) {
            (Some(name), _) => (name, true),
            (_, Some(name)) => (name, false),
            (None, None) => (word, true),
        };
        let signed = name.len() != word.len();
        if signed != relative {
            return Err(wrong(word).hint("a list has + and - before all names or before none"));
        }
        let place = match name {
            "mnt" | "mount" => &mut mount,
            "uts" => &mut set.uts,
            "ipc" => &mut set.ipc,
            "net" => &mut set.net,
            "pid" => &mut set.pid,
            "user" => &mut set.user,
            "cgroup" => &mut set.cgroup,
            "time" => &mut set.time,
            _ => return Err(wrong(word)),
        };
        *place = on;
    }
    if !mount {
        return Err(CommandError::usage(format!("cannot use {list:?} for --ns"))
            .hint("a jail always has a mount namespace of its own: mnt is one of them"));
    }
    if set.net && jail.net == JailNet::Host {
        return Err(CommandError::usage(
            "cannot use --net host with a network namespace of its own",
        )
        .hint("leave net out of --ns"));
    }
    if !set.net && jail.net.is_own() {
        if jail.net != JailNet::None {
            return Err(CommandError::usage(
                "cannot use --net with cards without a network namespace of its own",
            )
            .hint("have net in --ns"));
        }
        jail.net = JailNet::Host;
    }
    match (set.user, &jail.ids) {
        (true, IdSpec::Host) => {
            return Err(CommandError::usage(
                "cannot use --ids host with a user namespace of its own",
            )
            .hint("leave user out of --ns"));
        }
        (false, IdSpec::Map { .. }) => {
            return Err(CommandError::usage(
                "cannot use --map without a user namespace of its own",
            )
            .hint("add user to --ns"));
        }
        (false, _) => jail.ids = IdSpec::Host,
        (true, _) => {}
    }
    // Who lists it wants to see it work.
    jail.own_names = !relative && set.uts;
    jail.namespaces = set;
    Ok(())
}

fn ranges(matches: &ArgMatches, name: &'static str) -> Result<Vec<IdRange>, CommandError> {
    let words = matches.get_many::<String>(name).into_iter().flatten();
    words.map(|word| range(name, word)).collect()
}

fn range(name: &'static str, word: &str) -> Result<IdRange, CommandError> {
    let numbers: Vec<&str> = word.split(':').collect();
    let [inside, outside, count] = numbers.as_slice() else {
        return Err(
            CommandError::usage(format!("cannot use {word:?} for --{name}"))
                .hint("write IN:OUT:N: the first inside, the first outside, how many"),
        );
    };
    let what = format!("--{name}");
    Ok(IdRange {
        inside: parse(&what, inside)?,
        outside: parse(&what, outside)?,
        count: parse(&what, count)?,
    })
}

fn clocks(list: &str) -> Result<Clocks, CommandError> {
    let mut clocks = Clocks {
        monotonic: 0,
        boottime: 0,
    };
    for word in list.split(',') {
        let place = match word.split_once('=') {
            Some(("monotonic", secs)) => Some((&mut clocks.monotonic, secs)),
            Some(("boottime", secs)) => Some((&mut clocks.boottime, secs)),
            _ => None,
        };
        let Some((place, secs)) = place else {
            return Err(
                CommandError::usage(format!("cannot use {word:?} for --clock-offset"))
                    .hint("write monotonic=SECS, boottime=SECS or both with a comma"),
            );
        };
        *place = parse("--clock-offset", secs)?;
    }
    Ok(clocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jaula_plan::spec::jail::RootSpec;

    fn typed(text: &str) -> Result<JailSpec, CommandError> {
        let ids = Arg::new("ids").long("ids");
        let rest = ["ref", "user", "write"].map(|name| Arg::new(name).long(name));
        let command = options(Command::new("x").no_binary_name(true).arg(ids).args(rest));
        let words = text.split_whitespace();
        let matches = command
            .try_get_matches_from(words)
            .map_err(|e| CommandError::usage(e.to_string()))?;
        let mut jail = JailSpec::new(RootSpec::HostPrograms, Vec::new());
        apply(&matches, &mut jail)?;
        Ok(jail)
    }

    #[test]
    fn namespaces_in_every_form() {
        let names = |text: &str| typed(text).expect(text).namespaces.names().join(" ");
        assert_eq!(names(""), "mount user pid ipc uts net cgroup");
        assert_eq!(
            names("--ns +time"),
            "mount user pid ipc uts net cgroup time"
        );
        assert_eq!(names("--ns -net,-ipc"), "mount user pid uts cgroup");
        assert_eq!(names("--ns mnt,pid,user"), "mount user pid");
        assert_eq!(names("--ns uts"), "mount user uts");
        assert!(typed("--ns uts").expect("a jail").own_names);
        assert!(!typed("--ns +time").expect("a jail").own_names);
        assert_eq!(typed("--ns -net").expect("a jail").net, JailNet::Host);
        assert_eq!(typed("--ns -user").expect("a jail").ids, IdSpec::Host);
        for bad in ["-mnt", "mnt,+pid", "+pid,net", "mnt,x", "mnt,", ""] {
            assert!(typed(&format!("--ns={bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn maps_and_users() {
        let jail = typed("--map 0:1000:1 --map 1:100000:10 --gmap 0:5:1 --uid 3 --groups 1,2")
            .expect("a jail");
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        let ids = IdSpec::Map {
            users: vec![range(0, 1000, 1), range(1, 100_000, 10)],
            groups: vec![range(0, 5, 1)],
        };
        assert_eq!(jail.ids, ids);
        let user = UserSpec::Ids {
            uid: 3,
            gid: 3,
            groups: vec![1, 2],
        };
        assert_eq!(jail.user, user);
        for bad in [
            "--map 0:1",
            "--map 0:1:2:3",
            "--map a:1:1",
            "--map 0:-1:1",
            "--gmap 0:1:1",
            "--map 0:1:1 --as-root",
            "--uid 4294967295",
            "--uid -1",
            "--map 0:1:1 --ns -user",
        ] {
            assert!(typed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn clocks_bring_their_namespace() {
        let jail = typed("--clock-offset boottime=86400,monotonic=-5").expect("a jail");
        assert!(jail.namespaces.time);
        assert_eq!(
            jail.clocks,
            Some(Clocks {
                monotonic: -5,
                boottime: 86400
            })
        );
        for bad in ["realtime=5", "boottime", "boottime=x", ""] {
            assert!(typed(&format!("--clock-offset={bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts_are_never_left_unchanged() {
        assert_eq!(
            typed("--propagation slave").expect("a jail").propagation,
            Propagation::Slave
        );
        assert!(typed("--propagation unchanged").is_err());
    }
}
