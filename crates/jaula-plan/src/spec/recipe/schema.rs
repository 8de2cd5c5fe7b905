//! What may stand in a recipe: one table that the parser goes by, and from which the JSON Schema and the tables of the
//! documentation are made.

use serde_json::{Map, Value, json};

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A string.
    Text,
    /// A string that names a file: relative to the recipe's directory and in it, or absolute.
    Path,
    /// `true` or `false`.
    Bool,
    /// A number from 0 to 4294967294.
    Number,
    /// A date with time and offset, or seconds since 1970.
    Date,
    /// A list of strings.
    Texts,
    /// A list of strings that name files.
    Paths,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A table.
    Table(&'static [Key]),
    /// Tables, as many as wanted (`[[key]]`).
    Tables(&'static [Key]),
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds without it.
    pub default: &'static str,
    /// A value, as TOML writes it; empty for tables.
    pub example: &'static str,
    /// What it means.
    pub about: &'static str,
}

/// A table of keys, a line each: name, what it takes, default, example, meaning.
macro_rules! keys {
    ($(#[$doc:meta])* $name:ident { $($key:literal $kind:expr, $default:literal, $example:literal, $about:literal;)* }) => {
        $(#[$doc])*
        pub const $name: &[Key] = &[$(Key {
            name: $key,
            kind: $kind,
            default: $default,
            example: $example,
            about: $about,
        }),*];
    };
}

/// The words for [`Variant`](crate::spec::rootfs::Variant).
const VARIANTS: &[&str] = &[
    "custom",
    "essential",
    "apt",
    "minbase",
    "buildd",
    "important",
    "standard",
];
/// The words for [`Trust`](crate::spec::source::Trust).
pub const TRUST: &[&str] = &["signed", "unsigned"];
/// The words for [`Used`](crate::spec::source::Used).
pub const USED: &[&str] = &["both", "build", "image"];
/// The words for [`HookStage`](crate::spec::hook::HookStage).
pub const STAGES: &[&str] = &["setup", "extract", "essential", "customize"];

keys! {
    /// The whole file.
    RECIPE {
        "extends" Kind::Path, "", "\"base.toml\"", "Another recipe, of which this one says only what is different";
        "distro" Kind::Text, "must be there, here or in what is extended", "\"debian\"", "The distribution";
        "suite" Kind::Text, "the distribution's default", "\"bookworm\"", "Its suite";
        "arch" Kind::Text, "the host's", "\"i386\"", "Debian architecture";
        "foreign-archs" Kind::Texts, "none", "[\"i386\"]", "Further architectures, for packages named as `NAME:ARCH`";
        "variant" Kind::Choice(VARIANTS), "minbase", "\"buildd\"", "How much of the distribution goes in";
        "include" Kind::Texts, "none", "[\"nginx-light\", \"hello=2.10-3\"]", "Packages besides: `name[:arch][=version][/suite]`";
        "exclude" Kind::Texts, "none", "[\"dash\"]", "Packages that may not be chosen";
        "tasks" Kind::Texts, "none", "[\"ssh-server\"]", "Tasks, as tasksel(8) names them";
        "debs" Kind::Paths, "none", "[\"ours_1.0_all.deb\"]", "Package files of this host";
        "recommends" Kind::Bool, "false", "true", "Whether `Recommends` are followed";
        "merged-usr" Kind::Bool, "as the release has it", "false", "Whether `/bin` and its like are links into `/usr`";
        "unpack-only" Kind::Bool, "false", "true", "Unpack, and leave configuring for later";
        "paths" Kind::Texts, "all are laid", "[\"exclude /usr/share/doc/*\", \"include /usr/share/doc/*/copyright\"]", "Files of packages that are left out or laid nevertheless; the last that fits decides";
        "tags" Kind::Texts, "none", "[\"web\"]", "Further names of the image in the store";
        "sources" Kind::Table(SOURCES), "", "", "Where packages come from";
        "repository" Kind::Tables(REPOSITORY), "", "", "A repository besides the distribution's own";
        "preferences" Kind::Tables(PREFERENCES), "", "", "A file of apt_preferences(5): it pins packages, and stays in the image";
        "settings" Kind::Table(SETTINGS), "", "", "What an installer would ask for";
        "hook" Kind::Tables(HOOK), "", "", "What is run while the image is made; exactly one of its actions";
        "output" Kind::Tables(OUTPUT), "", "", "What is written of the image. It is not taken over from what is extended";
    }
}

keys! {
    /// `[sources]`
    SOURCES {
        "mirror" Kind::Text, "the host's APT sources, else the table of distributions", "\"http://deb.debian.org/debian\"", "The archive";
        "mirrors" Kind::Texts, "none", "[\"http://archive.example.org/debian\"]", "Further places where a locked build looks for packages";
        "components" Kind::Texts, "the distribution's", "[\"main\", \"contrib\"]", "Components";
        "keyrings" Kind::Paths, "the distribution's", "[\"keys/archive.gpg\"]", "Keys that may sign the archive";
        "suites" Kind::Texts, "none", "[\"bookworm-backports\"]", "More suites of the same archive";
        "only-repositories" Kind::Bool, "false", "true", "Only what `[[repository]]` says, nothing that the host or the table knows";
        "snapshot" Kind::Date, "now", "2026-01-31T12:00:00Z", "The archive as it was then, where it keeps its past";
        "trust" Kind::Choice(TRUST), "signed", "\"unsigned\"", "Whether signatures are asked for";
        "client" Kind::Table(CLIENT), "", "", "Who jaula says it is to servers that ask for a certificate";
    }
}

keys! {
    /// `[sources.client]`
    CLIENT {
        "certificate" Kind::Path, "must be there", "\"client.pem\"", "The certificate with its chain, PEM";
        "key" Kind::Path, "in the same file", "\"client.key\"", "The private key, PEM";
    }
}

keys! {
    /// `[[repository]]`
    REPOSITORY {
        "name" Kind::Text, "made of the address", "\"ours\"", "Its name, for messages and for its file in the image";
        "uri" Kind::Text, "must be there", "\"https://apt.example.org\"", "Address";
        "suites" Kind::Texts, "must be there", "[\"stable\"]", "What stands after `dists/`; one that ends in `/` is a flat repository";
        "components" Kind::Texts, "none", "[\"main\"]", "Components; none for a flat repository";
        "archs" Kind::Texts, "those of the image", "[\"amd64\"]", "Only these architectures";
        "keyrings" Kind::Paths, "the distribution's", "[\"keys/ours.gpg\"]", "Keys that may sign it";
        "key" Kind::Text, "none", "\"\"\"-----BEGIN PGP PUBLIC KEY BLOCK-----\"\"\"", "The same as text; not beside `keyrings`";
        "trust" Kind::Choice(TRUST), "signed", "\"unsigned\"", "Whether signatures are asked for";
        "check-valid-until" Kind::Bool, "true", "false", "Whether an expired index is an error";
        "source-packages" Kind::Bool, "false", "true", "Whether the image's own sources name its source packages too";
        "used" Kind::Choice(USED), "both", "\"build\"", "While the image is made, by apt in the image, or both";
    }
}

keys! {
    /// `[[preferences]]`
    PREFERENCES {
        "name" Kind::Text, "must be there", "\"pins\"", "The file's name in the image";
        "text" Kind::Text, "none", "\"Package: *\\nPin: release n=bookworm\\nPin-Priority: 900\\n\"", "Its text";
        "file" Kind::Path, "none", "\"pins\"", "A file that has its text; not beside `text`";
    }
}

keys! {
    /// `[settings]`
    SETTINGS {
        "hostname" Kind::Text, "localhost", "\"web\"", "`/etc/hostname`";
        "root-password" Kind::Text, "locked", "\"$y$j9T$salt$hash\"", "The password of root, as crypt(5) writes it";
        "locales" Kind::Texts, "none", "[\"es_ES.UTF-8\"]", "Locales with their language packs; the first is the default one";
        "timezone" Kind::Text, "UTC", "\"Europe/Madrid\"", "Time zone";
        "preseed" Kind::Texts, "none", "[\"tzdata tzdata/Areas select Europe\"]", "Answers, in the words of debconf-set-selections(1)";
        "preseed-files" Kind::Paths, "none", "[\"preseed.cfg\"]", "Files of such answers";
        "resolv-conf" Kind::Text, "empty", "\"nameserver 192.0.2.1\\n\"", "The text of `/etc/resolv.conf`";
        "sources-list" Kind::Text, "the sources it was made from", "\"deb http://deb.debian.org/debian bookworm main\\n\"", "The text of `/etc/apt/sources.list`";
        "apt-options" Kind::Texts, "none", "[\"APT::Install-Recommends \\\"0\\\";\"]", "Lines of apt.conf(5) for the image";
        "dpkg-options" Kind::Texts, "none", "[\"force-unsafe-io\"]", "Lines of dpkg.cfg(5) for the image";
        "no-services" Kind::Bool, "false", "true", "A `policy-rc.d` that refuses to start services stays in the image";
        "keyboard" Kind::Table(KEYBOARD), "", "", "The keyboard, in the words of keyboard(5)";
        "user" Kind::Tables(USER), "", "", "An account";
    }
}

keys! {
    /// `[settings.keyboard]`
    KEYBOARD {
        "layout" Kind::Text, "must be there", "\"es\"", "Layout";
        "variant" Kind::Text, "none", "\"nodeadkeys\"", "Variant";
        "model" Kind::Text, "pc105", "\"pc104\"", "Model";
        "options" Kind::Texts, "none", "[\"compose:rctrl\"]", "Options";
    }
}

keys! {
    /// `[[settings.user]]`
    USER {
        "name" Kind::Text, "must be there", "\"ana\"", "Login name";
        "uid" Kind::Number, "the next free one", "1500", "Number";
        "comment" Kind::Text, "empty", "\"Ana\"", "Full name and the like";
        "password" Kind::Text, "locked", "\"$y$j9T$salt$hash\"", "Password, as crypt(5) writes it";
        "groups" Kind::Texts, "none", "[\"audio\"]", "Groups besides its own";
        "shell" Kind::Text, "the distribution's", "\"/bin/bash\"", "Login shell";
        "home" Kind::Text, "below `/home`", "\"/srv/ana\"", "Home directory";
    }
}

keys! {
    /// `[[hook]]`
    HOOK {
        "stage" Kind::Choice(STAGES), "customize", "\"setup\"", "When: before packages, when they are unpacked, when the essential ones are configured, at the end";
        "run" Kind::Text, "", "\"echo hello >/etc/motd\"", "A script, run in a jail on the tree";
        "script" Kind::Path, "", "\"setup.sh\"", "The same from a file";
        "args" Kind::Texts, "none", "[\"one\"]", "Its arguments";
        "network" Kind::Bool, "false", "true", "Whether the script has the host's network";
        "copy-in" Kind::Paths, "", "[\"site\"]", "Files of this host into the directory `to` of the tree";
        "copy-out" Kind::Texts, "", "[\"/etc/passwd\"]", "Files of the tree into the directory `to` of this host";
        "tar-in" Kind::Path, "", "\"site.tar\"", "An archive of this host unpacked into the directory `to` of the tree";
        "tar-out" Kind::Text, "", "\"/etc\"", "A directory of the tree as the archive `to` of this host";
        "upload" Kind::Path, "", "\"motd\"", "A file of this host as the file `to` of the tree";
        "download" Kind::Text, "", "\"/etc/passwd\"", "A file of the tree as the file `to` of this host";
        "to" Kind::Text, "must be there for what copies", "\"/srv\"", "Where to; a path of this host follows the rules of all of them";
    }
}

keys! {
    /// `[[output]]`
    OUTPUT {
        "path" Kind::Path, "must be there", "\"web.tar.zst\"", "Where it is written; a relative one in the recipe's directory";
        "format" Kind::Text, "told by the path's ending", "\"tar.zst\"", "What is written, in the words of `jaula build --format`";
    }
}

impl Kind {
    /// In words.
    pub fn words(self) -> String {
        match self {
            Self::Text => "string".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Number => "number".to_owned(),
            Self::Date => "date with time and offset, or seconds since 1970".to_owned(),
            Self::Texts => "list of strings".to_owned(),
            Self::Paths => "list of paths".to_owned(),
            Self::Choice(words) => words
                .iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", "),
            Self::Table(_) => "table".to_owned(),
            Self::Tables(_) => "tables".to_owned(),
        }
    }

    fn schema(self) -> Value {
        let strings = json!({ "type": "array", "items": { "type": "string" } });
        match self {
            Self::Text | Self::Path => json!({ "type": "string" }),
            Self::Bool => json!({ "type": "boolean" }),
            Self::Number => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX - 1 }),
            Self::Date => json!({ "oneOf": [
                { "type": "string", "format": "date-time" },
                { "type": "integer", "minimum": 0 },
            ] }),
            Self::Texts | Self::Paths => strings,
            Self::Choice(words) => json!({ "enum": words }),
            Self::Table(keys) => object(keys),
            Self::Tables(keys) => json!({ "type": "array", "items": object(keys) }),
        }
    }
}

