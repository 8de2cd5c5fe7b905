use super::schema::{Key, Kind, RECIPE, json_schema, markdown};
use super::*;
use crate::spec::rootfs::Variant;
use serde_json::Value as Json;
use std::collections::BTreeMap;

fn files(path: &Path) -> std::io::Result<Vec<u8>> {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("absent") => Err(std::io::ErrorKind::NotFound.into()),
        Some("binary") => Ok(vec![0xff]),
        _ => Ok(format!("content of {}", path.display()).into_bytes()),
    }
}

fn recipe(texts: &[(&str, &str)]) -> Result<Recipe, RecipeError> {
    let parse = |(path, text): &(&str, &str)| Part::parse(Path::new(path), text);
    let parts = texts.iter().map(parse).collect::<Result<_, _>>()?;
    Recipe::new(parts, &mut files)
}

fn one(text: &str) -> Result<Recipe, RecipeError> {
    recipe(&[("/r/web.toml", text)])
}

#[track_caller]
fn refused(text: &str) -> String {
    match one(text) {
        Ok(recipe) => panic!("accepted: {text}: {recipe:?}"),
        Err(error) => {
            let mut text = error.to_string();
            if let What::File { source, .. } = &error.what {
                text.push_str(&format!(": {source}"));
            }
            text
        }
    }
}

/// Every key of every table, with the head of the table it stands in and what else must stand there.
fn every_key() -> Vec<(String, &'static Key, &'static [Key])> {
    fn walk(
        keys: &'static [Key],
        path: &str,
        many: bool,
        all: &mut Vec<(String, &'static Key, &'static [Key])>,
    ) {
        let head = match (path, many) {
            ("", _) => String::new(),
            (path, true) => format!("[[{path}]]\n"),
            (path, false) => format!("[{path}]\n"),
        };
        for key in keys {
            let at = match path {
                "" => key.name.to_owned(),
                path => format!("{path}.{}", key.name),
            };
            match key.kind {
                Kind::Table(keys) => walk(keys, &at, false, all),
                Kind::Tables(keys) => walk(keys, &at, true, all),
                _ => all.push((head.clone(), key, keys)),
            }
        }
    }
    let mut all = Vec::new();
    walk(RECIPE, "", false, &mut all);
    all
}

/// What has to stand beside a key, so that the table is whole.
fn beside_it(head: &str, key: &str) -> String {
    let needed: &[&str] = match (head, key) {
        ("[[repository]]\n", _) => &["uri", "suites"],
        ("[[preferences]]\n", "text" | "file") => &["name"],
        ("[[preferences]]\n", _) => &["name", "text"],
        ("[sources.client]\n", _) => &["certificate"],
        ("[settings.keyboard]\n", _) => &["layout"],
        ("[[settings.user]]\n", _) => &["name"],
        ("[[output]]\n", _) => &["path"],
        ("[[hook]]\n", "run" | "script") => &[],
        ("[[hook]]\n", "to") => &["upload"],
        ("[[hook]]\n", "copy-in" | "copy-out" | "tar-in" | "tar-out" | "upload" | "download") => {
            &["to"]
        }
        ("[[hook]]\n", _) => &["run"],
        _ => &[],
    };
    let value = |name: &&str| match *name {
        "uri" => "uri = \"http://x\"\n".to_owned(),
        "suites" => "suites = [\"s\"]\n".to_owned(),
        name => format!("{name} = \"other\"\n"),
    };
    needed
        .iter()
        .filter(|name| **name != key)
        .map(value)
        .collect()
}

#[test]
fn every_key_is_read_and_changes_what_is_made() {
    for (head, key, _) in every_key() {
        if key.name == "extends" {
            continue;
        }
        let distro = match key.name {
            "distro" => "distro = \"ubuntu\"\n",
            _ => "distro = \"debian\"\n",
        };
        let around = beside_it(&head, key.name);
        // Of two values that may stand there, the example is one.
        let without = match (head.as_str(), key.name) {
            ("", "distro") => distro.to_owned(),
            ("[[hook]]\n" | "[[repository]]\n" | "[[preferences]]\n" | "[[output]]\n", _)
            | ("[sources.client]\n" | "[settings.keyboard]\n" | "[[settings.user]]\n", _) => {
                let own = match key.name {
                    "suites" => "suites = [\"t\"]\n".to_owned(),
                    "uri" => "uri = \"http://y\"\n".to_owned(),
                    "name" | "path" | "certificate" | "layout" | "to" => {
                        format!("{} = \"z\"\n", key.name)
                    }
                    "text" => "text = \"z\"\n".to_owned(),
                    "file" => "text = \"z\"\n".to_owned(),
                    "copy-in" | "copy-out" | "tar-in" | "tar-out" | "upload" | "download" => {
                        "run = \"x\"\n".to_owned()
                    }
                    "run" | "script" => "run = \"other\"\n".to_owned(),
                    _ => String::new(),
                };
                let around = if own.starts_with("run") {
                    String::new()
                } else {
                    around.clone()
                };
                format!("{distro}{head}{around}{own}")
            }
            _ => distro.to_owned(),
        };
        let distro = if key.name == "distro" { "" } else { distro };
        let with = format!("{distro}{head}{around}{} = {}\n", key.name, key.example);
        let (with, without) = (
            one(&with).unwrap_or_else(|error| panic!("{with}: {error}")),
            one(&without).unwrap_or_else(|error| panic!("{without}: {error}")),
        );
        assert_ne!(with, without, "{head}{} is ignored", key.name);
    }
}

