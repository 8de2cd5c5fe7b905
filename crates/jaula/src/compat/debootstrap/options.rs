//! debootstrap's words: read one after the other, as its script does, and refused at the first that makes no sense.
//! There are no abbreviations, and options end at the first word that is none.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// A base system.
    Install,
    /// Its packages unpacked, to be configured where they can run.
    Foreign,
    /// What is left to do of that.
    SecondStage,
    /// The names of the packages.
    PrintDebs,
    /// The packages in the target, and no more.
    Download,
    /// The packages in an archive.
    MakeTarball(PathBuf),
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What to do.
    pub work: Work,
    /// `--arch`
    pub arch: Option<String>,
    /// `--variant`
    pub variant: String,
    /// `--include`
    pub include: Vec<String>,
    /// `--exclude`
    pub exclude: Vec<String>,
    /// `--components`
    pub components: Vec<String>,
    /// `--extra-suites`
    pub extra_suites: Vec<String>,
    /// `--merged-usr`, `--no-merged-usr`
    pub merged_usr: Option<bool>,
    /// `--keyring`
    pub keyring: Option<PathBuf>,
    /// `--no-check-gpg`
    pub unchecked: bool,
    /// `--force-check-gpg`
    pub checked: bool,
    /// `--unpack-tarball`
    pub tarball: Option<PathBuf>,
    /// `--cache-dir`
    pub cache: Option<PathBuf>,
    /// `--no-resolve-deps`
    pub alone: bool,
    /// `--log-extra-deps`
    pub log_extra: bool,
    /// `--keep-debootstrap-dir`
    pub keep: bool,
    /// `--certificate`, `--private-key`
    pub certificate: Option<PathBuf>,
    /// See `certificate`.
    pub private_key: Option<PathBuf>,
    /// `--verbose`
    pub verbose: bool,
    /// `--second-stage-target`
    pub second_stage_target: Option<PathBuf>,
    /// The words after the options.
    pub operands: Vec<String>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            work: Work::Install,
            arch: None,
            variant: String::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            components: vec!["main".to_owned()],
            extra_suites: Vec::new(),
            merged_usr: None,
            keyring: None,
            unchecked: false,
            checked: false,
            tarball: None,
            cache: None,
            alone: false,
            log_extra: false,
            keep: false,
            certificate: None,
            private_key: None,
            verbose: false,
            second_stage_target: None,
            operands: Vec::new(),
        }
    }
}

/// Why nothing is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// Words that make no sense, in the script's words.
    Error(String),
}

/// Options with an argument: the next word, or behind an equals sign. Neither may be empty.
const VALUED: [&str; 15] = [
    "--second-stage-target",
    "--make-tarball",
    "--arch",
    "--extractor",
    "--unpack-tarball",
    "--include",
    "--exclude",
    "--extra-suites",
    "--components",
    "--variant",
    "--cache-dir",
    "--keyring",
    "--certificate",
    "--private-key",
    "--inrelease-path",
];

