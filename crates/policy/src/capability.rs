use std::fmt;
use std::str::FromStr;

use corral_spec::ErrorKind;

/// A capability by its kernel number (linux/capability.h, capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability(u8);

/// A set of capabilities, one bit a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySet(u64);

/// A text that names no capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {0:?}: expected a name of capabilities(7) such as NET_BIND_SERVICE, or ALL")]
pub struct CapabilityError(String);

impl CapabilityError {
    /// Always [`ErrorKind::Invalid`].
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// Position is number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

impl Capability {
    /// CAP_CHOWN.
    pub const CHOWN: Self = Self(0);
    /// CAP_DAC_OVERRIDE.
    pub const DAC_OVERRIDE: Self = Self(1);
    /// CAP_FOWNER.
    pub const FOWNER: Self = Self(3);
    /// CAP_FSETID.
    pub const FSETID: Self = Self(4);
    /// CAP_KILL.
    pub const KILL: Self = Self(5);
    /// CAP_SETGID.
    pub const SETGID: Self = Self(6);
    /// CAP_SETUID.
    pub const SETUID: Self = Self(7);
    /// CAP_SETPCAP.
    pub const SETPCAP: Self = Self(8);
    /// CAP_NET_BIND_SERVICE.
    pub const NET_BIND_SERVICE: Self = Self(10);
    /// CAP_NET_ADMIN.
    pub const NET_ADMIN: Self = Self(12);
    /// CAP_NET_RAW.
    pub const NET_RAW: Self = Self(13);
    /// CAP_SYS_CHROOT.
    pub const SYS_CHROOT: Self = Self(18);
    /// CAP_SYS_PTRACE.
    pub const SYS_PTRACE: Self = Self(19);
    /// CAP_SYS_ADMIN.
    pub const SYS_ADMIN: Self = Self(21);
    /// CAP_SYS_NICE.
    pub const SYS_NICE: Self = Self(23);
    /// CAP_MKNOD.
    pub const MKNOD: Self = Self(27);
    /// CAP_SETFCAP.
    pub const SETFCAP: Self = Self(31);

    /// Every capability this build knows.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..NAMES.len() as u8).map(Self)
    }

    /// The kernel's number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The name without `CAP_`.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }
}

impl FromStr for Capability {
    type Err = CapabilityError;

    /// As Docker's flags: any case, with or without `CAP_`.
    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        (0u8..)
            .zip(NAMES)
            .find(|(_, known)| *known == name)
            .map(|(number, _)| Self(number))
            .ok_or_else(|| CapabilityError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl CapabilitySet {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// Every capability this build knows.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    pub(crate) const fn of(list: &[Capability]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < list.len() {
            bits |= 1 << list[at].0;
            at += 1;
        }
        Self(bits)
    }

    /// Whether it has the capability.
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of `self` that `other` lacks.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// In ascending order of number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0u8..).take(NAMES.len()).map(Capability).filter(move |capability| self.contains(*capability))
    }

    /// The numbers, as `record::Confinement` holds them.
    pub fn numbers(self) -> Vec<u8> {
        self.iter().map(Capability::number).collect()
    }

    /// Of `record::Confinement`; numbers this build does not know are an error, for they could not be judged.
    ///
    /// # Errors
    /// [`CapabilityError`] with the number.
    pub fn from_numbers(numbers: &[u8]) -> Result<Self, CapabilityError> {
        numbers.iter().try_fold(Self::EMPTY, |set, number| match usize::from(*number) < NAMES.len() {
            true => Ok(Self(set.0 | 1 << number)),
            false => Err(CapabilityError(number.to_string())),
        })
    }

    /// Applies `--cap-add` and `--cap-drop` as Docker does: `add ALL` is everything but what is dropped,
    /// `drop ALL` is only what is added, else the drops come off first and the adds go on top.
    ///
    /// # Errors
    /// [`CapabilityError`] for an unknown name.
    pub fn adjust(self, add: &[String], drop: &[String]) -> Result<Self, CapabilityError> {
        let (all_added, added) = parse_list(add)?;
        let (all_dropped, dropped) = parse_list(drop)?;
        Ok(match (all_added, all_dropped) {
            (true, _) => Self::ALL.without(dropped),
            (false, true) => added,
            (false, false) => Self(self.without(dropped).0 | added.0),
        })
    }
}

fn parse_list(names: &[String]) -> Result<(bool, CapabilitySet), CapabilityError> {
    let (mut all, mut set) = (false, CapabilitySet::EMPTY);
    for name in names {
        match name.to_ascii_uppercase().as_str() {
            "ALL" | "CAP_ALL" => all = true,
            name => set.0 |= 1 << name.parse::<Capability>()?.0,
        }
    }
    Ok((all, set))
}

impl fmt::Display for CapabilitySet {
    /// Names with commas between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, capability) in self.iter().enumerate() {
            write!(f, "{}{capability}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], expect: &str) {
        let base = CapabilitySet::of(&[Capability::CHOWN, Capability::KILL]);
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let result = match base.adjust(&owned(add), &owned(drop)) {
            Ok(set) if set == CapabilitySet::ALL => "all".to_owned(),
            Ok(set) => set.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(result, expect, "+{add:?} -{drop:?}");
    }

    #[test]
    fn flags_adjust_as_with_docker() {
        check(&[], &[], "CHOWN,KILL");
        check(&["net_raw"], &["CAP_CHOWN"], "KILL,NET_RAW");
        check(&["CHOWN"], &["CHOWN"], "CHOWN,KILL");
        check(&["SETUID"], &["ALL"], "SETUID");
        check(&["all"], &[], "all");
        check(
            &["ROOT"],
            &[],
            "unknown capability \"ROOT\": expected a name of capabilities(7) such as NET_BIND_SERVICE, or ALL",
        );
        let all_but: CapabilitySet =
            CapabilitySet::EMPTY.adjust(&["ALL".into()], &["BPF".into()]).expect("valid");
        assert_eq!(CapabilitySet::ALL.without(all_but).to_string(), "BPF");
    }

    #[test]
    fn constants_agree_with_the_names() {
        for (capability, name) in [
            (Capability::CHOWN, "CHOWN"),
            (Capability::DAC_OVERRIDE, "DAC_OVERRIDE"),
            (Capability::FOWNER, "FOWNER"),
            (Capability::FSETID, "FSETID"),
            (Capability::KILL, "KILL"),
            (Capability::SETGID, "SETGID"),
            (Capability::SETUID, "SETUID"),
            (Capability::SETPCAP, "SETPCAP"),
            (Capability::NET_BIND_SERVICE, "NET_BIND_SERVICE"),
            (Capability::NET_ADMIN, "NET_ADMIN"),
            (Capability::NET_RAW, "NET_RAW"),
            (Capability::SYS_CHROOT, "SYS_CHROOT"),
            (Capability::SYS_PTRACE, "SYS_PTRACE"),
            (Capability::SYS_ADMIN, "SYS_ADMIN"),
            (Capability::SYS_NICE, "SYS_NICE"),
            (Capability::MKNOD, "MKNOD"),
            (Capability::SETFCAP, "SETFCAP"),
        ] {
            assert_eq!(capability.name(), name);
            assert_eq!(format!("cap_{name}").parse(), Ok(capability));
        }
        assert_eq!(CapabilitySet::from_numbers(&[0, 31]).map(CapabilitySet::numbers), Ok(vec![0, 31]));
        assert!(CapabilitySet::from_numbers(&[41]).is_err());
    }
}