#[test]
fn the_schema_and_the_page_say_what_the_parser_takes() {
    let schema = json_schema();
    for (head, key, _) in every_key() {
        let mut at = &schema;
        let path = head.trim_matches(|c| "[]\n".contains(c));
        for part in path.split('.').filter(|part| !part.is_empty()) {
            let next = &at["properties"][part];
            at = if next["type"] == "array" {
                &next["items"]
            } else {
                next
            };
        }
        assert_eq!(at["additionalProperties"], Json::Bool(false), "{head}");
        let of = &at["properties"][key.name];
        let kind = match key.kind {
            Kind::Text | Kind::Path => "string",
            Kind::Bool => "boolean",
            Kind::Number => "integer",
            Kind::Texts | Kind::Paths => "array",
            Kind::Choice(words) => {
                assert_eq!(of["enum"].as_array().map(Vec::len), Some(words.len()));
                continue;
            }
            _ => continue,
        };
        assert_eq!(of["type"], kind, "{head}{}", key.name);
        // And what the schema says is a mistake is one to the parser.
        let wrong = if kind == "boolean" { "\"yes\"" } else { "true" };
        let text = format!("{head}{} = {wrong}\n", key.name);
        let error = refused(&text);
        let line = text.lines().count();
        assert!(
            error.starts_with(&format!("/r/web.toml:{line}:")),
            "{error}"
        );
        let unknown = refused(&format!("{head}{}x = {wrong}\n", key.name));
        assert!(unknown.contains("has no key"), "{unknown}");
    }
    let page = include_str!("../../../../../docs/recipe.md");
    assert!(
        page.contains(markdown().trim_end()),
        "docs/recipe.md must have this:\n{}",
        markdown()
    );
}

#[test]
fn words_are_those_of_the_types() {
    for (_, key, _) in every_key() {
        if let (Kind::Choice(words), "variant") = (key.kind, key.name) {
            let all: Vec<&str> = Variant::ALL.iter().map(|v| v.as_str()).collect();
            assert_eq!(words, all);
        }
    }
}

#[test]
fn mistakes_have_a_place_and_a_word() {
    for (text, says) in [
        (
            "distro = \"debian\"\ninclde = []\n",
            "web.toml:2:1: a recipe has no key \"inclde\"; did you mean \"include\"?",
        ),
        (
            "distro = \"debian\"\n[settings]\n  locale = []\n",
            "web.toml:3:3: [settings] has no key \"locale\"; did you mean \"locales\"?",
        ),
        (
            "distro = \"debian\"\nvariant = \"minbse\"\n",
            "web.toml:2:11: variant cannot be \"minbse\": there are custom",
        ),
        ("distro = debian\n", "web.toml:1:10: "),
        (
            "distro = \"debian\"\ninclude = [\"ok\", \"../x\"]\n",
            "web.toml:2:18: package",
        ),
        (
            "distro = \"debian\"\ninclude = [\"a=1 2\"]\n",
            "web.toml:2:12: include cannot be \"a=1 2\": that is no version",
        ),
        (
            "distro = \"debian\"\ninclude = \"a\"\n",
            "web.toml:2:11: include takes a list of strings, not a string",
        ),
        ("suite = \"x\"\n", "web.toml:1:1: distro is missing"),
        (
            "distro = \"debian\"\n[[hook]]\nrun = \"a\"\nscript = \"b\"\n",
            "web.toml:2:1: a hook does exactly one of",
        ),
        (
            "distro = \"debian\"\n[[hook]]\nstage = \"setup\"\n",
            "web.toml:2:1: a hook does exactly one of",
        ),
        (
            "distro = \"debian\"\n[[hook]]\nupload = \"a\"\n",
            "web.toml:2:1: to is missing",
        ),
        (
            "distro = \"debian\"\n[[hook]]\nupload = \"../a\"\nto = \"/a\"\n",
            "web.toml:3:10: \"../a\" leads out",
        ),
        (
            "distro = \"debian\"\n[[hook]]\nscript = \"absent\"\n",
            "cannot read \"/r/absent\": entity not found",
        ),
        (
            "distro = \"debian\"\n[[output]]\npath = \"a/../../b.tar\"\n",
            "leads out",
        ),
        (
            "distro = \"debian\"\npaths = [\"/usr/share/doc\"]\n",
            "web.toml:2:10: paths cannot be",
        ),
        (
            "distro = \"debian\"\n[[settings.user]]\nname = \"a\"\nuid = -1\n",
            "web.toml:4:7: uid takes a number",
        ),
        (
            "distro = \"debian\"\n[sources]\nsnapshot = 2026-01-01\n",
            "web.toml:3:12: snapshot takes a date",
        ),
        (
            "distro = \"debian\"\n[settings]\npreseed-files = [\"binary\"]\n",
            "web.toml:3:18: the file that is named here is no text",
        ),
        (
            "distro = \"debian\"\n[[preferences]]\nname = \"x\"\n",
            "web.toml:2:1: exactly one of text and file",
        ),
        (
            "distro = \"debian\"\ndistro = \"ubuntu\"\n",
            "web.toml:2:1: ",
        ),
        ("\"\u{e9}\" = 1\n", "web.toml:1:1: a recipe has no key"),
    ] {
        let error = refused(text);
        assert!(error.contains(says), "{text}\n{error}\n{says}");
    }
}

