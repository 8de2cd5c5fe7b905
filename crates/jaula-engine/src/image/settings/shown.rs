//! Settings, hooks and filters as a plan shows them. No password is among them.

use jaula_plan::explain::{ExplainLine, shown, word};
use jaula_plan::path_filter::PathFilter;
use jaula_plan::spec::hook::{Hook, HookAction};
use jaula_plan::spec::rootfs::ImageOptions;
use std::path::Path;

/// What is done besides the packages, a line each, in the order in which it is done.
pub fn texts(options: &ImageOptions) -> Vec<String> {
    let settings = &options.settings;
    let mut all = Vec::new();
    let mut say = |text: String| all.push(text);
    let count = options.paths.len();
    if count > 0 {
        say(format!("leave out files of packages by {count} rules"));
    }
    if let Some(merged) = options.merged_usr {
        let how = if merged {
            "links into /usr"
        } else {
            "directories"
        };
        say(format!("/bin and its like are {how}"));
    }
    if !settings.apt_options.is_empty() {
        let name = settings.options_name();
        say(format!("write /etc/apt/apt.conf.d/{name}"));
    }
    if !settings.dpkg_options.is_empty() || count > 0 {
        let name = settings.options_name();
        say(format!("write /etc/dpkg/dpkg.cfg.d/{name}"));
    }
    if settings.sources_list.is_some() {
        say("write /etc/apt/sources.list as it was given".to_owned());
    }
    if !settings.preseed.is_empty() {
        say("give debconf its answers before packages are configured".to_owned());
    }
    if let Some(name) = &settings.hostname {
        say(format!("set the host name to {name}"));
    }
    if let Some(zone) = &settings.timezone {
        say(format!("set the time zone to {zone}"));
    }
    if let Some(keyboard) = &settings.keyboard {
        say(format!("set the keyboard to {}", keyboard.layout));
    }
    if let Some(first) = settings.locales.first() {
        let list = settings.locales.join(", ");
        say(format!("generate locales {list}; programs speak {first}"));
    }
    if settings.root_password.is_some() {
        say("set the password of root".to_owned());
    }
    for account in &settings.users {
        say(format!("make account {}", account.name));
    }
    if settings.resolv_conf.is_some() {
        say("write /etc/resolv.conf as it was given".to_owned());
    }
    if settings.no_services {
        say("leave a policy-rc.d that refuses to start services".to_owned());
    }
    for hook in &options.hooks {
        say(format!(
            "{} hook {}",
            hook.stage,
            super::super::hooks::name(&hook.action)
        ));
    }
    all
}

/// What mmdebstrap(1) is told besides: options of apt and dpkg, and hooks that it has too.
pub fn arguments(options: &ImageOptions) -> String {
    let mut text = String::new();
    let mut add = |option: &str, value: &str| {
        text.push_str(&format!(" --{option}={}", word(value)));
    };
    for option in &options.settings.apt_options {
        add("aptopt", option);
    }
    let rules = PathFilter::new(&options.paths).unwrap_or_default().lines();
    for rule in rules.lines() {
        add("dpkgopt", rule);
    }
    for option in &options.settings.dpkg_options {
        add("dpkgopt", option);
    }
    for hook in &options.hooks {
        if let Some(command) = special(hook) {
            add(&format!("{}-hook", hook.stage), &command);
        }
    }
    text
}

fn special(hook: &Hook) -> Option<String> {
    let two = |verb: &str, from: &Path, to: &Path| format!("{verb} {} {}", word(from), word(to));
    let many = |verb: &str, from: &[std::path::PathBuf], to: &Path| {
        let from: Vec<String> = from.iter().map(word).collect();
        format!("{verb} {} {}", from.join(" "), word(to))
    };
    Some(match &hook.action {
        HookAction::CopyIn { from, to } => many("copy-in", from, to),
        HookAction::CopyOut { from, to } => many("copy-out", from, to),
        HookAction::TarIn { from, to, .. } => two("tar-in", from, to),
        HookAction::TarOut { from, to, .. } => two("tar-out", from, to),
        HookAction::Upload { from, to } => two("upload", from, to),
        HookAction::Download { from, to } => two("download", from, to),
        HookAction::Outside { command, .. } => {
            let words: Vec<String> = command.iter().map(word).collect();
            words.join(" ")
        }
        HookAction::Inside { .. } => return None,
    })
}

