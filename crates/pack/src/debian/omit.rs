//! Dependencies that exist only for maintainer scripts, or for what nobody imports.
//!
//! No maintainer script runs here, so what only such scripts need is left out; and NIS, which Python itself
//! dropped. The rule: an edge
//! `dependent -> dependency` is cut if the dependency (or, if the entry names one, this pair) is in the
//! table below or in [`Request::omit`](super::Request::omit), unless both come from the same source package (perl
//! without perl-base is no perl) or the dependency was asked for by name. Each cut edge stands in
//! the lock's `omitted`. A name that is not in the table is never left out.

/// `(dependent, dependency, why)`; `*` is every dependent.
pub(super) const LEFT_OUT: [(&str, &str, &str); 21] = [
    ("*", "dpkg", "registers files, alternatives and diversions"),
    ("*", "install-info", "indexes info pages, which are left out"),
    ("*", "debconf", "asks questions at installation"),
    ("*", "debconf-2.0", "asks questions at installation"),
    ("*", "cdebconf", "asks questions at installation"),
    ("*", "adduser", "makes users: declare them in `users`"),
    ("*", "ucf", "merges configuration files at upgrades"),
    ("*", "init-system-helpers", "registers services with the init system"),
    ("*", "lsb-base", "functions for init scripts, which nothing runs"),
    ("*", "sysvinit-utils", "functions for init scripts, which nothing runs"),
    ("*", "update-inetd", "registers services with inetd"),
    ("*", "systemd", "applies sysusers.d and tmpfiles.d, which is done here"),
    ("*", "systemd-standalone-sysusers", "applies sysusers.d, which is done here"),
    ("*", "systemd-sysusers", "applies sysusers.d, which is done here"),
    ("*", "systemd-tmpfiles", "applies tmpfiles.d, which is done here"),
    ("*", "perl-base", "scripts in Perl; a package of programs in Perl depends on perl"),
    ("ca-certificates", "openssl", "hashes the certificate directory; the bundle is made here"),
    ("base-files", "awk", "its postinst"),
    ("libpython3.11-stdlib", "libnsl2", "module nis (NIS, yp), dropped from Python in 3.13"),
    ("libpython3.11-stdlib", "libtirpc3", "module nis (NIS, yp), dropped from Python in 3.13"),
    ("tzdata", "tzdata-legacy", "renames an old time zone at an upgrade"),
];

/// Whether a dependency is left out.
pub(super) fn is_omitted(dependent: &str, dependency: &str, also: &[String]) -> bool {
    also.iter().any(|name| name == dependency)
        || LEFT_OUT.iter().any(|(from, to, _)| *to == dependency && (*from == "*" || *from == dependent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_what_the_table_names_and_no_more() {
        for (dependent, dependency, expect) in [
            ("tzdata", "debconf", true),
            ("ca-certificates", "openssl", true),
            ("nginx-common", "openssl", false),
            ("base-files", "awk", true),
            ("x11-common", "awk", false),
            ("postgresql-common", "perl", false),
            ("anything", "left-out", true),
        ] {
            let also = ["left-out".to_owned()];
            assert_eq!(is_omitted(dependent, dependency, &also), expect, "{dependent} -> {dependency}");
        }
    }

    #[test]
    fn the_documentation_lists_them_all() {
        let page = include_str!("../../../../docs/base.md");
        let documented = |from: &str, to: &str| {
            let ours = format!("| `{from}` |");
            page.lines().any(|line| line.starts_with(&ours) && line.contains(&format!("`{to}`")))
        };
        for (from, to, _) in LEFT_OUT {
            assert!(documented(from, to), "{from} -> {to} is not in docs/base.md");
        }
    }
}
