use corral_spec::{UserPart, UserSpec};

use crate::Error;

/// One line of passwd(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passwd {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory.
    pub home: String,
}

/// One line of group(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Group name.
    pub name: String,
    /// Group id.
    pub gid: u32,
    /// Names of its members.
    pub members: Vec<String>,
}

/// Who a process is, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids, sorted.
    pub groups: Vec<u32>,
    /// Home directory; `/` if unknown.
    pub home: String,
}

impl Passwd {
    /// All well-formed lines; the others are skipped, as libc does.
    pub fn parse(text: &[u8]) -> Vec<Self> {
        lines(text)
            .filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
                let uid = id(fields.nth(1)?)?;
                let gid = id(fields.next()?)?;
                let home = fields.nth(1).unwrap_or_default().to_owned();
                Some(Self { name, uid, gid, home })
            })
            .collect()
    }
}

impl Group {
    /// All well-formed lines; the others are skipped, as libc does.
    pub fn parse(text: &[u8]) -> Vec<Self> {
        lines(text)
            .filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
                let gid = id(fields.nth(1)?)?;
                let members = fields.next().unwrap_or_default().split(',').map(str::trim);
                let members = members.filter(|member| !member.is_empty()).map(str::to_owned).collect();
                Some(Self { name, gid, members })
            })
            .collect()
    }
}

/// The highest number is no id: setresuid(2) takes it for "as it is", which in a new container is root.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

fn lines(text: &[u8]) -> impl Iterator<Item = String> {
    text.split(|b| *b == b'\n')
        .map(|line| String::from_utf8_lossy(line).trim().to_owned())
        .filter(|line| !line.starts_with('#'))
}

/// Looks a user up in the image's passwd and group, which `lookup` reads by path (`/etc/passwd`).
///
/// As Docker does: a number that passwd does not know is that user with group 0 and home `/`; the
/// supplementary groups are those that name the user, and none if a group was asked for.
///
/// # Errors
/// [`Error::NoSuchUser`] for a name that is not there.
pub fn resolve_user(
    user: &UserSpec,
    lookup: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<ResolvedUser, Error> {
    let users = Passwd::parse(&lookup("/etc/passwd").unwrap_or_default());
    let known = users.into_iter().find(|known| match &user.user {
        UserPart::Id(uid) => known.uid == *uid,
        UserPart::Name(name) => known.name == *name,
    });
    let (name, uid, mut gid, home) = match (known, &user.user) {
        (Some(known), _) => (Some(known.name), known.uid, known.gid, known.home),
        (None, UserPart::Id(uid)) => (None, *uid, 0, String::new()),
        (None, UserPart::Name(name)) => {
            return Err(Error::NoSuchUser { what: "user", name: name.clone(), file: "/etc/passwd" });
        }
    };
    let mut supplementary = Vec::new();
    match &user.group {
        Some(UserPart::Id(asked)) => gid = *asked,
        Some(UserPart::Name(asked)) => {
            let found = groups(lookup).into_iter().find(|group| group.name == *asked);
            let missing = || Error::NoSuchUser { what: "group", name: asked.clone(), file: "/etc/group" };
            gid = found.ok_or_else(missing)?.gid;
        }
        None => {
            if let Some(name) = name {
                let member = |group: &Group| group.members.contains(&name);
                supplementary.extend(groups(lookup).into_iter().filter(member).map(|group| group.gid));
            }
        }
    }
    // Without it a file's group bits, which may take away what others have, would not hold (CVE-2022-36109).
    supplementary.push(gid);
    supplementary.sort_unstable();
    supplementary.dedup();
    let home = if home.is_empty() { "/".to_owned() } else { home };
    Ok(ResolvedUser { uid, gid, groups: supplementary, home })
}

fn groups(lookup: &dyn Fn(&str) -> Option<Vec<u8>>) -> Vec<Group> {
    Group::parse(&lookup("/etc/group").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# note\nbroken:x:one:1::/:\n+nis\nagent:x:1000:1001:A,B:/home/agent:\nbare:x:7:8\nkeeps:x:4294967295:1::/:\n";
    const GROUP: &str = "root:x:0:\nagent:x:1001:\naudio:x:29:other, agent\nvideo:x:44:agent\n";

    fn check(user: &str, expect: Option<(u32, u32, &[u32], &str)>) {
        let lookup = |path: &str| match path {
            "/etc/passwd" => Some(PASSWD.into()),
            "/etc/group" => Some(GROUP.into()),
            _ => None,
        };
        let found = resolve_user(&user.parse().expect("user"), &lookup).ok();
        let found = found.as_ref().map(|user| (user.uid, user.gid, &user.groups[..], user.home.as_str()));
        assert_eq!(found, expect, "{user}");
    }

    #[test]
    fn users_resolve_as_in_docker() {
        check("root", Some((0, 0, &[0], "/root")));
        check("agent", Some((1000, 1001, &[29, 44, 1001], "/home/agent")));
        check("1000", Some((1000, 1001, &[29, 44, 1001], "/home/agent")));
        check("agent:video", Some((1000, 44, &[44], "/home/agent")));
        check("agent:5", Some((1000, 5, &[5], "/home/agent")));
        check("4242", Some((4242, 0, &[0], "/")));
        check("4242:audio", Some((4242, 29, &[29], "/")));
        check("bare", Some((7, 8, &[8], "/")));
        check("nobody", None);
        check("agent:nobody", None);
        check("broken", None);
        check("keeps", None);
    }

    #[test]
    fn an_image_without_passwd_takes_numbers() {
        let user = resolve_user(&"65532:65532".parse().expect("user"), &|_| None).expect("numbers");
        assert_eq!((user.uid, user.gid, user.home.as_str()), (65532, 65532, "/"));
    }
}
