use super::*;
use std::process::Command;

/// A header as a database keeps it.
fn header(name: &str, machine: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let mut dirs: Vec<&str> = files.iter().map(|(dir, _)| *dir).collect();
    dirs.dedup();
    let (mut entries, mut store) = (Vec::new(), Vec::new());
    let mut put = |tag: u32, kind: u32, count: usize, values: &[u8]| {
        while kind == 4 && store.len() % 4 != 0 {
            store.push(0);
        }
        for word in [tag, kind, store.len() as u32, count as u32] {
            entries.extend_from_slice(&word.to_be_bytes());
        }
        store.extend_from_slice(values);
    };
    let text = |text: &str| [text.as_bytes(), b"\0"].concat();
    put(1000, 6, 1, &text(name));
    put(1022, 6, 1, &text(machine));
    let index = |dir: &str| dirs.iter().position(|it| *it == dir).unwrap() as u32;
    let indices: Vec<u8> = files
        .iter()
        .flat_map(|(dir, _)| index(dir).to_be_bytes())
        .collect();
    put(1116, 4, files.len(), &indices);
    let names: Vec<u8> = files.iter().flat_map(|(_, name)| text(name)).collect();
    put(1117, 8, files.len(), &names);
    let places: Vec<u8> = dirs.iter().flat_map(|dir| text(dir)).collect();
    put(1118, 8, dirs.len(), &places);
    let counts = [(entries.len() / 16) as u32, store.len() as u32];
    let counts: Vec<u8> = counts
        .iter()
        .flat_map(|count| count.to_be_bytes())
        .collect();
    [counts, entries, store].concat()
}

/// Packages of which one has many files and one is there for two machines.
fn packages() -> Vec<(String, Vec<u8>)> {
    let many: Vec<String> = (0..3000).map(|number| format!("file-{number}")).collect();
    let mut files = vec![("/usr/bin/", "demo")];
    files.extend(many.iter().map(|name| ("/usr/share/demo/", name.as_str())));
    let mut all = vec![
        (
            "two".to_owned(),
            header("two", "i686", &[("/usr/lib/", "two.so")]),
        ),
        ("demo".to_owned(), header("demo", "x86_64", &files)),
        (
            "two".to_owned(),
            header("two", "x86_64", &[("/usr/lib64/", "two.so")]),
        ),
        ("none".to_owned(), header("none", "noarch", &[])),
    ];
    for number in 0..400 {
        let name = format!("package-{number}");
        let header = header(&name, "noarch", &[("/usr/share/p/", &name)]);
        all.push((name, header));
    }
    all
}

/// As rpm's ndb writes it.
fn ndb(packages: &[(String, Vec<u8>)]) -> Vec<u8> {
    let pages = (packages.len() + 2).div_ceil(256) + 1;
    let mut slots = b"RpmP\0\0\0\0\x01\0\0\0".to_vec();
    slots.extend_from_slice(&(pages as u32).to_le_bytes());
    slots.resize(32, 0);
    let mut blobs = Vec::new();
    for (number, (_, header)) in packages.iter().enumerate() {
        let at = (pages * 4096 + blobs.len()) as u32 / 16;
        let start = blobs.len();
        blobs.extend_from_slice(b"BlbS");
        for word in [number as u32 + 1, 7, header.len() as u32] {
            blobs.extend_from_slice(&word.to_le_bytes());
        }
        blobs.extend_from_slice(header);
        // The tail is not looked at, the checksum in it neither.
        blobs.resize((blobs.len() + 12).next_multiple_of(16), 0);
        slots.extend_from_slice(b"Slot");
        for word in [number as u32 + 1, at, (blobs.len() - start) as u32 / 16] {
            slots.extend_from_slice(&word.to_le_bytes());
        }
    }
    while slots.len() < pages * 4096 {
        slots.extend_from_slice(b"Slot\0\0\0\0\0\0\0\0\0\0\0\0");
    }
    slots.extend(blobs);
    slots
}

