//! `/etc/passwd` and `/etc/group`.
//!
//! The names and ids that Debian allots for all systems (Policy 9.2.2: base-passwd's master files), the
//! user `agent`, the declared users, then what packages ask for in sysusers.d. No account has a password,
//! and there is no `/etc/shadow`: `*` admits none.

use super::{Error, User};

/// The user that packed images run as.
const AGENT: (&str, u32) = ("agent", 1000);
/// Ids handed out to users that ask for none, from the highest down, as systemd-sysusers does.
const SYSTEM_IDS: std::ops::RangeInclusive<u32> = 100..=999;
const NOLOGIN: &str = "/usr/sbin/nologin";

/// `(name, uid, gid, home)`, in the order of Debian's passwd.master.
const USERS: [(&str, u32, u32, &str); 18] = [
    ("root", 0, 0, "/root"),
    ("daemon", 1, 1, "/usr/sbin"),
    ("bin", 2, 2, "/bin"),
    ("sys", 3, 3, "/dev"),
    ("sync", 4, 65534, "/bin"),
    ("games", 5, 60, "/usr/games"),
    ("man", 6, 12, "/var/cache/man"),
    ("lp", 7, 7, "/var/spool/lpd"),
    ("mail", 8, 8, "/var/mail"),
    ("news", 9, 9, "/var/spool/news"),
    ("uucp", 10, 10, "/var/spool/uucp"),
    ("proxy", 13, 13, "/bin"),
    ("www-data", 33, 33, "/var/www"),
    ("backup", 34, 34, "/var/backups"),
    ("list", 38, 38, "/var/list"),
    ("irc", 39, 39, "/run/ircd"),
    (AGENT.0, AGENT.1, AGENT.1, "/home/agent"),
    ("nobody", 65534, 65534, "/nonexistent"),
];

/// In the order of Debian's group.master.
const GROUPS: [(&str, u32); 39] = [
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("adm", 4),
    ("tty", 5),
    ("disk", 6),
    ("lp", 7),
    ("mail", 8),
    ("news", 9),
    ("uucp", 10),
    ("man", 12),
    ("proxy", 13),
    ("kmem", 15),
    ("dialout", 20),
    ("fax", 21),
    ("voice", 22),
    ("cdrom", 24),
    ("floppy", 25),
    ("tape", 26),
    ("sudo", 27),
    ("audio", 29),
    ("dip", 30),
    ("www-data", 33),
    ("backup", 34),
    ("operator", 37),
    ("list", 38),
    ("irc", 39),
    ("src", 40),
    ("shadow", 42),
    ("utmp", 43),
    ("video", 44),
    ("sasl", 45),
    ("plugdev", 46),
    ("staff", 50),
    ("games", 60),
    ("users", 100),
    (AGENT.0, AGENT.1),
    ("nogroup", 65534),
];

/// The accounts of an image, in the order of the files.
#[derive(Debug)]
pub(super) struct Accounts {
    users: Vec<Account>,
    groups: Vec<Group>,
}

/// A line of `/etc/passwd`.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) comment: String,
    pub(super) home: String,
    pub(super) shell: String,
}

