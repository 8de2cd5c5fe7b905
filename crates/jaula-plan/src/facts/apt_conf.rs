//! Proxies in apt.conf(5): the only part of it that says how packages are to be fetched from here.

/// The deepest nesting of blocks.
const MAX_DEPTH: usize = 64;

/// Which proxy is for what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyRules {
    /// Scheme, host (empty: every host), proxy (none: the host is asked directly). A later one goes before.
    rules: Vec<(String, String, Option<String>)>,
}

impl ProxyRules {
    /// Reads the text of one file; what is said again takes the place of what was said before.
    pub fn read(&mut self, text: &str) {
        for (key, value) in settings(text) {
            let parts: Vec<&str> = key.split("::").collect();
            let (scheme, host) = match parts.as_slice() {
                ["acquire", scheme, "proxy"] => (*scheme, ""),
                ["acquire", scheme, "proxy", host] => (*scheme, *host),
                _ => continue,
            };
            let direct = ["", "direct", "false"].contains(&value.to_ascii_lowercase().as_str());
            let rule = (
                scheme.to_owned(),
                host.to_owned(),
                Some(value).filter(|_| !direct),
            );
            self.rules
                .retain(|(s, h, _)| (s.as_str(), h.as_str()) != (scheme, host));
            self.rules.push(rule);
        }
    }

    /// What is said of a host, or with an empty one of all; `https` has what `http` has where nothing else is said.
    pub fn of(&self, scheme: &str, host: &str) -> Option<Option<String>> {
        let find = |scheme: &str| {
            let rule = self.rules.iter().find(|(s, h, _)| s == scheme && h == host);
            rule.map(|(_, _, proxy)| proxy.clone())
        };
        find(scheme).or_else(|| find("http").filter(|_| scheme == "https"))
    }

    /// The hosts of which something is said.
    pub fn hosts(&self, scheme: &str) -> impl Iterator<Item = &str> {
        let also = if scheme == "https" { "http" } else { "" };
        let own = self
            .rules
            .iter()
            .filter(move |(s, h, _)| !h.is_empty() && (s == scheme || s == also));
        own.map(|(_, host, _)| host.as_str())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    End,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        let line_end = || rest.split_once('\n').map_or("", |(_, after)| after);
        rest = match c {
            c if c.is_whitespace() => after,
            '{' | '}' | ';' => {
                found.push(match c {
                    '{' => Token::Open,
                    '}' => Token::Close,
                    _ => Token::End,
                });
                after
            }
            // `#clear` and `#include` are for what apt does beyond fetching.
            '#' => line_end(),
            '/' if after.starts_with('/') => line_end(),
            '/' if after.starts_with('*') => after.split_once("*/").map_or("", |(_, rest)| rest),
            '"' => {
                let (word, rest) = after.split_once('"').unwrap_or((after, ""));
                found.push(Token::Word(word.to_owned()));
                rest
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || "{};\"".contains(c);
                let end = rest.find(ends).unwrap_or(rest.len());
                let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
                found.push(Token::Word(word.to_owned()));
                after
            }
        };
    }
    found
}

/// Keys in small letters, and values.
fn settings(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut blocks: Vec<String> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    for token in tokens(text) {
        match token {
            Token::Word(word) => words.push(word),
            Token::Open => {
                if blocks.len() >= MAX_DEPTH {
                    return found;
                }
                blocks.push(words.first().cloned().unwrap_or_default());
                words.clear();
            }
            Token::Close => {
                blocks.pop();
                words.clear();
            }
            Token::End => {
                if let [key, value, ..] = words.as_slice() {
                    let mut path = blocks.clone();
                    path.push(key.clone());
                    found.push((path.join("::").to_ascii_lowercase(), value.clone()));
                }
                words.clear();
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn proxies_are_found_in_every_way_of_writing() {
        let mut rules = ProxyRules::default();
        rules.read(
            "// Acquire::http::Proxy \"http://no:1\";\n# Acquire::http::Proxy \"http://no:2\";\n\
             /* Acquire::http::Proxy \"http://no:3\"; */\nAPT::Get \"1\";\n\
             acquire { http { Proxy \"http://cache:3142/\"; Proxy::local.example \"DIRECT\"; Timeout 3; }; };\n",
        );
        rules.read("Acquire::https::Proxy::other.example \"http://special:1\";\n");
        let some = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(rules.of("http", ""), some("http://cache:3142/"));
        assert_eq!(rules.of("https", ""), some("http://cache:3142/"));
        assert_eq!(rules.of("http", "local.example"), Some(None));
        assert_eq!(rules.of("http", "other.example"), None);
        assert_eq!(rules.of("https", "other.example"), some("http://special:1"));
        assert_eq!(rules.hosts("http").collect::<Vec<_>>(), ["local.example"]);
        assert_eq!(rules.hosts("https").count(), 2);
        rules.read("Acquire::http::Proxy \"false\";");
        assert_eq!(rules.of("http", ""), Some(None));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s)[a-z:{};\"#/* \n]{0,200}") {
            ProxyRules::default().read(&text);
        }
    }

    #[test]
    fn a_thousand_blocks_end() {
        let mut rules = ProxyRules::default();
        rules.read(&"a { ".repeat(100_000));
        assert_eq!(rules, ProxyRules::default());
    }
}