/// As SQLite itself writes it, with rpm's tables; none where there is no Python with it.
fn sqlite(packages: &[(String, Vec<u8>)]) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let mut list = String::new();
    for (name, header) in packages {
        list.push_str(&format!("{name} {}\n", crate::hex::encode(header)));
    }
    std::fs::write(dir.path().join("list"), list).unwrap();
    let script = "import sqlite3, sys\n\
        c = sqlite3.connect(sys.argv[1])\n\
        c.execute(\"CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)\")\n\
        c.execute(\"CREATE TABLE 'Name' (key 'TEXT' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL, FOREIGN KEY (hnum) REFERENCES 'Packages'(hnum))\")\n\
        c.execute(\"CREATE INDEX Name_key_idx ON Name(key ASC)\")\n\
        for line in open(sys.argv[2]):\n\
        \x20   name, blob = line.split()\n\
        \x20   n = c.execute('INSERT INTO Packages VALUES (NULL, ?)', (bytes.fromhex(blob),)).lastrowid\n\
        \x20   c.execute('INSERT INTO Name VALUES (?, ?, 0)', (name, n))\n\
        c.commit()\n";
    let ran = Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .arg(dir.path().join("list"))
        .status();
    ran.is_ok_and(|status| status.success())
        .then(|| std::fs::read(&path).unwrap())
}

/// Each form that can be made here.
fn databases() -> Vec<Vec<u8>> {
    let packages = packages();
    let mut all = vec![ndb(&packages)];
    match sqlite(&packages) {
        Some(made) => all.push(made),
        None => eprintln!("skipped: no Python with SQLite"),
    }
    all
}

#[test]
fn the_files_of_a_package_are_found_in_both_forms() {
    for data in databases() {
        let db = RpmDb::open(data.as_slice()).unwrap();
        let files = |name: &str, machines: &[&str]| -> Option<Vec<String>> {
            let found = db.files(name, machines).unwrap()?;
            Some(
                found
                    .into_iter()
                    .map(|path| String::from_utf8(path).unwrap())
                    .collect(),
            )
        };
        let demo = files("demo", &["x86_64", "noarch"]).unwrap();
        assert_eq!(demo.len(), 3001);
        assert_eq!(demo[0], "/usr/bin/demo");
        assert_eq!(demo[3000], "/usr/share/demo/file-2999");
        assert_eq!(
            files("two", &["x86_64", "noarch"]).unwrap(),
            ["/usr/lib64/two.so"]
        );
        assert_eq!(files("two", &["s390x"]).unwrap().len(), 2);
        assert_eq!(
            files("package-399", &[]).unwrap(),
            ["/usr/share/p/package-399"]
        );
        assert_eq!(files("none", &[]).unwrap(), [] as [&str; 0]);
        assert_eq!(files("gone", &[]), None);
    }
    assert!(matches!(
        RpmDb::open(&[0u8; 64][..]),
        Err(RpmError::Unknown)
    ));
}

#[test]
fn damaged_databases_give_errors_and_end() {
    for data in databases() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |limit: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as usize % limit
        };
        let mut failed = 0;
        for round in 0..600 {
            let mut broken = data.clone();
            for _ in 0..1 + next(20) {
                // Mostly where something leads elsewhere.
                let at = if round % 3 == 0 {
                    next(broken.len())
                } else {
                    next(12_000)
                };
                broken[at] = next(256) as u8;
            }
            if round % 7 == 0 {
                broken.truncate(next(data.len()));
            }
            let Ok(db) = RpmDb::open(broken.as_slice()) else {
                failed += 1;
                continue;
            };
            for name in ["demo", "two", "package-7"] {
                failed += usize::from(db.files(name, &["x86_64"]).is_err());
            }
        }
        assert!(failed > 50, "{failed}");
    }
}
