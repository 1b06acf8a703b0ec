//! process.apparmorProfile, process.selinuxLabel: what the security module is told. One that the kernel does not run
//! protects nobody, so a label for it is refused.

use std::fs;
use std::path::Path;

use corral_runtime::bundle::Label;

use crate::Error;
use crate::config::{Config, Process};

/// Whether the kernel enforces SELinux.
pub(crate) fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.trim() == "Y")
}

/// Leaves out what no module of this kernel would read.
pub(crate) fn drop_unknown(config: &mut Config) {
    let process = config.process.as_mut();
    if !has_selinux() {
        config.linux.mount_label.clear();
    }
    if let Some(process) = process {
        if !has_selinux() {
            process.selinux_label.clear();
        }
        if !has_apparmor() {
            process.apparmor_profile.clear();
        }
    }
}

/// What is written before the program starts.
pub(crate) fn of(process: &Process) -> Result<Vec<Label>, Error> {
    let mut labels = Vec::new();
    let (profile, label) = (process.apparmor_profile.as_str(), process.selinux_label.as_str());
    match (profile, has_apparmor()) {
        ("", _) | ("unconfined", false) => {}
        (_, false) => {
            return Err(Error::unsupported(
                format!("process.apparmorProfile {profile:?}"),
                "this host's kernel does not run AppArmor; leave it out",
            ));
        }
        (_, true) => {
            // Since Linux 5.8; before, the module that is in charge has the common file.
            let own = Path::new("/proc/self/attr/apparmor/exec").exists();
            let file = if own { "apparmor/exec" } else { "exec" };
            labels.push(Label { file, text: format!("exec {profile}") });
        }
    }
    match (label, has_selinux()) {
        ("", _) => Ok(labels),
        (_, false) => Err(Error::unsupported(
            "process.selinuxLabel",
            "this host's kernel does not enforce SELinux; leave it out",
        )),
        (_, true) => {
            labels.push(Label { file: "exec", text: label.to_owned() });
            Ok(labels)
        }
    }
}
