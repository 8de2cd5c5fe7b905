//! The table of verbs.

use super::{
    Verb, build, check, compat, completions, cp, doctor, emperor, enter, exec, finish, gc, help,
    image, kill, lab, locale, lock, logs, ls, man, net, new, ns, outputs, pkg, profiles, ps,
    recover, rm, run, service, sh, show, stats, stop, trace, update, user, wait,
};

/// Every verb, in the order of the help text.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "run",
        command: run::command,
        run: run::run,
    },
    Verb {
        name: "build",
        command: build::command,
        run: build::run,
    },
    Verb {
        name: "finish",
        command: finish::command,
        run: finish::run,
    },
    Verb {
        name: "new",
        command: new::command,
        run: new::run,
    },
    Verb {
        name: "emperor",
        command: emperor::command,
        run: emperor::run,
    },
    Verb {
        name: "trace",
        command: trace::command,
        run: trace::run,
    },
    Verb {
        name: "exec",
        command: exec::command,
        run: exec::run,
    },
    Verb {
        name: "sh",
        command: sh::command,
        run: sh::run,
    },
    Verb {
        name: "enter",
        command: enter::command,
        run: enter::run,
    },
    Verb {
        name: "cp",
        command: cp::command,
        run: cp::run,
    },
    Verb {
        name: "check",
        command: check::command,
        run: check::run,
    },
    Verb {
        name: "profiles",
        command: profiles::command,
        run: profiles::run,
    },
    Verb {
        name: "update",
        command: update::command,
        run: update::run,
    },
    Verb {
        name: "ls",
        command: ls::command,
        run: ls::run,
    },
    Verb {
        name: "show",
        command: show::command,
        run: show::run,
    },
    Verb {
        name: "stop",
        command: stop::command,
        run: stop::run,
    },
    Verb {
        name: "kill",
        command: kill::command,
        run: kill::run,
    },
    Verb {
        name: "wait",
        command: wait::command,
        run: wait::run,
    },
    Verb {
        name: "logs",
        command: logs::command,
        run: logs::run,
    },
    Verb {
        name: "ps",
        command: ps::command,
        run: ps::run,
    },
    Verb {
        name: "stats",
        command: stats::command,
        run: stats::run,
    },
    Verb {
        name: "rm",
        command: rm::command,
        run: rm::run,
    },
    Verb {
        name: "image ls",
        command: image::ls_command,
        run: image::ls,
    },
    Verb {
        name: "image show",
        command: image::show_command,
        run: image::show,
    },
    Verb {
        name: "image rm",
        command: image::rm_command,
        run: image::rm,
    },
    Verb {
        name: "image export",
        command: outputs::export_command,
        run: outputs::export,
    },
    Verb {
        name: "image sbom",
        command: outputs::sbom_command,
        run: outputs::sbom,
    },
    Verb {
        name: "image diff",
        command: outputs::diff_command,
        run: outputs::diff,
    },
    Verb {
        name: "locale",
        command: locale::command,
        run: locale::run,
    },
    Verb {
        name: "pkg install",
        command: pkg::install_command,
        run: pkg::install,
    },
    Verb {
        name: "pkg remove",
        command: pkg::remove_command,
        run: pkg::remove,
    },
    Verb {
        name: "pkg upgrade",
        command: pkg::upgrade_command,
        run: pkg::upgrade,
    },
    Verb {
        name: "pkg ls",
        command: pkg::ls_command,
        run: pkg::ls,
    },
    Verb {
        name: "pkg search",
        command: pkg::search_command,
        run: pkg::search,
    },
    Verb {
        name: "lock show",
        command: lock::show_command,
        run: lock::show,
    },
    Verb {
        name: "lock update",
        command: lock::update_command,
        run: lock::update,
    },
    Verb {
        name: "net add",
        command: net::add_command,
        run: net::add,
    },
    Verb {
        name: "net rm",
        command: net::rm_command,
        run: net::rm,
    },
    Verb {
        name: "net ls",
        command: net::ls_command,
        run: net::ls,
    },
    Verb {
        name: "net show",
        command: net::show_command,
        run: net::show,
    },
    Verb {
        name: "net set",
        command: net::set_command,
        run: net::set,
    },
    Verb {
        name: "net attach",
        command: net::attach_command,
        run: net::attach,
    },
    Verb {
        name: "net detach",
        command: net::detach_command,
        run: net::detach,
    },
    Verb {
        name: "net macs",
        command: net::macs_command,
        run: net::macs,
    },
    Verb {
        name: "net save",
        command: net::save_command,
        run: net::save,
    },
    Verb {
        name: "net vlan",
        command: net::vlan_command,
        run: net::vlan,
    },
    Verb {
        name: "net bond",
        command: net::bond_command,
        run: net::bond,
    },
    Verb {
        name: "net check",
        command: net::check_command,
        run: net::check,
    },
    Verb {
        name: "net heal",
        command: net::heal_command,
        run: net::heal,
    },
    Verb {
        name: "net lab up",
        command: lab::up_command,
        run: lab::up,
    },
    Verb {
        name: "net lab ls",
        command: lab::ls_command,
        run: lab::ls,
    },
    Verb {
        name: "net lab show",
        command: lab::show_command,
        run: lab::show,
    },
    Verb {
        name: "net lab sh",
        command: lab::sh_command,
        run: lab::sh,
    },
    Verb {
        name: "net lab run",
        command: lab::run_command,
        run: lab::run,
    },
    Verb {
        name: "net lab graph",
        command: lab::graph_command,
        run: lab::graph,
    },
    Verb {
        name: "net lab pcap",
        command: lab::pcap_command,
        run: lab::pcap,
    },
    Verb {
        name: "net lab check",
        command: lab::check_command,
        run: lab::check,
    },
    Verb {
        name: "net lab down",
        command: lab::down_command,
        run: lab::down,
    },
    Verb {
        name: "service run",
        command: service::run_command,
        run: service::run,
    },
    Verb {
        name: "service add",
        command: service::add_command,
        run: service::add,
    },
    Verb {
        name: "service rm",
        command: service::rm_command,
        run: service::rm,
    },
    Verb {
        name: "service ls",
        command: service::ls_command,
        run: service::ls,
    },
    Verb {
        name: "ns ls",
        command: ns::ls_command,
        run: ns::ls,
    },
    Verb {
        name: "ns show",
        command: ns::show_command,
        run: ns::show,
    },
    Verb {
        name: "ns keep",
        command: ns::keep_command,
        run: ns::keep,
    },
    Verb {
        name: "ns rm",
        command: ns::rm_command,
        run: ns::rm,
    },
    Verb {
        name: "user add",
        command: user::add_command,
        run: user::add,
    },
    Verb {
        name: "user set",
        command: user::set_command,
        run: user::set,
    },
    Verb {
        name: "user rm",
        command: user::rm_command,
        run: user::rm,
    },
    Verb {
        name: "user ls",
        command: user::ls_command,
        run: user::ls,
    },
    Verb {
        name: "user log",
        command: user::log_command,
        run: user::log,
    },
    Verb {
        name: "user serve",
        command: user::serve_command,
        run: user::serve,
    },
    Verb {
        name: "user enable",
        command: user::enable_command,
        run: user::enable,
    },
    Verb {
        name: "compat ls",
        command: compat::ls_command,
        run: compat::ls,
    },
    Verb {
        name: "compat install",
        command: compat::install_command,
        run: compat::install,
    },
    Verb {
        name: "gc",
        command: gc::command,
        run: gc::run,
    },
    Verb {
        name: "recover",
        command: recover::command,
        run: recover::run,
    },
    Verb {
        name: "doctor",
        command: doctor::command,
        run: doctor::run,
    },
    Verb {
        name: "completions",
        command: completions::command,
        run: completions::run,
    },
    Verb {
        name: "man",
        command: man::command,
        run: man::run,
    },
    Verb {
        name: "help",
        command: help::command,
        run: help::run,
    },
];
