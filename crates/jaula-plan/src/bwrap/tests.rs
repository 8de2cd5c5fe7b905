use super::*;
use crate::spec::jail::BindOptions;

fn ordinary() -> BwrapFacts {
    BwrapFacts {
        uid: 1000,
        gid: 1000,
        user_namespaces: true,
        cgroup_namespaces: true,
        cwd: Some("/srv".into()),
        ..BwrapFacts::default()
    }
}

fn root() -> BwrapFacts {
    BwrapFacts {
        uid: 0,
        gid: 0,
        capabilities: 0xff,
        ..ordinary()
    }
}

fn spec() -> BwrapSpec {
    BwrapSpec {
        command: vec!["true".into()],
        ..BwrapSpec::default()
    }
}

/// User, group, and whether setgroups(2) is given up.
type Map = ((u32, u32), (u32, u32), bool);

fn maps(plan: &BwrapPlan) -> Vec<Map> {
    let map = |op: &BwrapOp| match op {
        BwrapOp::Map { user, group, deny } => Some((*user, *group, *deny)),
        _ => None,
    };
    plan.ops.iter().filter_map(map).collect()
}

#[test]
fn an_ordinary_user_stays_who_he_is() {
    let own = (1000, 1000);
    assert_eq!(
        maps(&plan(&spec(), &ordinary()).unwrap()),
        [(own, own, true)]
    );
    // Terminals need root: two namespaces.
    let mut with = spec();
    with.tree.push(TreeSpec::Dev("/dev".into()));
    let up = (0, 1000);
    let down = (1000, 0);
    assert_eq!(
        maps(&plan(&with, &ordinary()).unwrap()),
        [(up, up, true), (down, down, false)]
    );
    // Root is root already, without any namespace.
    assert!(maps(&plan(&with, &root()).unwrap()).is_empty());
}

#[test]
fn nothing_is_forced() {
    let plan = plan(&spec(), &root()).unwrap();
    let forced = |op: &BwrapOp| {
        matches!(
            op,
            BwrapOp::Capabilities { .. }
                | BwrapOp::Bound(_)
                | BwrapOp::NewSession
                | BwrapOp::DieWithParent
                | BwrapOp::Filters(_)
                | BwrapOp::Reap(_)
                | BwrapOp::Await
                | BwrapOp::Close(_)
        )
    };
    assert!(!plan.ops.iter().any(forced), "{plan:?}");
}

#[test]
fn the_tree_is_made_in_the_order_of_the_arguments() {
    let mut asked = spec();
    let bind = |from: &str, to: &str, optional| TreeSpec::Bind {
        from: Source::Path(from.into()),
        to: to.into(),
        options: BindOptions {
            optional,
            ..BindOptions::READ_ONLY
        },
    };
    asked.tree = vec![
        bind("/link", "/a", false),
        bind("/gone", "/b", true),
        TreeSpec::Directory {
            to: "/a/x".into(),
            mode: 0o700,
        },
        bind("/usr", "/a/x", false),
    ];
    let mut facts = ordinary();
    facts.sources = vec![Some("/real".into()), None, Some("/usr".into())];
    let plan = plan(&asked, &facts).unwrap();
    let tree: Vec<String> = plan
        .ops
        .iter()
        .filter_map(|op| match op {
            BwrapOp::Tree(op) => Some(op.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(
        tree,
        [
            "bind /real at /a, read-only",
            "make directory /a/x (mode 700)",
            "bind /usr at /a/x, read-only"
        ]
    );
}

#[test]
fn contradictions_are_told_in_bwraps_words() {
    type Change = fn(&mut BwrapSpec);
    let list: [(Change, &str); 9] = [
        (
            |s| s.userns_block_fd = Some(3),
            "--userns-block-fd requires --unshare-user",
        ),
        (
            |s| (s.user, s.userns_block_fd) = (true, Some(3)),
            "--userns-block-fd requires --info-fd",
        ),
        (
            |s| (s.user, s.userns) = (true, Some(3)),
            "--userns not compatible --unshare-user",
        ),
        (
            |s| s.disable_userns = true,
            "--disable-userns requires --unshare-user",
        ),
        (
            |s| s.uid = Some(5),
            "Specifying --uid requires --unshare-user or --userns",
        ),
        (
            |s| s.gid = Some(5),
            "Specifying --gid requires --unshare-user or --userns",
        ),
        (
            |s| s.tree.push(TreeSpec::HostName("x".into())),
            "Specifying --hostname requires --unshare-uts",
        ),
        (
            |s| s.as_pid_1 = true,
            "Specifying --as-pid-1 requires --unshare-pid",
        ),
        (
            |s| (s.pid, s.as_pid_1, s.lock_files) = (true, true, vec!["x".into()]),
            "Specifying --as-pid-1 and --lock-file is not permitted",
        ),
    ];
    for (change, words) in list {
        let mut asked = spec();
        change(&mut asked);
        assert_eq!(plan(&asked, &root()).unwrap_err().to_string(), words);
    }
}

#[test]
fn a_program_is_looked_for_as_execvp_does() {
    let env = |path: &str| vec![(OsString::from("PATH"), OsString::from(path))];
    let paths =
        |program: &str, env: &[(OsString, OsString)]| program_paths(OsStr::new(program), env);
    assert_eq!(
        paths("ls", &env("/a:/b")),
        [Path::new("/a/ls"), Path::new("/b/ls")]
    );
    assert_eq!(
        paths("ls", &env(":/b")),
        [Path::new("ls"), Path::new("/b/ls")]
    );
    assert_eq!(paths("./ls", &env("/a")), [Path::new("./ls")]);
    assert_eq!(
        paths("ls", &[]),
        [Path::new("/bin/ls"), Path::new("/usr/bin/ls")]
    );
}
