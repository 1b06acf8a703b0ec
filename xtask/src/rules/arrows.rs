//! Which room may import which, and which outside crates: the table in ARCHITECTURE.md against the
//! manifests.
//!
//! ```text
//! <!-- arrows: begin -->
//! | floor | room     | may import    | outside crates | style |
//! |---|---|---|---|---|
//! | 3     | `engine` | spec, image   | rustix, serde  | sync  |
//! | 5     | `api`    | spec, engine  | planned        | async |
//! <!-- arrows: end -->
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::manifest::Package;

/// One row. `outside` is none for a room that is planned and does not exist.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    floor: u8,
    imports: BTreeSet<String>,
    outside: Option<BTreeSet<String>>,
}

/// Reads the table between the markers; what is no row is passed over, and `check` misses it.
pub fn table(architecture: &str) -> BTreeMap<String, Row> {
    let inside = architecture.split("<!-- arrows: begin -->").nth(1).unwrap_or_default();
    let inside = inside.split("<!-- arrows: end -->").next().unwrap_or_default();
    inside.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<(String, Row)> {
    let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
    let [floor, room, imports, outside, ..] = cells[..] else { return None };
    let list = |cell: &str| {
        let names = cell.split(',').map(|name| name.trim().trim_matches('`').to_owned());
        names.filter(|name| !name.is_empty() && name != "–").collect::<BTreeSet<_>>()
    };
    let outside = (outside != "planned").then(|| list(outside));
    Some((
        room.trim_matches('`').to_owned(),
        Row { floor: floor.parse().ok()?, imports: list(imports), outside },
    ))
}

/// Arrows that the table does not have, crates that it does not grant or that are no longer used, rooms
/// that stand in one place only, and arrows that do not go down.
pub fn check(table: &BTreeMap<String, Row>, packages: &[Package]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (room, row) in table {
        for import in &row.imports {
            match table.get(import) {
                None => wrong.push(format!("{room}: the table lets it import {import}, which has no row")),
                Some(below) if below.floor >= row.floor => {
                    wrong.push(format!("{room}: {import} is not on a floor below"));
                }
                Some(_) => {}
            }
        }
        let exists = packages.iter().any(|package| package.room && name(package) == room);
        match (&row.outside, exists) {
            (Some(_), false) => wrong.push(format!("{room}: has a row and is no crate; planned?")),
            (None, true) => wrong.push(format!("{room}: is a crate and its row says planned")),
            _ => {}
        }
    }
    for package in packages.iter().filter(|package| package.room) {
        match table.get(name(package)) {
            Some(Row { imports, outside: Some(outside), .. }) => {
                wrong.extend(compare(package, imports, outside));
            }
            Some(_) => {}
            None => wrong.push(format!("{}: has no row", name(package))),
        }
    }
    wrong
}

fn compare(package: &Package, imports: &BTreeSet<String>, outside: &BTreeSet<String>) -> Vec<String> {
    let room = name(package);
    let ours = |need: &&String| need.starts_with("corral-");
    let imported =
        package.needs.iter().filter(ours).map(|need| need.trim_start_matches("corral-").to_owned());
    let imported: BTreeSet<String> = imported.collect();
    let used: BTreeSet<String> = package.needs.iter().filter(|need| !ours(need)).cloned().collect();
    let mut wrong = Vec::new();
    wrong.extend(imported.difference(imports).map(|other| format!("{room}: may not import {other}")));
    wrong
        .extend(used.difference(outside).map(|other| format!("{room}: the table does not grant it {other}")));
    wrong.extend(outside.difference(&used).map(|other| format!("{room}: {other} is granted and not used")));
    wrong
}

fn name(package: &Package) -> &str {
    package.name.strip_prefix("corral-").unwrap_or(&package.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "x\n<!-- arrows: begin -->\n| floor | room | may import | outside crates | style |\n|---|---|---|---|---|\n\
        | 1 | `spec` | – | serde | sync |\n| 2 | `image` | spec | serde, `sha2` | sync |\n\
        | 5 | `api` | spec | planned | async |\n<!-- arrows: end -->\n| 9 | `no` | – | – | – |\n";

    fn package(name: &str, needs: &[&str]) -> Package {
        let needs = needs.iter().map(|need| (*need).to_owned()).collect();
        Package { name: name.into(), room: true, needs, tests: BTreeSet::new() }
    }

    fn found(table_text: &str, packages: &[Package]) -> Vec<String> {
        check(&table(table_text), packages)
    }

    fn good() -> Vec<Package> {
        vec![package("corral-spec", &["serde"]), package("corral-image", &["corral-spec", "serde", "sha2"])]
    }

    #[test]
    fn a_true_table_holds() {
        assert_eq!(found(TABLE, &good()), Vec::<String>::new());
    }

    #[test]
    fn each_departure_is_named() {
        let with = |package: Package| {
            let mut packages = good();
            packages.retain(|other| other.name != package.name);
            packages.push(package);
            found(TABLE, &packages)
        };
        assert_eq!(with(package("corral-spec", &["serde", "corral-image"])), ["spec: may not import image"]);
        assert_eq!(
            with(package("corral-spec", &["serde", "tokio"])),
            ["spec: the table does not grant it tokio"]
        );
        assert_eq!(with(package("corral-spec", &[])), ["spec: serde is granted and not used"]);
        assert_eq!(with(package("corral-new", &[])), ["new: has no row"]);
        assert_eq!(with(package("corral-api", &[])), ["api: is a crate and its row says planned"]);
        assert_eq!(found(TABLE, &good()[..1]), ["image: has a row and is no crate; planned?"]);
        let upward = TABLE.replace("| 1 | `spec` | –", "| 1 | `spec` | image");
        assert_eq!(found(&upward, &good()), ["spec: image is not on a floor below"]);
        assert_eq!(found("no table", &good()).len(), 2);
    }
}
