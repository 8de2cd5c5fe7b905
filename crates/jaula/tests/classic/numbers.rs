//! Numbers and names: nothing turns into root by being too large, too small, signed or empty.

use crate::who::{Who, everyone};
use crate::{Links, run};

#[test]
fn no_number_becomes_another() {
    let links = Links::new();
    let wrong = [
        "-1",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "+5",
        "' 5'",
        "5x",
        "0x5",
        "''",
        "1e1",
        "٣",
    ];
    let mut lines = Vec::new();
    for word in wrong {
        for line in [
            format!("unshare -S {word} id -u"),
            format!("unshare -G {word} id -g"),
            format!("unshare --map-user={word} id -u"),
            format!("unshare --map-group={word} id -g"),
            format!("unshare --map-users={word}:0:1 id -u"),
            format!("unshare --map-users=0:{word}:1 id -u"),
            format!("unshare --map-users={word},0,1 id -u"),
            format!("unshare --map-groups=0:{word}:1 id -g"),
            format!("unshare --owner {word}:0 id -u"),
            format!("unshare --owner 0:{word} id -u"),
            format!("nsenter -t $$ -u -S {word} id -u"),
            format!("nsenter -t $$ -u -G {word} id -g"),
            format!("nsenter -t {word} -u id -u"),
            format!("nsenter -t $$:{word} -u id -u"),
            format!("nsenter -t $$ -N {word} id -u"),
        ] {
            lines.push((line, "1"));
        }
    }
    for word in ["-1", "4294967295", "4294967296", "' 5'", "5x", "0x5"] {
        for line in [
            format!("chroot --userspec={word}:0 / id"),
            format!("chroot --userspec=0:{word} / id"),
            format!("chroot --groups={word} / id"),
        ] {
            lines.push((line, "125"));
        }
    }
    // One shell for all: each tells its code and what it printed.
    let script: String = lines
        .iter()
        .map(|(line, _)| format!("out=$({line} 2>/dev/null); echo \"$? $out\"\n"))
        .collect();
    everyone(|user| {
        let (_, out, _) = run(user, &links.ours(&script));
        assert_eq!(out.lines().count(), lines.len());
        for ((line, code), said) in lines.iter().zip(out.lines()) {
            assert_eq!(said, format!("{code} "), "{line}");
        }
        // What is right is taken.
        if user.who == Who::Root {
            let (code, out, _) = run(user, &links.ours("unshare -S 5 -G 6 sh -c 'id -u; id -g'"));
            assert_eq!((code, out.as_str()), (Some(0), "5\n6\n"));
        }
    });
}