#[test]
fn a_login_in_a_further_mirror_is_refused_and_not_shown() {
    let text = "distro = \"debian\"\n[sources]\nmirrors = [\"http://ana:geheim@h/debian\"]\n";
    let said = refused(text);
    assert!(
        said.contains("/r/web.toml:3:12") && said.contains("login"),
        "{said}"
    );
    assert!(!said.contains("geheim"), "{said}");
}

#[test]
fn what_is_more_specific_wins_and_lists_go_on() {
    let base = "distro = \"debian\"\nsuite = \"bookworm\"\ninclude = [\"a\"]\n[settings]\nhostname = \"base\"\ntimezone = \"UTC\"\n\
        [[settings.user]]\nname = \"ana\"\nuid = 1\n[[settings.user]]\nname = \"eva\"\n[[hook]]\nscript = \"one\"\n\
        [[output]]\npath = \"base.tar\"\n";
    let over = "extends = \"sub/base.toml\"\nsuite = \"trixie\"\ninclude = [\"b\"]\n[settings]\nhostname = \"web\"\n\
        [[settings.user]]\nname = \"ana\"\nuid = 2\n[[hook]]\nscript = \"two\"\n";
    let part = Part::parse(Path::new("/r/web.toml"), over).expect("a recipe");
    let (path, place) = part.extends().expect("a path").expect("one");
    assert_eq!(
        (path.as_path(), place.line),
        (Path::new("/r/sub/base.toml"), 1)
    );
    let made = recipe(&[("/r/web.toml", over), ("/r/sub/base.toml", base)]).expect("a recipe");
    assert_eq!(made.spec.suite.as_ref().map(|s| s.as_str()), Some("trixie"));
    let options = &made.spec.options;
    let names: Vec<String> = options.include.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        options.settings.hostname.as_ref().map(|h| h.as_str()),
        Some("web")
    );
    assert_eq!(options.settings.timezone.as_deref(), Some("UTC"));
    let users: BTreeMap<&str, Option<u32>> = options
        .settings
        .users
        .iter()
        .map(|user| (user.name.as_str(), user.uid))
        .collect();
    assert_eq!(users, BTreeMap::from([("ana", Some(2)), ("eva", None)]));
    assert_eq!(made.outputs, []);
    // Each path is beside the file it stands in.
    let scripts: Vec<String> = options
        .hooks
        .iter()
        .map(|hook| match &hook.action {
            HookAction::Inside { script, .. } => String::from_utf8_lossy(script).into_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(scripts, ["content of /r/sub/one", "content of /r/two"]);
}

#[test]
fn dates_are_seconds() {
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-31T12:00:00Z", 1_769_860_800),
        ("2024-02-29T23:59:59+01:00", 1_709_247_599),
        ("86400", 86_400),
    ] {
        let made = one(&format!(
            "distro = \"debian\"\n[sources]\nsnapshot = {text}\n"
        ));
        let made = made.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(made.spec.options.sources.snapshot, Some(seconds), "{text}");
    }
}