fn object(keys: &[Key]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        let mut schema = key.kind.schema();
        if let Value::Object(map) = &mut schema {
            let mut about = key.about.to_owned();
            if !key.default.is_empty() {
                about.push_str(&format!(" [default: {}]", key.default));
            }
            map.insert("description".to_owned(), about.into());
        }
        properties.insert(key.name.to_owned(), schema);
    }
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// The JSON Schema (draft 2020-12) of a recipe.
pub fn json_schema() -> Value {
    let mut schema = object(RECIPE);
    if let Value::Object(map) = &mut schema {
        map.insert(
            "$schema".to_owned(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        map.insert("title".to_owned(), "A recipe of jaula build".into());
    }
    schema
}

/// The tables of the documentation, one for each table of a recipe, in Markdown.
pub fn markdown() -> String {
    let mut text = String::new();
    table(&mut text, "The file itself", RECIPE, "");
    text
}

fn table(text: &mut String, title: &str, keys: &'static [Key], path: &str) {
    text.push_str(&format!(
        "### {title}\n\n| key | type | default | example | meaning |\n|---|---|---|---|---|\n"
    ));
    let mut below = Vec::new();
    for key in keys {
        let at = match path {
            "" => key.name.to_owned(),
            path => format!("{path}.{}", key.name),
        };
        match key.kind {
            Kind::Table(keys) => below.push((format!("`[{at}]`: {}", key.about), keys, at)),
            Kind::Tables(keys) => below.push((format!("`[[{at}]]`: {}", key.about), keys, at)),
            kind => text.push_str(&format!(
                "| `{}` | {} | {} | `{}` | {} |\n",
                key.name,
                kind.words(),
                key.default,
                key.example,
                key.about
            )),
        }
    }
    text.push('\n');
    for (title, keys, at) in below {
        table(text, &title, keys, &at);
    }
}