/// The rest as commands of the classic tools, to be run after mmdebstrap(1), with their reasons.
pub fn explain(options: &ImageOptions, root: &Path) -> Vec<ExplainLine> {
    let (settings, tree) = (&options.settings, word(root));
    let mut lines = Vec::new();
    let mut say = |command: String, reason: &str| {
        lines.push(ExplainLine::new(command, reason.to_owned()));
    };
    let inside = |path: &str| word(root.join(path));
    if !settings.preseed.is_empty() {
        say(
            format!("chroot {tree} debconf-set-selections"),
            "answers to packages' questions; jaula gives them before packages are configured",
        );
    }
    if let Some(name) = &settings.hostname {
        say(
            format!("echo {name} >{}", inside("etc/hostname")),
            "the name that the system gives itself; /etc/hosts gets it too",
        );
    }
    if let Some(zone) = &settings.timezone {
        let from = word(Path::new("/usr/share/zoneinfo").join(zone));
        say(
            format!("ln -sf {from} {}", inside("etc/localtime")),
            "the time zone of programs; /etc/timezone names it too",
        );
    }
    if let Some(keyboard) = &settings.keyboard {
        say(
            format!(
                "echo XKBLAYOUT={} >{}",
                word(&keyboard.layout),
                inside("etc/default/keyboard")
            ),
            "the keyboard, as keyboard(5) has it",
        );
    }
    if !settings.locales.is_empty() {
        say(
            format!("chroot {tree} locale-gen"),
            "generate what /etc/locale.gen lists; jaula lists the locales that were asked for",
        );
    }
    if settings.root_password.is_some() {
        say(
            format!("usermod --root {tree} --password HASH root"),
            "the password is a hash, and is not shown here",
        );
    }
    for account in &settings.users {
        let mut command = format!("useradd --root {tree} --create-home");
        if let Some(uid) = account.uid {
            command.push_str(&format!(" --uid {uid}"));
        }
        if !account.comment.is_empty() {
            command.push_str(&format!(" --comment {}", word(&account.comment)));
        }
        if !account.groups.is_empty() {
            command.push_str(&format!(" --groups {}", word(account.groups.join(","))));
        }
        for (option, value) in [("shell", &account.shell), ("home-dir", &account.home)] {
            if let Some(value) = value {
                command.push_str(&format!(" --{option} {}", word(value)));
            }
        }
        say(
            format!("{command} {}", account.name),
            "an account as useradd makes it; jaula writes the files itself",
        );
    }
    if settings.resolv_conf.is_some() {
        say(
            format!("cp resolv.conf {}", inside("etc/resolv.conf")),
            "how names of hosts are found",
        );
    }
    if settings.no_services {
        say(
            format!("echo 'exit 101' >{}", inside("usr/sbin/policy-rc.d")),
            "packages start no services, now or later (invoke-rc.d(8))",
        );
    }
    for hook in &options.hooks {
        if let HookAction::Inside { name, .. } = &hook.action {
            say(
                format!("chroot {tree} {}", word(shown(Path::new(name)))),
                "a script of yours, which jaula runs in a jail as it runs those of packages",
            );
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use jaula_plan::spec::settings::Account;

    #[test]
    fn no_password_is_shown() {
        let mut options = ImageOptions::default();
        options.settings.root_password = Some("$6$salt$secrethash".into());
        options.settings.users.push(Account {
            name: "ana".into(),
            uid: Some(1500),
            comment: "Ana B".into(),
            password: Some("$6$salt$secrethash".into()),
            groups: vec!["sudo".into()],
            shell: None,
            home: None,
        });
        let lines = explain(&options, Path::new("/stage/root"));
        let commands: Vec<&str> = lines.iter().map(|line| line.command.as_str()).collect();
        let shown = format!("{:?} {commands:?} {}", texts(&options), arguments(&options));
        assert!(!shown.contains("secrethash"), "{shown}");
        assert!(
            shown.contains("useradd --root /stage/root --create-home --uid 1500 --comment 'Ana B' --groups sudo ana"),
            "{shown}"
        );
    }
}
