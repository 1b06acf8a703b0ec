//! sysusers.d(5): the users and groups that packages ask for.

use std::path::Path;

use super::{Fixup, words};
use crate::debian::Error;
use crate::debian::accounts::{Account, Accounts};
use crate::debian::request::is_account_name;

const DIRECTORIES: [&str; 3] = ["etc/sysusers.d", "run/sysusers.d", "usr/lib/sysusers.d"];

/// Applies the lines `u`, `g` and `m`. Accounts that exist already, the declared ones among them, stay as
/// they are.
pub(super) fn apply(fixup: &mut Fixup) -> Result<(), Error> {
    let mut lines = Vec::new();
    for (path, text) in fixup.drop_ins(DIRECTORIES)? {
        let meant =
            text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
        lines.extend(meant.map(|line| (path.clone(), line.to_owned())));
    }
    // Groups first, then users, then memberships: a line may name what a later file makes.
    for kind in ['g', 'u', 'm'] {
        for (path, line) in lines.iter().filter(|(_, line)| line.trim_start().starts_with(kind)) {
            if let Err(reason) = one(&mut fixup.accounts, line) {
                fixup.cannot(path, line, &reason);
            }
        }
    }
    for (path, line) in lines.iter().filter(|(_, line)| !line.trim_start().starts_with(['g', 'u', 'm', 'r']))
    {
        fixup.cannot(Path::new(path), line, "not a kind that sysusers.d(5) knows");
    }
    Ok(())
}

fn one(accounts: &mut Accounts, line: &str) -> Result<(), String> {
    let fields = words(line);
    let field =
        |at: usize| fields.get(at).map(String::as_str).filter(|text| !text.is_empty() && *text != "-");
    let name = field(1).filter(|name| is_account_name(name)).ok_or("no account's name")?;
    match fields.first().map(String::as_str) {
        Some("g") => group(accounts, name, field(2)),
        Some("u" | "u!") => user(accounts, name, [field(2), field(3), field(4), field(5)]),
        Some("m") => {
            let group = field(2).filter(|group| is_account_name(group)).ok_or("no group's name")?;
            if accounts.uid(name).is_none() {
                user(accounts, name, [None; 4])?;
            }
            if accounts.gid(group).is_none() {
                self::group(accounts, group, None)?;
            }
            accounts.add_member(name, group);
            Ok(())
        }
        _ => Err("not a kind that sysusers.d(5) knows".to_owned()),
    }
}

fn group(accounts: &mut Accounts, name: &str, id: Option<&str>) -> Result<(), String> {
    if accounts.gid(name).is_some() {
        return Ok(());
    }
    let gid = match id {
        // As systemd does, an id that is taken gives way to a free one.
        Some(id) => Some(number(id)?).filter(|gid| !accounts.has_gid(*gid)),
        None => None,
    };
    let gid = gid.or_else(|| accounts.free_id()).ok_or("no system id is left")?;
    accounts.add_group(name, gid);
    Ok(())
}

fn user(accounts: &mut Accounts, name: &str, fields: [Option<&str>; 4]) -> Result<(), String> {
    if accounts.uid(name).is_some() {
        return Ok(());
    }
    let [id, comment, home, shell] = fields;
    let (uid, group) = match id.and_then(|id| id.split_once(':')) {
        Some((uid, group)) => (Some(uid).filter(|uid| *uid != "-"), Some(group)),
        None => (id, None),
    };
    let uid = match uid {
        Some(uid) => Some(number(uid)?).filter(|uid| !accounts.has_uid(*uid)),
        None => None,
    };
    let own_group = accounts.gid(name);
    let gid = match group {
        Some(group) => Some(accounts.gid_of(group).ok_or_else(|| format!("no group {group}"))?),
        None => own_group,
    };
    // A user's own group has its id where that is free in both files.
    let like_group = own_group.filter(|gid| group.is_none() && !accounts.has_uid(*gid));
    let uid = uid.or(like_group).or_else(|| accounts.free_id()).ok_or("no system id is left")?;
    let gid = match gid {
        Some(gid) => gid,
        None => {
            let gid =
                if accounts.has_gid(uid) { accounts.free_id().ok_or("no system id is left")? } else { uid };
            accounts.add_group(name, gid);
            gid
        }
    };
    let plain = |text: Option<&str>, default: &str| {
        let text = text.unwrap_or(default);
        if text.contains([':', '\n']) {
            Err("a field has a colon in it".to_owned())
        } else {
            Ok(text.to_owned())
        }
    };
    accounts.add_user(Account {
        name: name.to_owned(),
        uid,
        gid,
        comment: plain(comment, "")?,
        home: plain(home, "/")?,
        shell: plain(shell, "/usr/sbin/nologin")?,
    });
    Ok(())
}

fn number(text: &str) -> Result<u32, String> {
    let id = text.parse().ok().filter(|id| *id != u32::MAX);
    id.ok_or_else(|| format!("{text:?} is not an id (ids by a file's owner are not supported)"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::run;
    use super::*;
    use crate::tree::Tree;

    fn check(conf: &str, passwd: &[&str], group: &[&str], unapplied: usize) {
        let mut tree = Tree::default();
        let (accounts, lines) = run(&mut tree, &[("usr/lib/sysusers.d/x.conf", conf)], apply);
        let plain = Accounts::new(&[]).expect("defaults");
        let added = |text: String, before: String| -> Vec<String> {
            text.lines().filter(|line| !before.lines().any(|old| old == *line)).map(str::to_owned).collect()
        };
        assert_eq!(added(accounts.passwd(), plain.passwd()), passwd, "{conf}");
        assert_eq!(added(accounts.group(), plain.group()), group, "{conf}");
        assert_eq!(lines.len(), unapplied, "{conf}: {lines:?}");
    }

    #[test]
    fn makes_users_and_groups() {
        check("", &[], &[], 0);
        check(
            "# remark\nu redis - \"Redis server\" /var/lib/redis\n",
            &["redis:*:999:999:Redis server:/var/lib/redis:/usr/sbin/nologin"],
            &["redis:*:999:"],
            0,
        );
        check("u a 200:adm\nm a video\n", &["a:*:200:4::/:/usr/sbin/nologin"], &["video:*:44:a"], 0);
        check("g x 300\nu x -\n", &["x:*:300:300::/:/usr/sbin/nologin"], &["x:*:300:"], 0);
        check("g a -\ng b 999\n", &[], &["a:*:999:", "b:*:998:"], 0);
        check("u! www-data 5000\nr - 100-200\n", &[], &[], 0);
    }

    #[test]
    fn names_what_it_cannot_apply() {
        check("u x /usr/bin/x\nu Bad -\nu y 5:none\nq z\nu c - \"a:b\"\n", &[], &["c:*:999:"], 5);
    }
}
