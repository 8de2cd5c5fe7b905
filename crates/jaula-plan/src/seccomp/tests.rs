use super::*;
use crate::setup_op::CapSet;

/// A profile shaped as those that are shipped with container engines: refuse by default, permit a list, conditions on
/// arguments, entries by capability, machine and kernel.
const SHIPPED: &str = include_str!("shipped.json");

fn target(caps: CapSet) -> Target {
    Target {
        native: Abi::X86_64,
        caps,
        kernel: (6, 1),
        best_effort: false,
    }
}

fn rules_for(text: &str, target: &Target) -> Rules {
    compile(&Profile::parse("test", text).unwrap(), target).unwrap()
}

fn rules(text: &str) -> Rules {
    rules_for(text, &target(CapSet::DEFAULT))
}

fn entries(default: &str, entries: &str) -> String {
    format!(
        r#"{{"defaultAction":"{default}","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"syscalls":[{entries}]}}"#
    )
}

fn ask(rules: &Rules, abi: Abi, name: &str, args: &[u64]) -> Action {
    let mut all = [0; 6];
    for (place, arg) in all.iter_mut().zip(args) {
        *place = *arg;
    }
    let number = number(name, abi).unwrap_or_else(|| panic!("{name}"));
    rules.answer(abi, number, all)
}

const EPERM: Action = Action::Errno(1);
const ENOSYS: Action = Action::Errno(38);

#[test]
fn the_table_is_sorted_and_numbers_are_those_of_the_kernel() {
    let list: Vec<&str> = names().collect();
    assert!(list.is_sorted() && list.len() > 450, "{}", list.len());
    let table = [
        ("read", [0, 3, 63]),
        ("openat2", [437, 437, 437]),
        ("keyctl", [250, 288, 219]),
        ("socket", [41, 359, 198]),
        ("mount", [165, 21, 40]),
    ];
    for (name, numbers) in table {
        let found = [Abi::X86_64, Abi::I386, Abi::Aarch64].map(|abi| number(name, abi));
        assert_eq!(found, numbers.map(Some), "{name}");
    }
    assert_eq!(number("socketcall", Abi::X86_64), None);
    assert_eq!(number("frobnicate", Abi::X86_64), None);
    // Two names of one number at one entry would be a slip in the table.
    for abi in [Abi::X86_64, Abi::I386, Abi::Aarch64] {
        let mut all: Vec<u32> = names().filter_map(|name| number(name, abi)).collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count, "{abi:?}");
    }
}

