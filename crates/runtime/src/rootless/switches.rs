//! The switches by which hosts refuse user namespaces to ordinary users.

/// File, the value that refuses, and how it is turned. Debian's and Ubuntu's own patches, the kernel's own bound, and
/// Ubuntu's AppArmor (since 23.10).
const SWITCHES: [(&str, &str, &str); 3] = [
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for corral with `userns,`",
    ),
];

/// The switch that is set against it.
pub(crate) fn refusing(read: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let set = |file: &str, refuses: &str| read(file).is_some_and(|text| text.trim() == refuses);
    SWITCHES.into_iter().find(|(file, refuses, _)| set(file, refuses)).map(|(.., command)| command)
}

/// What to do about a refusal.
pub fn way_out() -> String {
    match refusing(|file| std::fs::read_to_string(file).ok()) {
        Some(command) => format!("this host has it switched off: {command}"),
        None => "inside another container, its own seccomp profile has to allow it; else run corral as root"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_named() {
        let check =
            |name: &str, value: &str| refusing(|file| file.ends_with(name).then(|| format!("{value}\n")));
        assert!(check("userns_clone", "0").is_some_and(|command| command.contains("userns_clone=1")));
        assert!(check("max_user_namespaces", "0").is_some());
        assert!(
            check("restrict_unprivileged_userns", "1").is_some_and(|command| command.contains("AppArmor"))
        );
        assert_eq!(check("userns_clone", "1"), None);
        assert_eq!(check("restrict_unprivileged_userns", "0"), None);
    }
}
