//! What flags take down of a container's walls: each by its name, each refusal with what it gives away and what to type.

use corral_spec::Weaker;

use crate::Failure;
use crate::failure::ENGINE;

fn bad(message: impl std::fmt::Display) -> Failure {
    Failure::with_code(ENGINE, message)
}

/// A namespace's mode: its own (`own` are the words for that), or the host's.
pub(crate) fn namespace(
    flag: &str,
    mode: Option<&str>,
    own: &[&str],
    shared: Weaker,
) -> Result<Option<Weaker>, Failure> {
    match mode {
        None | Some("") => Ok(None),
        Some("host") => Ok(Some(shared)),
        Some(mode) if own.contains(&mode) => Ok(None),
        Some("shareable") if flag == "ipc" => {
            Err(bad("--ipc shareable: there is no container:NAME that could share it; leave the flag out"))
        }
        Some(mode) if mode.starts_with("container:") => Err(bad(format!(
            "--{flag} {mode}: whoever shares a namespace with a container shares its user namespace too, and its host ids \
             would have to outlive it; that is not supported yet: run the programs in one container, or name {flag}=host"
        ))),
        Some(mode) => Err(bad(format!("--{flag}: invalid mode {mode:?} ({}, host)", own.join(", ")))),
    }
}

/// `--privileged`, which counts only with its confirmation.
pub(crate) fn privileged(asked: Option<bool>, confirmed: Option<&str>) -> Result<Vec<Weaker>, Failure> {
    let host_root = match confirmed {
        None | Some("") => false,
        Some("host-root") => true,
        Some(other) => {
            return Err(bad(format!("--confirm-privileged={other}: there is no value but host-root")));
        }
    };
    match (asked.unwrap_or(false), confirmed) {
        (true, None) => Err(bad(
            "--privileged: the container would have every capability over its namespaces, no system call filter, nothing \
             of /proc and /sys covered, and setuid programs would count; a flaw in the kernel is all that is left between \
             it and the host. To run it so, type: --privileged --confirm-privileged; mostly one --cap-add or --device is \
             enough",
        )),
        (asked, _) => {
            let named = [(asked, Weaker::Privileged), (host_root, Weaker::HostRoot)];
            Ok(named.into_iter().filter(|(named, _)| *named).map(|(_, wall)| wall).collect())
        }
    }
}

/// What `--security-opt` asks for.
#[derive(Debug, Default)]
pub(crate) struct Security {
    /// The text of a seccomp profile.
    pub(crate) seccomp: Option<String>,
    pub(crate) weaker: Vec<Weaker>,
}

/// The options in their order, the later wins; what holds anyway is accepted, and what cannot be done refused.
pub(crate) fn security(options: &[String]) -> Result<Security, Failure> {
    let mut security = Security::default();
    for option in options {
        let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        let mut set = |wall: Weaker, down: bool| {
            security.weaker.retain(|named| *named != wall);
            security.weaker.extend(down.then_some(wall));
        };
        match (name, value) {
            ("no-new-privileges", "" | "true") => set(Weaker::NewPrivileges, false),
            ("no-new-privileges", "false") => set(Weaker::NewPrivileges, true),
            ("systempaths", "unconfined") => set(Weaker::SystemPaths, true),
            ("seccomp", "unconfined") => {
                set(Weaker::Unfiltered, true);
                security.seccomp = None;
            }
            ("seccomp", "builtin") => {
                set(Weaker::Unfiltered, false);
                security.seccomp = None;
            }
            ("seccomp", file) if !file.is_empty() => {
                set(Weaker::Unfiltered, false);
                let text = std::fs::read_to_string(file)
                    .map_err(|error| bad(format!("opening seccomp profile ({file}) failed: {error}")))?;
                security.seccomp = Some(text);
            }
            // Neither is set here, so that nothing is to be taken away.
            ("apparmor", "unconfined") | ("label", "disable") => {}
            ("apparmor" | "label", _) => {
                return Err(bad(format!(
                    "--security-opt {option}: {name} is not set by corral, and nothing of its walls needs it; leave the \
                     option out"
                )));
            }
            _ => {
                return Err(bad(format!(
                    "--security-opt {option} is known and not supported yet; there are no-new-privileges, seccomp and \
                     systempaths=unconfined"
                )));
            }
        }
    }
    Ok(security)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_what_they_take_down() {
        let check = |options: &[&str], expect: &str| {
            let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
            let said = match security(&options) {
                Ok(Security { weaker, .. }) => {
                    weaker.iter().map(|wall| wall.as_str()).collect::<Vec<_>>().join(",")
                }
                Err(failure) => failure.message().to_owned(),
            };
            assert!(said.contains(expect) && said.is_empty() == expect.is_empty(), "{options:?}: {said}");
        };
        check(&["no-new-privileges", "apparmor=unconfined", "label=disable", "seccomp=builtin"], "");
        check(&["no-new-privileges=false"], "new-privileges");
        check(&["no-new-privileges=false", "no-new-privileges"], "");
        check(&["seccomp=unconfined", "systempaths=unconfined"], "seccomp=unconfined,systempaths=unconfined");
        check(&["seccomp:unconfined", "seccomp=builtin"], "");
        check(&["apparmor=docker-default"], "apparmor is not set by corral");
        check(&["label=type:x"], "label is not set by corral");
        check(&["writable-cgroups=true"], "not supported yet");
    }

    #[test]
    fn privileged_wants_to_be_confirmed() {
        let check = |asked, confirmed, expect: Option<&[Weaker]>| {
            assert_eq!(privileged(asked, confirmed).ok().as_deref(), expect, "{asked:?} {confirmed:?}");
        };
        check(None, None, Some(&[]));
        check(Some(false), None, Some(&[]));
        check(Some(true), None, None);
        check(Some(true), Some(""), Some(&[Weaker::Privileged]));
        check(Some(true), Some("host-root"), Some(&[Weaker::Privileged, Weaker::HostRoot]));
        check(None, Some("host-root"), Some(&[Weaker::HostRoot]));
        check(Some(true), Some("yes"), None);
    }
}
