//! Every crate from outside is argued for in docs/dependencies.md, and every argument is about a crate
//! that is there.

use std::collections::BTreeSet;

use super::manifest::Package;

/// The outside crates in `[workspace.dependencies]`.
pub fn declared(manifest: &str) -> BTreeSet<String> {
    let section = manifest.split("[workspace.dependencies]\n").nth(1).unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim().to_owned());
    names.filter(|name| !name.starts_with('#') && !name.starts_with("corral-")).collect()
}

/// The crates that have a line: the first cell of a table row, in backquotes.
pub fn argued(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).map(str::to_owned).collect()
}

/// Crates without an argument, arguments without a crate, and crates that no member uses.
pub fn check(declared: &BTreeSet<String>, argued: &BTreeSet<String>, packages: &[Package]) -> Vec<String> {
    let used = packages.iter().flat_map(|package| package.needs.iter().chain(&package.tests));
    let used: BTreeSet<String> = used.filter(|name| !name.starts_with("corral-")).cloned().collect();
    let mut wrong = Vec::new();
    wrong.extend(declared.difference(argued).map(|name| format!("{name}: no line in docs/dependencies.md")));
    wrong.extend(argued.difference(declared).map(|name| format!("{name}: has a line and is gone")));
    wrong.extend(declared.difference(&used).map(|name| format!("{name}: is declared and no crate uses it")));
    wrong.extend(
        used.difference(declared).map(|name| format!("{name}: is used and not declared for the workspace")),
    );
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_is_compared() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let package = Package {
            name: "corral-a".into(),
            room: true,
            needs: set(&["b", "corral-c"]),
            tests: set(&["t"]),
        };
        let packages = [package];
        let manifest = "[workspace.dependencies]\ncorral-c = { path = \"c\" }\n# note = x\nb = \"1\"\nt = { version = \"1\" }\n\n[profile]\nz = 1\n";
        let page = "# Dependencies\n| crate | why |\n|---|---|\n| `b` | because |\n| `t` | tests |\n";
        assert_eq!(declared(manifest), set(&["b", "t"]));
        assert_eq!(argued(page), set(&["b", "t"]));
        assert_eq!(check(&set(&["b", "t"]), &set(&["b", "t"]), &packages), Vec::<String>::new());
        assert_eq!(check(&set(&["b", "t"]), &set(&["b"]), &packages).len(), 1);
        assert_eq!(check(&set(&["b", "t"]), &set(&["b", "t", "gone"]), &packages).len(), 1);
        assert_eq!(check(&set(&["b", "t", "idle"]), &set(&["b", "t", "idle"]), &packages).len(), 1);
        assert_eq!(check(&set(&["b"]), &set(&["b"]), &packages).len(), 1);
    }
}
