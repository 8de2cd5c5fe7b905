//! `uwsgi` for what it does with namespaces: `--namespace` and its kin put the program into a jail, `--emperor` is
//! `jaula emperor`. Everything else is the jail's own uWSGI's.

use super::Face;
use super::tool::{self, Tool};
use jaula_plan::emperor::{App, lines};
use jaula_plan::names::HostName;
use std::ffi::OsString;
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "uwsgi",
    of: "uWSGI 2.0: namespaces and the emperor",
    run,
};

const HELP: &str = "\
Usage: uwsgi --namespace ROOT[:HOST] [OPTION]...
   or: uwsgi --emperor DIR [--emperor-freq SECONDS] [--emperor-stats ADDR:PORT]

--namespace ROOT[:HOST]            run the uwsgi that is in ROOT there, in namespaces of its own, HOST its host name
--namespace-keep-mount SRC[:DST]   show SRC of the host in it
--namespace-net                    no network either
--emperor DIR                      keep an app running for each .ini of DIR, each in namespaces of its own

Every other option is for that uwsgi.
";

/// What the emperor does anyway: every app has namespaces of its own.
const DONE: [&str; 3] = ["emperor-use-clone", "master", "emperor-nofollow"];

fn run(words: &[OsString]) -> ExitCode {
    let tool = Tool::new("uwsgi", 1);
    let mut texts = Vec::new();
    for word in words {
        match word.to_str() {
            Some(word) => texts.push(word.to_owned()),
            None => return tool.fail(format_args!("{word:?} is no text"), 0),
        }
    }
    if texts.is_empty() || texts.iter().any(|word| word == "--help" || word == "-h") {
        return tool::show(HELP);
    }
    let asked = match texts.iter().any(|word| key(word) == "emperor") {
        true => emperor(&texts),
        false => jail(&texts),
    };
    match asked {
        Ok(words) => {
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            ExitCode::from(crate::cmd::dispatch(&words))
        }
        Err(why) => tool.fail(why, 0),
    }
}

/// The name of a long option.
fn key(word: &str) -> &str {
    let long = word.strip_prefix("--").unwrap_or_default();
    long.split_once('=').map_or(long, |(key, _)| key)
}

/// As words of `jaula emperor`.
fn emperor(texts: &[String]) -> Result<Vec<String>, String> {
    let mut words = vec!["emperor".to_owned()];
    let mut dirs = 0u32;
    let mut all = texts.iter();
    while let Some(word) = all.next() {
        let key = key(word);
        if DONE.contains(&key) {
            if key == "emperor-use-clone" && !word.contains('=') {
                all.next();
            }
            continue;
        }
        let mut value = || match word.split_once('=') {
            Some((_, value)) => Ok(value.to_owned()),
            None => all
                .next()
                .cloned()
                .ok_or_else(|| format!("option '{word}' requires an argument")),
        };
        match key {
            "emperor" => {
                dirs = dirs.saturating_add(1);
                words.insert(1, value()?);
            }
            "emperor-freq" => words.push(format!("--freq={}s", value()?)),
            "emperor-stats" | "emperor-stats-server" => {
                let value = value()?;
                words.push(match value.strip_prefix(':') {
                    Some(port) => format!("--stats=0.0.0.0:{port}"),
                    None => format!("--stats={value}"),
                });
            }
            _ => {
                return Err(format!(
                    "unrecognized option '{word}': jaula emperor --help lists what there is"
                ));
            }
        }
    }
    match dirs {
        1 => Ok(words),
        _ => Err("one directory is reigned over at a time".to_owned()),
    }
}

/// As words of `jaula run`.
fn jail(texts: &[String]) -> Result<Vec<String>, String> {
    const NAMESPACE: [&str; 2] = ["namespace", "ns"];
    if !texts.iter().any(|word| NAMESPACE.contains(&key(word))) {
        let file = texts.iter().find(|word| {
            let text = std::fs::read_to_string(word).unwrap_or_default();
            word.ends_with(".ini")
                && lines(&text, &NAMESPACE).is_ok_and(|lines| !lines.taken.is_empty())
        });
        return Err(match file {
            Some(file) => format!("{file} asks for a namespace: jaula emperor runs such files"),
            None => "without --namespace and --emperor there is nothing to do here".to_owned(),
        });
    }
    let host: HostName = "uwsgi".parse().map_err(|error| format!("{error}"))?;
    let app = App::of_arguments(texts, &host).map_err(|error| error.to_string())?;
    let mut words = vec!["run".to_owned()];
    words.extend(app.options);
    words.extend(app.root);
    words.push("--".to_owned());
    words.extend(app.command);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn an_emperor_is_ours() {
        let line = "--master --emperor /etc/v --emperor-use-clone fs,net,ipc,uts,pid --emperor-freq=3 --emperor-stats :5005";
        let found = emperor(&words(line)).expect("words");
        assert_eq!(
            found,
            words("emperor /etc/v --freq=3s --stats=0.0.0.0:5005")
        );
        assert!(emperor(&words("--emperor /a --emperor /b")).is_err());
        assert!(emperor(&words("--emperor")).is_err());
        assert!(emperor(&words("--emperor /a --emperor-tyrant")).is_err());
    }

    #[test]
    fn a_namespace_is_a_jail() {
        let found = jail(&words("--ns /j:h --http :80")).expect("words");
        let line = "run --as-pid-1 --hostname=h --net=host --write /j/ -- uwsgi --http :80";
        assert_eq!(found, words(line));
        assert!(jail(&words("--http :80")).is_err());
    }
}