/// What the words of an option's list are parted by.
fn list(value: &str) -> Vec<String> {
    value
        .split([',', ' '])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Whether two options that each say what to do may stand together.
struct Doing(Option<String>);

impl Doing {
    /// # Errors
    /// The script's words.
    fn take(&mut self, word: &str) -> Result<(), Stop> {
        let stem = |word: &str| word.split('=').next().unwrap_or(word).to_owned();
        if let Some(before) = &self.0 {
            let pair = [stem(before), stem(word)];
            let loose = pair.contains(&"--foreign".to_owned())
                && pair.contains(&"--unpack-tarball".to_owned());
            if !loose {
                return Err(Stop::Error(format!(
                    "{before} is specified with {word}, please use only one of those options."
                )));
            }
        }
        self.0 = Some(word.to_owned());
        Ok(())
    }
}

/// Reads the words after the name.
///
/// # Errors
/// [`Stop`], at the first word that asks for it.
pub fn read(words: &[OsString]) -> Result<Asked, Stop> {
    let mut asked = Asked::default();
    let mut doing = Doing(None);
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut left = words.as_slice();
    while let Some((word, rest)) = left.split_first() {
        if !word.starts_with('-') {
            break;
        }
        left = rest;
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        if VALUED.contains(&name) {
            let value = match attached {
                Some("") => return Err(unknown(word)),
                Some(value) => value,
                None => match left.split_first() {
                    Some((value, rest)) if !value.is_empty() => {
                        // A tarball that is not there is complained of before the next word is read.
                        left = rest;
                        value.as_str()
                    }
                    _ => {
                        let colon = if name == "--second-stage-target" {
                            ":"
                        } else {
                            ""
                        };
                        if name == "--second-stage-target" {
                            second_stage(&asked, word)?;
                        }
                        return Err(Stop::Error(format!(
                            "option requires an argument{colon} {word}"
                        )));
                    }
                },
            };
            valued(&mut asked, &mut doing, name, word, value)?;
            continue;
        }
        match word.as_str() {
            "--help" => return Err(Stop::Help),
            "--version" => return Err(Stop::Version),
            "--debian-installer" => {
                return Err(Stop::Error(
                    "If running debootstrap by hand, don't use --debian-installer".to_owned(),
                ));
            }
            "--foreign" => {
                doing.take(word)?;
                asked.work = Work::Foreign;
            }
            "--second-stage" => {
                doing.take(word)?;
                asked.work = Work::SecondStage;
            }
            "--print-debs" => {
                doing.take(word)?;
                asked.work = Work::PrintDebs;
            }
            "--download-only" => {
                doing.take(word)?;
                asked.work = Work::Download;
            }
            "--resolve-deps" => asked.alone = false,
            "--no-resolve-deps" => asked.alone = true,
            "--log-extra-deps" => asked.log_extra = true,
            "--keep-debootstrap-dir" => asked.keep = true,
            "--verbose" => asked.verbose = true,
            "--merged-usr" => asked.merged_usr = Some(true),
            "--no-merged-usr" => asked.merged_usr = Some(false),
            "--no-check-gpg" => asked.unchecked = true,
            "--force-check-gpg" => asked.checked = true,
            "--no-check-certificate" => {
                return Err(Stop::Error(format!(
                    "{word} is refused: whoever answers could be anybody; put the server's authority among this \
                     host's certificates instead"
                )));
            }
            _ => return Err(unknown(word)),
        }
    }
    asked.operands = left.to_vec();
    if asked.unchecked && asked.checked {
        return Err(Stop::Error(
            "Both --no-check-gpg and --force-check-gpg specified, please pick one (at most)"
                .to_owned(),
        ));
    }
    Ok(asked)
}

fn unknown(word: &str) -> Stop {
    Stop::Error(format!("unrecognized or invalid option {word}"))
}

fn second_stage(asked: &Asked, word: &str) -> Result<(), Stop> {
    if asked.work == Work::SecondStage {
        return Ok(());
    }
    Err(Stop::Error(format!(
        "option {word} only applies in the second stage"
    )))
}

fn valued(
    asked: &mut Asked,
    doing: &mut Doing,
    name: &str,
    word: &str,
    value: &str,
) -> Result<(), Stop> {
    let path = || Some(PathBuf::from(value));
    match name {
        "--second-stage-target" => {
            second_stage(asked, word)?;
            asked.second_stage_target = path();
        }
        "--make-tarball" => {
            doing.take(word)?;
            asked.work = Work::MakeTarball(PathBuf::from(value));
        }
        "--unpack-tarball" => {
            doing.take(word)?;
            if !Path::new(value).is_file() {
                return Err(Stop::Error(format!("{value}: No such file or directory")));
            }
            asked.tarball = path();
        }
        "--arch" => asked.arch = Some(value.to_owned()),
        // Packages are opened by a reader of our own, whatever the host has.
        "--extractor" if matches!(value, "dpkg-deb" | "ar") => {}
        "--extractor" => return Err(Stop::Error(format!("{value}: unknown extractor"))),
        "--include" => asked.include = list(value),
        "--exclude" => asked.exclude = list(value),
        "--extra-suites" => asked.extra_suites = list(value),
        "--components" => asked.components = list(value),
        "--variant" => asked.variant = value.to_owned(),
        "--cache-dir" => {
            if !value.starts_with('/') {
                return Err(Stop::Error(
                    "cache directory should be specified with an absolute path".to_owned(),
                ));
            }
            if !Path::new(value).is_dir() {
                return Err(Stop::Error(format!("{value}: No such directory")));
            }
            asked.cache = path();
        }
        "--keyring" => {
            if !Path::new(value).exists() {
                return Err(Stop::Error(format!(
                    "specified keyring file ({value}) not found"
                )));
            }
            asked.keyring = path();
        }
        "--certificate" => asked.certificate = path(),
        "--private-key" => asked.private_key = path(),
        _ => {
            return Err(Stop::Error(format!(
                "{name} is refused: the index is looked for where every archive has it"
            )));
        }
    }
    Ok(())
}

/// `--help`, with the name as it was called.
pub fn help(name: &str) -> String {
    format!(
        "Usage: {name} [OPTION]... <suite> <target> [<mirror> [<script>]]\n\
         Make a Debian base system in a target directory.\n\n{OPTIONS}"
    )
}

const OPTIONS: &str = "\
      --help                 print this and exit
      --version              print the version and exit
      --verbose              also say what the packages' scripts say

      --download-only        fetch the packages into the target and install nothing
      --print-debs           print the packages that would be installed, and exit

      --arch=A               the architecture of the packages
      --include=A,B,C        also install these packages
      --exclude=A,B,C        do not install these
      --extra-suites=A,B,C   also take packages from these suites of the archive
      --components=A,B,C     take packages from these components (main)
      --variant=X            which packages: minbase, buildd, fakechroot or - (the default)
      --merged-usr           /bin, /sbin and /lib are links into /usr (as the suite has it)
      --no-merged-usr        they are not
      --keyring=K            check signatures by the keys in this file
      --no-check-gpg         do not check signatures
      --force-check-gpg      check them (the default: nothing is used that nobody signed)
      --no-resolve-deps      only what is named: what needs more will not be configured
      --log-extra-deps       say which packages were added because others need them
      --cache-dir=DIR        keep packages in this directory too, and take them from there

      --foreign              unpack only, for an architecture that does not run here
      --second-stage         finish what --foreign began
      --second-stage-target=DIR
                             ... in this directory instead of /
      --unpack-tarball=T     take the packages from an archive of --make-tarball
      --make-tarball=T       fetch the packages into an archive and install nothing
      --keep-debootstrap-dir leave the directory debootstrap in the target
      --extractor=TYPE       without effect
      --certificate=FILE     the certificate to show to servers (PEM)
      --private-key=FILE     its key (PEM)
";

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Result<Asked, Stop> {
        let words: Vec<OsString> = line
            .split(' ')
            .filter(|w| !w.is_empty())
            .map(OsString::from)
            .collect();
        read(&words)
    }

    #[test]
    fn options_end_at_the_first_other_word() {
        let asked =
            said("--arch=i386 --include a,b --variant minbase sid /t --foreign").expect("sound");
        assert_eq!(asked.arch.as_deref(), Some("i386"));
        assert_eq!(
            (asked.include.len(), asked.variant.as_str()),
            (2, "minbase")
        );
        assert_eq!(asked.operands, ["sid", "/t", "--foreign"]);
        assert_eq!(asked.work, Work::Install);
    }

    #[test]
    fn words_without_sense_are_complained_of_as_the_script_does() {
        let cases = [
            ("--bogus", "unrecognized or invalid option --bogus"),
            ("--arch=", "unrecognized or invalid option --arch="),
            ("--inc a", "unrecognized or invalid option --inc"),
            ("--arch", "option requires an argument --arch"),
            (
                "--foreign --print-debs",
                "--foreign is specified with --print-debs, please use only one of those options.",
            ),
            (
                "--second-stage-target /x",
                "option --second-stage-target only applies in the second stage",
            ),
            (
                "--cache-dir x",
                "cache directory should be specified with an absolute path",
            ),
            (
                "--keyring /nowhere",
                "specified keyring file (/nowhere) not found",
            ),
            ("--extractor zip", "zip: unknown extractor"),
            (
                "--no-check-gpg --force-check-gpg a b",
                "Both --no-check-gpg and --force-check-gpg specified, please pick one (at most)",
            ),
        ];
        for (line, text) in cases {
            assert_eq!(said(line), Err(Stop::Error(text.to_owned())), "{line}");
        }
        assert_eq!(said("--help --bogus"), Err(Stop::Help));
        assert_eq!(said("--version"), Err(Stop::Version));
    }
}