#[derive(Debug)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl Accounts {
    /// Debian's, `agent`, and the declared users.
    pub(super) fn new(declared: &[User]) -> Result<Self, Error> {
        let account = |(name, uid, gid, home): &(&str, u32, u32, &str)| Account {
            name: (*name).to_owned(),
            uid: *uid,
            gid: *gid,
            comment: (*name).to_owned(),
            home: (*home).to_owned(),
            shell: if *uid == 0 { "/bin/sh" } else { NOLOGIN }.to_owned(),
        };
        let group =
            |(name, gid): &(&str, u32)| Group { name: (*name).to_owned(), gid: *gid, members: Vec::new() };
        let mut accounts =
            Self { users: USERS.iter().map(account).collect(), groups: GROUPS.iter().map(group).collect() };
        // Chosen ids first, so that a user without one does not take one that the next has chosen.
        let (with, without): (Vec<_>, Vec<_>) = declared.iter().partition(|user| user.uid.is_some());
        for user in with.into_iter().chain(without) {
            accounts.declare(user)?;
        }
        Ok(accounts)
    }

    fn declare(&mut self, user: &User) -> Result<(), Error> {
        let fail = |reason: String| Error::Account { what: format!("user {}", user.name), reason };
        if let Some(known) = self.users.iter().find(|known| known.name == user.name) {
            let same =
                user.uid.is_none_or(|uid| uid == known.uid) && user.gid.is_none_or(|gid| gid == known.gid);
            let (uid, gid) = (known.uid, known.gid);
            return if same { Ok(()) } else { Err(fail(format!("exists already as {uid}:{gid}"))) };
        }
        let uid = match user.uid {
            Some(uid) => uid,
            None => self.free_id().ok_or_else(|| fail("no system id is left".to_owned()))?,
        };
        let gid = user.gid.unwrap_or(uid);
        if let Some(other) = self.users.iter().find(|other| other.uid == uid) {
            return Err(fail(format!("its id {uid} is {}'s already", other.name)));
        }
        match self.groups.iter().find(|group| group.name == user.name || group.gid == gid) {
            Some(group) if user.gid != Some(group.gid) => {
                return Err(fail(format!(
                    "its group id {gid} is taken by group {}: give NAME:UID:GID",
                    group.name
                )));
            }
            Some(_) => {}
            None => self.add_group(&user.name, gid),
        }
        self.users.push(Account {
            name: user.name.clone(),
            uid,
            gid,
            comment: String::new(),
            home: "/nonexistent".to_owned(),
            shell: NOLOGIN.to_owned(),
        });
        Ok(())
    }

    /// The highest system id that is neither a user's nor a group's.
    pub(super) fn free_id(&self) -> Option<u32> {
        SYSTEM_IDS.rev().find(|id| !self.has_uid(*id) && !self.has_gid(*id))
    }

    pub(super) fn has_uid(&self, uid: u32) -> bool {
        self.users.iter().any(|user| user.uid == uid)
    }

    pub(super) fn has_gid(&self, gid: u32) -> bool {
        self.groups.iter().any(|group| group.gid == gid)
    }

    pub(super) fn uid(&self, name: &str) -> Option<u32> {
        self.users.iter().find(|user| user.name == name).map(|user| user.uid)
    }

    pub(super) fn gid(&self, name: &str) -> Option<u32> {
        self.groups.iter().find(|group| group.name == name).map(|group| group.gid)
    }

    /// The user's id, by name or number.
    pub(super) fn uid_of(&self, text: &str) -> Option<u32> {
        self.uid(text).or_else(|| text.parse().ok())
    }

    /// The group's id, by name or number.
    pub(super) fn gid_of(&self, text: &str) -> Option<u32> {
        self.gid(text).or_else(|| text.parse().ok())
    }

    pub(super) fn add_user(&mut self, account: Account) {
        self.users.push(account);
    }

    pub(super) fn add_group(&mut self, name: &str, gid: u32) {
        self.groups.push(Group { name: name.to_owned(), gid, members: Vec::new() });
    }

    /// Makes a user a member of a group; false if there is no such group.
    pub(super) fn add_member(&mut self, user: &str, group: &str) -> bool {
        let Some(group) = self.groups.iter_mut().find(|known| known.name == group) else { return false };
        if !group.members.iter().any(|member| member == user) {
            group.members.push(user.to_owned());
        }
        true
    }

    /// The text of `/etc/passwd`.
    pub(super) fn passwd(&self) -> String {
        let line = |user: &Account| {
            let Account { name, uid, gid, comment, home, shell } = user;
            format!("{name}:*:{uid}:{gid}:{comment}:{home}:{shell}\n")
        };
        self.users.iter().map(line).collect()
    }

    /// The text of `/etc/group`.
    pub(super) fn group(&self) -> String {
        self.groups
            .iter()
            .map(|group| format!("{}:*:{}:{}\n", group.name, group.gid, group.members.join(",")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(declared: &[&str], expect: Result<&[&str], &str>) {
        let users: Vec<User> = declared.iter().map(|text| text.parse().expect(text)).collect();
        let lines = Accounts::new(&users).map(|accounts| {
            let passwd = accounts.passwd();
            passwd.lines().skip(USERS.len()).map(str::to_owned).collect::<Vec<_>>()
        });
        match (lines, expect) {
            (Ok(lines), Ok(expect)) => assert_eq!(lines, expect, "{declared:?}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, _) => panic!("{declared:?}: {got:?}"),
        }
    }

    #[test]
    fn adds_declared_users() {
        check(&[], Ok(&[]));
        check(
            &["redis", "db:998", "web:2000:33"],
            Ok(&[
                "db:*:998:998::/nonexistent:/usr/sbin/nologin",
                "web:*:2000:33::/nonexistent:/usr/sbin/nologin",
                "redis:*:999:999::/nonexistent:/usr/sbin/nologin",
            ]),
        );
        check(&["www-data", "agent:1000"], Ok(&[]));
        check(&["www-data:34"], Err("exists already as 33:33"));
        check(&["x:33"], Err("its id 33 is www-data's already"));
        check(&["x:27"], Err("taken by group sudo"));
    }

    #[test]
    fn nobody_has_a_password() {
        let accounts = Accounts::new(&[]).expect("defaults");
        assert!(accounts.passwd().lines().all(|line| line.split(':').nth(1) == Some("*")));
        assert!(accounts.passwd().starts_with("root:*:0:0:root:/root:/bin/sh\n"));
        assert_eq!((accounts.uid("nobody"), accounts.gid("nogroup")), (Some(65534), Some(65534)));
    }
}