#[test]
fn a_shipped_profile() {
    let rules = rules(SHIPPED);
    assert_eq!(rules.tables.len(), 2);
    for abi in [Abi::X86_64, Abi::I386] {
        assert_eq!(ask(&rules, abi, "read", &[]), Action::Allow);
        assert_eq!(ask(&rules, abi, "keyctl", &[]), EPERM);
        // Without SYS_ADMIN: only without new namespaces.
        assert_eq!(ask(&rules, abi, "clone", &[0x11]), Action::Allow);
        assert_eq!(ask(&rules, abi, "clone", &[0x1000_0011]), EPERM);
        assert_eq!(ask(&rules, abi, "clone3", &[]), ENOSYS);
        assert_eq!(ask(&rules, abi, "mount", &[]), EPERM);
        // By capability of the default set.
        assert_eq!(ask(&rules, abi, "chroot", &[]), Action::Allow);
        // The kernel is new enough for one, and for the other's exclusion.
        assert_eq!(ask(&rules, abi, "ptrace", &[]), Action::Allow);
        assert_eq!(ask(&rules, abi, "uselib", &[]), EPERM);
        assert_eq!(
            ask(&rules, abi, "personality", &[0xffff_ffff]),
            Action::Allow
        );
        assert_eq!(ask(&rules, abi, "personality", &[0x40000]), EPERM);
        // Newer than all that the profile names.
        assert_eq!(rules.answer(abi, 450, [0; 6]), ENOSYS);
        assert_eq!(rules.answer(abi, 5000, [0; 6]), ENOSYS);
    }
    // Listed for this machine, and only for another.
    assert_eq!(ask(&rules, Abi::X86_64, "arch_prctl", &[]), Action::Allow);
    assert_eq!(ask(&rules, Abi::I386, "readdir", &[]), EPERM);
    // x32, whatever its number; an entry that is not listed.
    assert_eq!(rules.answer(Abi::X86_64, 0x4000_0000, [0; 6]), ENOSYS);
    assert_eq!(rules.answer(Abi::Aarch64, 0, [0; 6]), Action::KillProcess);

    let admin = CapSet(CapSet::DEFAULT.0 | 1 << 21);
    let rules = rules_for(SHIPPED, &target(admin));
    assert_eq!(
        ask(&rules, Abi::X86_64, "clone", &[0x1000_0011]),
        Action::Allow
    );
    assert_eq!(ask(&rules, Abi::X86_64, "clone3", &[]), Action::Allow);
    assert_eq!(ask(&rules, Abi::X86_64, "mount", &[]), Action::Allow);

    let old = Target {
        kernel: (4, 4),
        ..target(CapSet(0))
    };
    let rules = rules_for(SHIPPED, &old);
    assert_eq!(ask(&rules, Abi::X86_64, "ptrace", &[]), EPERM);
    assert_eq!(ask(&rules, Abi::X86_64, "uselib", &[]), Action::Allow);
    assert_eq!(ask(&rules, Abi::X86_64, "chroot", &[]), EPERM);

    let arm = Target {
        native: Abi::Aarch64,
        ..target(CapSet(0))
    };
    let rules = rules_for(SHIPPED, &arm);
    assert_eq!(rules.tables.len(), 1);
    assert_eq!(ask(&rules, Abi::Aarch64, "read", &[]), Action::Allow);
    assert_eq!(rules.answer(Abi::X86_64, 0, [0; 6]), Action::KillProcess);
}

#[test]
fn the_most_restrictive_entry_answers() {
    let text = entries(
        "SCMP_ACT_ERRNO",
        r#"{"names":["mkdir"],"action":"SCMP_ACT_ALLOW"},
           {"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":30,"args":[{"index":1,"value":511,"op":"SCMP_CMP_EQ"}]},
           {"names":["mkdir"],"action":"SCMP_ACT_KILL_PROCESS","args":[{"index":1,"value":7,"op":"SCMP_CMP_EQ"}]},
           {"names":["rmdir"],"action":"SCMP_ACT_ERRNO","errnoRet":5},
           {"names":["rmdir"],"action":"SCMP_ACT_ALLOW"},
           {"names":["rmdir"],"action":"SCMP_ACT_ERRNO","errnoRet":6}"#,
    );
    let rules = rules(&text);
    let mkdir = |mode| ask(&rules, Abi::X86_64, "mkdir", &[0, mode]);
    assert_eq!(mkdir(0o755), Action::Allow);
    assert_eq!(mkdir(511), Action::Errno(30));
    assert_eq!(mkdir(7), Action::KillProcess);
    assert_eq!(ask(&rules, Abi::X86_64, "rmdir", &[]), Action::Errno(5));
}

