//! Maintainer scripts that do not run, and what can be said of them without running them.

use super::SkippedScript;
use super::deb::{Deb, Script};

/// Commands that scripts use, and what they are for.
const COMMANDS: [(&str, &str); 24] = [
    ("adduser", "makes a user"),
    ("useradd", "makes a user"),
    ("addgroup", "makes a group"),
    ("groupadd", "makes a group"),
    ("systemd-sysusers", "applies sysusers.d (done)"),
    ("systemd-tmpfiles", "applies tmpfiles.d (done)"),
    ("update-alternatives", "registers an alternative"),
    ("dpkg-divert", "diverts another package's file"),
    ("dpkg-statoverride", "changes a file's owner or mode"),
    ("dpkg-maintscript-helper", "moves files of older versions"),
    ("deb-systemd-helper", "enables a service"),
    ("deb-systemd-invoke", "starts a service"),
    ("update-rc.d", "enables a service"),
    ("invoke-rc.d", "starts a service"),
    ("db_get", "reads answers of debconf"),
    ("db_input", "asks questions by debconf"),
    ("ucf", "installs a configuration file"),
    ("py3compile", "compiles Python modules"),
    ("ldconfig", "writes ld.so.cache (done)"),
    ("update-ca-certificates", "writes the CA bundle (done)"),
    ("chown", "changes owners"),
    ("chmod", "changes modes"),
    ("mkdir", "makes a directory"),
    ("ln", "makes a link"),
];

/// The scripts of a package that an installation would have run.
pub(super) fn skipped(package: &str, deb: &Deb) -> Vec<SkippedScript> {
    let skip = |(script, text): &Script| SkippedScript {
        package: package.to_owned(),
        script,
        summary: summary(text),
    };
    deb.scripts.iter().map(skip).collect()
}

/// What the commands of a script are for; empty if none is known.
fn summary(script: &str) -> String {
    let code = script.lines().map(|line| line.split(" #").next().unwrap_or_default().trim_start());
    let code = code.filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let words: Vec<&str> = code
        .split(|c: char| c.is_whitespace() || ";|&()`\"'$".contains(c))
        .map(|word| word.rsplit('/').next().unwrap_or(word))
        .collect();
    let mut told: Vec<&str> = Vec::new();
    for (command, purpose) in COMMANDS {
        if words.contains(&command) && !told.contains(&purpose) {
            told.push(purpose);
        }
    }
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_scripts_do() {
        for (script, expect) in [
            ("#!/bin/sh\nset -e\n# adduser\ntrue # ln\n", ""),
            (
                "if [ -x /usr/sbin/adduser ]; then\n  adduser --system x\nfi\nchown x:x /var/lib/x",
                "makes a user, changes owners",
            ),
            ("DPKG=1; update-rc.d x defaults && deb-systemd-helper enable x", "enables a service"),
            ("myadduser; echo relink", ""),
        ] {
            assert_eq!(summary(script), expect, "{script}");
        }
    }
}
