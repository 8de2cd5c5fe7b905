//! uWSGI's configuration files in ini form: what jaula does itself is taken out, the rest is uWSGI's.

/// A key of the section `[uwsgi]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which line of the file, from 1.
    pub number: usize,
    /// The key.
    pub key: String,
    /// What is behind `=`; `true` where there is none.
    pub value: String,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// The keys that were asked for, in order.
    pub taken: Vec<Line>,
    /// The file without them, line by line as it was.
    pub rest: String,
}

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IniError {
    /// It has no section of uWSGI's.
    #[error("there is no section [uwsgi]")]
    NoSection,
    /// A line outside of all sections.
    #[error("line {0} stands before any section")]
    Outside(usize),
    /// A section that does not end.
    #[error("line {0} begins a section without ]")]
    Section(usize),
}

/// Takes some keys out of the section `[uwsgi]`. Comments begin with `;` or `#`, as uWSGI reads them.
///
/// # Errors
/// [`IniError`].
pub fn lines(text: &str, wanted: &[&str]) -> Result<Lines, IniError> {
    let (mut section, mut found) = (None, false);
    let mut out = Lines {
        taken: Vec::new(),
        rest: String::with_capacity(text.len()),
    };
    for (number, whole) in (1..).zip(text.split_inclusive('\n')) {
        let line = whole.trim();
        if let Some(name) = line.strip_prefix('[') {
            let name = name.strip_suffix(']').ok_or(IniError::Section(number))?;
            found |= name == "uwsgi";
            section = Some(name == "uwsgi");
        } else if !line.is_empty() && !line.starts_with([';', '#']) {
            let uwsgi = section.ok_or(IniError::Outside(number))?;
            let (key, value) = line.split_once('=').unwrap_or((line, "true"));
            let (key, value) = (key.trim(), value.trim());
            if uwsgi && wanted.contains(&key) {
                out.taken.push(Line {
                    number,
                    key: key.to_owned(),
                    value: value.to_owned(),
                });
                // The lines that follow keep their numbers.
                out.rest.push('\n');
                continue;
            }
        }
        out.rest.push_str(whole);
    }
    match found {
        true => Ok(out),
        false => Err(IniError::NoSection),
    }
}