#[test]
fn conditions_hold_together_and_alternatives_do_not() {
    let text = entries(
        "SCMP_ACT_ALLOW",
        r#"{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":22,"args":[
             {"index":0,"value":16,"op":"SCMP_CMP_EQ"},{"index":2,"value":9,"op":"SCMP_CMP_EQ"}]},
           {"names":["ioctl"],"action":"SCMP_ACT_ERRNO","args":[
             {"index":1,"value":21522,"op":"SCMP_CMP_EQ"},{"index":1,"value":21532,"op":"SCMP_CMP_EQ"}]},
           {"names":["prctl"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}]},
           {"names":["clone"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"value":268435456,"valueTwo":268435457,"op":"SCMP_CMP_MASKED_EQ"}]}"#,
    );
    let rules = rules(&text);
    let native = |name: &str, args: &[u64]| ask(&rules, Abi::X86_64, name, args);
    assert_eq!(native("socket", &[16, 3, 9]), Action::Errno(22));
    assert_eq!(native("socket", &[16, 3, 8]), Action::Allow);
    assert_eq!(native("ioctl", &[0, 0x5412]), EPERM);
    assert_eq!(native("ioctl", &[0, 0x541c]), EPERM);
    assert_eq!(native("ioctl", &[0, 0x5413]), Action::Allow);
    // All 64 bits, and of 32-bit registers the 32 that there are.
    assert_eq!(native("prctl", &[u64::MAX]), Action::Log);
    assert_eq!(native("prctl", &[0xffff_ffff]), Action::Allow);
    assert_eq!(ask(&rules, Abi::I386, "prctl", &[0xffff_ffff]), Action::Log);
    // Both sides are masked.
    assert_eq!(native("clone", &[0x1000_0011]), Action::Trap);
    assert_eq!(native("clone", &[0x11]), Action::Allow);
}

