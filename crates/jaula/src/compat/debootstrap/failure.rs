//! The engine's errors in debootstrap's words, where scripts know them.

use super::request::Request;
use super::voice::Voice;
use crate::compat::making;
use jaula_engine::EngineError;
use jaula_engine::configure::ConfigureError;
use jaula_engine::export::ExportError;
use jaula_engine::fetch::FetchError;
use jaula_engine::image::{BuildError, Mismatch};
use jaula_engine::unpack::UnpackError;
use jaula_engine::words::{Rejection, SolveError, VerifyError};
use jaula_plan::rootfs::SourcesError;

/// Says why it failed.
pub fn tell(error: &EngineError, request: &Request, target: &str, voice: &Voice) {
    match error {
        EngineError::Build(error) if told(error, request, voice) => return,
        EngineError::Export(ExportError::Inert { .. }) => {
            return voice.error(&format!(
                "Cannot install into target '{target}' mounted with noexec or nodev"
            ));
        }
        EngineError::Export(ExportError::Clash { path }) => {
            voice.error("Tried to extract package, but file already exists. Exit...");
            return voice.more(&format!("   {}", path.display()));
        }
        _ => {}
    }
    let lines = making::lines(error);
    if let Some((first, hints)) = lines.split_first() {
        voice.error(first);
        hints
            .iter()
            .for_each(|hint| voice.more(&format!("   {hint}")));
    }
}

fn told(error: &BuildError, request: &Request, voice: &Voice) -> bool {
    match error {
        BuildError::Signature { source, .. } => return signature(source, request, voice),
        BuildError::Mismatch { url, what } => match what {
            Mismatch::Suite {
                asked,
                suite,
                codename,
            } => {
                let word = |name: &Option<String>| name.clone().unwrap_or_default();
                voice.error(&format!(
                    "Asked to install suite {asked}, but got {} (codename: {}) from mirror",
                    word(suite),
                    word(codename)
                ));
            }
            Mismatch::Arch { arch, .. } => {
                let component = request.spec.options.sources.components.first();
                let component = component.map_or_else(|| "main".to_owned(), ToString::to_string);
                voice.error(&format!(
                    "Invalid Release file, no entry for {component}/binary-{arch}/Packages"
                ));
            }
            Mismatch::Component {
                component,
                arch,
                known,
            } => {
                voice.error(&format!(
                    "Invalid Release file, no entry for {component}/binary-{arch}/Packages"
                ));
                voice.more(&format!("   The components are {}", known.join(", ")));
            }
            Mismatch::Absent { base, .. } => {
                voice.error(&format!("Failed getting release file {base}/Release"));
            }
            Mismatch::Other(_) if url.ends_with("/Release") => {
                voice.error(&format!("Failed getting release signature file {url}.gpg"));
            }
            Mismatch::Other(_) => return false,
        },
        BuildError::Sources(SourcesError::ForeignArch { .. }) => {
            voice.error("Unable to execute target architecture");
            voice.more("   --foreign unpacks it, to be finished where it runs");
        }
        BuildError::Solve(SolveError::Unknown(names)) => {
            let list: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
            voice.error(&format!("Couldn't find these debs: {}", list.join(" ")));
            for name in names.iter().filter(|name| !name.nearest.is_empty()) {
                voice.more(&format!(
                    "   {} may be {}",
                    name.name,
                    name.nearest.join(" or ")
                ));
            }
        }
        BuildError::Fetch(
            FetchError::Altered { url, .. }
            | FetchError::Truncated { url, .. }
            | FetchError::TooLarge { url, .. },
        ) => {
            voice.warning(&format!("{url} was corrupt"));
            voice.error(&format!("Couldn't download packages: {}", package_of(url)));
        }
        BuildError::Fetch(FetchError::NotFound { url }) if url.ends_with(".deb") => {
            voice.error(&format!("Couldn't download packages: {}", package_of(url)));
        }
        BuildError::Unpack(UnpackError::Altered { package, .. }) => {
            voice.warning(&format!("{package} was corrupt"));
            voice.error(&format!("Couldn't download packages: {package}"));
        }
        BuildError::Configure(error) => {
            voice.warning("Failure while configuring required packages.");
            let package = match error {
                ConfigureError::Preinst { package, .. }
                | ConfigureError::Configure { package, .. } => Some(package),
                _ => None,
            };
            let fault = package
                .filter(|package| !package.is_empty())
                .map(|package| format!(" (possibly the package {package} is at fault)"))
                .unwrap_or_default();
            voice.error(&format!("{}{fault}", making::line(error)));
        }
        _ => return false,
    }
    true
}

fn signature(error: &VerifyError, request: &Request, voice: &Voice) -> bool {
    let VerifyError::NoGoodSignature { rejected } = error else {
        return false;
    };
    let key = |key: &str| key.trim_start_matches("0x").to_uppercase();
    if let Some(bad) = rejected.iter().find(|r| r.why == Rejection::BadSignature) {
        voice.error(&format!(
            "Invalid Release signature (key id {})",
            key(&bad.key)
        ));
        return true;
    }
    if let Some(unknown) = rejected.iter().find(|r| r.why == Rejection::UnknownKey) {
        voice.error(&format!(
            "Release signed by unknown key (key id {})",
            key(&unknown.key)
        ));
        voice.more(&format!(
            "   The specified keyring {} may be incorrect or out of date.",
            request.keyring.display()
        ));
        voice.more("   You can find the latest Debian release key at https://ftp-master.debian.org/keys.html");
        return true;
    }
    false
}

/// The package that an address of one names.
fn package_of(url: &str) -> &str {
    let file = url.rsplit('/').next().unwrap_or(url);
    file.split('_').next().unwrap_or(file)
}