#[test]
fn calls_inside_of_socketcall_and_ipc() {
    let ask_call =
        |text: &str, number, first| rules(text).answer(Abi::I386, number, [first, 0, 0, 0, 0, 0]);
    // Named plainly: refused by its sub-call too.
    let plain = entries(
        "SCMP_ACT_ALLOW",
        r#"{"names":["socket","shmget"],"action":"SCMP_ACT_ERRNO"}"#,
    );
    assert_eq!(ask_call(&plain, 359, 0), EPERM);
    assert_eq!(ask_call(&plain, 102, 1), EPERM);
    assert_eq!(ask_call(&plain, 102, 2), Action::Allow);
    assert_eq!(ask_call(&plain, 117, 0x0001_0017), EPERM);
    assert_eq!(ask_call(&plain, 117, 0x15), Action::Allow);
    // Under a condition that cannot be seen there: always, unless the profile speaks of socketcall itself.
    let some = r#"{"names":["socket"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":40,"op":"SCMP_CMP_EQ"}]}"#;
    assert_eq!(ask_call(&entries("SCMP_ACT_ALLOW", some), 102, 1), EPERM);
    let spoken = format!(r#"{some},{{"names":["socketcall"],"action":"SCMP_ACT_ALLOW"}}"#);
    assert_eq!(
        ask_call(&entries("SCMP_ACT_ALLOW", &spoken), 102, 1),
        Action::Allow
    );
    // A permission under a condition is none there.
    let permitted = some.replace("ERRNO", "ALLOW");
    assert_eq!(
        ask_call(&entries("SCMP_ACT_ERRNO", &permitted), 102, 1),
        EPERM
    );
    // The native entry has no such call.
    assert_eq!(
        rules(&plain).answer(Abi::X86_64, 102, [1, 0, 0, 0, 0, 0]),
        Action::Allow
    );
}

#[test]
fn what_is_newer_is_not_there() {
    let newest = |default: &str| {
        let text = entries(
            default,
            r#"{"names":["read","openat2"],"action":"SCMP_ACT_LOG"}"#,
        );
        rules(&text).answer(Abi::X86_64, 450, [0; 6])
    };
    assert_eq!(newest("SCMP_ACT_ERRNO"), ENOSYS);
    assert_eq!(newest("SCMP_ACT_KILL"), ENOSYS);
    assert_eq!(newest("SCMP_ACT_ALLOW"), Action::Allow);
    let text = entries(
        "SCMP_ACT_ERRNO",
        r#"{"names":["read","openat2"],"action":"SCMP_ACT_LOG"}"#,
    );
    assert_eq!(rules(&text).answer(Abi::X86_64, 436, [0; 6]), EPERM);
}

#[test]
fn actions_flags_and_errnos() {
    let entry = |action: &str| {
        let text = entries(
            "SCMP_ACT_ALLOW",
            &format!(r#"{{"names":["read"],"action":{action}}}"#),
        );
        ask(&rules(&text), Abi::X86_64, "read", &[])
    };
    for (action, expected) in [
        (r#""SCMP_ACT_KILL""#, Action::KillThread),
        (r#""SCMP_ACT_KILL_THREAD""#, Action::KillThread),
        (r#""SCMP_ACT_KILL_PROCESS""#, Action::KillProcess),
        (r#""SCMP_ACT_TRAP""#, Action::Trap),
        (r#""SCMP_ACT_ERRNO""#, EPERM),
        (r#""SCMP_ACT_ERRNO","errnoRet":0"#, Action::Errno(0)),
        (r#""SCMP_ACT_ERRNO","errno":"ENOSYS""#, ENOSYS),
        (r#""SCMP_ACT_TRACE","errnoRet":7"#, Action::Trace(7)),
        (
            r#""SCMP_ACT_LOG","args":null,"comment":"","includes":{},"excludes":null"#,
            Action::Log,
        ),
    ] {
        assert_eq!(entry(action), expected, "{action}");
    }
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_TSYNC"]}"#;
    let flags = Flags {
        log: true,
        spec_allow: false,
        tsync: true,
    };
    assert_eq!(rules(text).flags, flags);
    // Without architectures only the machine's own entry is known.
    assert_eq!(rules(text).tables.len(), 1);
}

#[test]
fn what_is_not_understood_is_refused() {
    let entry = |entry: &str| entries("SCMP_ACT_ALLOW", entry);
    let table = [
        ("{".to_owned(), "no seccomp profile"),
        ("[]".to_owned(), "no seccomp profile"),
        ("{}".to_owned(), "defaultAction"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","sycalls":[]}"#.to_owned(),
            "sycalls",
        ),
        (r#"{"defaultAction":"ALLOW"}"#.to_owned(), "no action"),
        (
            r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#.to_owned(),
            "jaula runs none",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}"#.to_owned(),
            "listener",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X68"]}"#.to_owned(),
            "no architecture",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["LOG"]}"#.to_owned(),
            "no flag",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}"#.to_owned(),
            "4095",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"defaultErrno":"ENOSYS"}"#
                .to_owned(),
            "not the same",
        ),
        (
            entry(r#"{"names":[],"action":"SCMP_ACT_ERRNO"}"#),
            "names no system call",
        ),
        (
            entry(r#"{"names":["read"],"action":"SCMP_ACT_ALLOW","errnoRet":5}"#),
            "has no errno",
        ),
        (
            entry(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","arg":[]}"#),
            "arg",
        ),
        (
            entry(
                r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}"#,
            ),
            "0 to 5",
        ),
        (
            entry(
                r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":0,"op":"EQ"}]}"#,
            ),
            "no comparison",
        ),
        (
            entry(
                r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":-1,"op":"SCMP_CMP_EQ"}]}"#,
            ),
            "no seccomp profile",
        ),
        (
            entry(
                r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","includes":{"caps":["CAP_FLY"]}}"#,
            ),
            "no capability",
        ),
        (
            entry(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","excludes":{"minKernel":"new"}}"#),
            "version of a kernel",
        ),
        (" ".repeat(MAX_BYTES + 1), "more than 1048576 bytes"),
    ];
    for (text, part) in table {
        let error = Profile::parse("test", &text).unwrap_err().to_string();
        let start: String = text.chars().take(200).collect();
        assert!(error.contains(part), "{start}: {error}");
    }
}

#[test]
fn calls_that_do_not_exist_are_named() {
    let text = entries(
        "SCMP_ACT_ALLOW",
        r#"{"names":["raed","breakpoint","mount","raed","xyz"],"action":"SCMP_ACT_ERRNO"}"#,
    );
    let profile = Profile::parse("test", &text).unwrap();
    assert_eq!(profile.unknown(), ["raed", "xyz"]);
    let strict = target(CapSet(0));
    let error = compile(&profile, &strict).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it names system calls that do not exist: raed xyz"
    );
    let rules = compile(
        &profile,
        &Target {
            best_effort: true,
            ..strict
        },
    )
    .unwrap();
    assert_eq!(ask(&rules, Abi::X86_64, "mount", &[]), EPERM);
}
