use std::borrow::Cow;
use std::collections::BTreeMap;

use corral_spec::seccomp::{ArgTest, SyscallAction, SyscallCase, SyscallFilter, SyscallRule};
use serde::Deserialize;

use crate::{Capability, CapabilitySet};

/// A seccomp profile in Docker's JSON (`--security-opt seccomp=FILE`), as it is written. A field that is not known here
/// might change what the rest means, so it is an error.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeccompFile {
    default_action: String,
    default_errno_ret: Option<u16>,
    /// Other binary interfaces stay closed, whatever is named.
    #[serde(default, rename = "architectures")]
    _architectures: Vec<String>,
    #[serde(default, rename = "archMap")]
    _arch_map: Vec<ArchMap>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchMap {
    #[serde(rename = "architecture")]
    _architecture: String,
    #[serde(default, rename = "subArchitectures")]
    _sub_architectures: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// What the conditions of a profile are about.
#[derive(Clone, Copy, Debug)]
pub struct SeccompHost<'a> {
    /// The container's bounding set.
    pub capabilities: CapabilitySet,
    /// As images name it: amd64, arm64.
    pub architecture: &'a str,
    /// The kernel's release (uname(2)).
    pub kernel: &'a str,
}

/// Why a profile cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seccomp profile: {0}")]
pub struct SeccompFileError(String);

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// The rules of one call so far: cases in order, and the answer of a rule without conditions.
#[derive(Default)]
struct Collected {
    cases: Vec<SyscallCase>,
    otherwise: Option<SyscallAction>,
    /// From a single `not equal`, which says what happens otherwise and cannot stand beside others.
    inverse: bool,
}

impl SeccompFile {
    /// The filter that the profile means for this container. Names that `is_known` does not know are left to the
    /// default, which denies.
    ///
    /// # Errors
    /// [`SeccompFileError`] for a default that allows, and for what has no counterpart here: logging, tracing and
    /// notifying answers, comparisons by size.
    pub fn filter(
        &self,
        host: SeccompHost<'_>,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<SyscallFilter, SeccompFileError> {
        if let Some(flag) = self.flags.first() {
            return Err(SeccompFileError(format!("the flag {flag:?} is not supported")));
        }
        let default = action(&self.default_action, self.default_errno_ret)?;
        if default == SyscallAction::Allow {
            let text = "a default that allows leaves calls open that nobody thought of; list what is allowed";
            return Err(SeccompFileError(text.to_owned()));
        }
        let mut calls: BTreeMap<&str, Collected> = BTreeMap::new();
        for entry in self.syscalls.iter().filter(|entry| entry.holds(host)) {
            let answer = action(&entry.action, entry.errno_ret)?;
            for name in entry.names.iter().chain(&entry.name).filter(|name| is_known(name)) {
                calls.entry(name).or_default().add(
                    name,
                    answer,
                    entry.args.as_deref().unwrap_or_default(),
                    default,
                )?;
            }
        }
        let rule = |(name, collected): (&str, Collected)| SyscallRule {
            name: Cow::Owned(name.to_owned()),
            otherwise: collected.otherwise.unwrap_or(default),
            cases: collected.cases,
        };
        Ok(SyscallFilter {
            rules: calls.into_iter().map(rule).collect(),
            unlisted: default,
            unknown: SyscallAction::Errno(ENOSYS),
            foreign: SyscallAction::KillProcess,
        })
    }
}

impl Collected {
    fn add(
        &mut self,
        name: &str,
        answer: SyscallAction,
        args: &[Argument],
        default: SyscallAction,
    ) -> Result<(), SeccompFileError> {
        // As libseccomp: a rule without conditions is the more general one, and the others of the call go.
        if args.is_empty() {
            *self = Self { otherwise: Some(answer), ..Self::default() };
            return Ok(());
        }
        if self.otherwise.is_some() && !self.inverse {
            return Ok(());
        }
        let is_inverse = args.iter().any(|arg| arg.op == "SCMP_CMP_NE");
        if self.inverse || (is_inverse && (args.len() > 1 || !self.cases.is_empty())) {
            let text = format!("{name}: SCMP_CMP_NE beside another condition is not supported");
            return Err(SeccompFileError(text));
        }
        if is_inverse {
            let equal = ArgTest { index: args[0].index, mask: u64::MAX, value: args[0].value };
            self.cases.push(SyscallCase { tests: vec![equal], action: default });
            (self.otherwise, self.inverse) = (Some(answer), true);
            return Ok(());
        }
        let tests = args.iter().map(|arg| test(name, arg)).collect::<Result<_, _>>()?;
        self.cases.push(SyscallCase { tests, action: answer });
        Ok(())
    }
}

fn test(name: &str, arg: &Argument) -> Result<ArgTest, SeccompFileError> {
    match arg.op.as_str() {
        "SCMP_CMP_EQ" => Ok(ArgTest { index: arg.index, mask: u64::MAX, value: arg.value }),
        "SCMP_CMP_MASKED_EQ" => {
            Ok(ArgTest { index: arg.index, mask: arg.value, value: arg.value_two & arg.value })
        }
        other => Err(SeccompFileError(format!("{name}: the comparison {other:?} is not supported"))),
    }
}

impl Entry {
    /// Whether its conditions are met, as Docker reads them.
    fn holds(&self, host: SeccompHost<'_>) -> bool {
        let has = |name: &String| name.parse::<Capability>().is_ok_and(|cap| host.capabilities.contains(cap));
        let named = |list: &[String]| list.iter().any(|arch| arch == host.architecture);
        let recent = |least: &str| release(host.kernel) >= release(least);
        let include = self.includes.as_ref().is_none_or(|wanted| {
            wanted.caps.iter().all(has)
                && (wanted.arches.is_empty() || named(&wanted.arches))
                && wanted.min_kernel.as_deref().is_none_or(recent)
        });
        let exclude = self.excludes.as_ref().is_some_and(|unwanted| {
            unwanted.caps.iter().any(has)
                || named(&unwanted.arches)
                || unwanted.min_kernel.as_deref().is_some_and(recent)
        });
        include && !exclude
    }
}

/// Major and minor number of a release such as `6.1.0-56-amd64`.
fn release(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn action(name: &str, errno: Option<u16>) -> Result<SyscallAction, SeccompFileError> {
    match name {
        "SCMP_ACT_ALLOW" => Ok(SyscallAction::Allow),
        "SCMP_ACT_ERRNO" => Ok(SyscallAction::Errno(errno.unwrap_or(EPERM))),
        // To kill the thread alone leaves a program that nobody has thought of.
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" | "SCMP_ACT_KILL_PROCESS" => Ok(SyscallAction::KillProcess),
        "SCMP_ACT_TRAP" => Ok(SyscallAction::Trap),
        other => Err(SeccompFileError(format!("the action {other:?} is not supported"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: SeccompHost<'_> =
        SeccompHost { capabilities: CapabilitySet::EMPTY, architecture: "amd64", kernel: "6.1.0-56-amd64" };

    fn entry(fields: Entry) -> Entry {
        fields
    }

    fn call(names: &[&str], action: &str, args: Option<Vec<Argument>>) -> Entry {
        entry(Entry {
            name: None,
            names: names.iter().map(|&name| name.to_owned()).collect(),
            action: action.to_owned(),
            errno_ret: None,
            args,
            _comment: None,
            includes: None,
            excludes: None,
        })
    }

    fn arg(op: &str, value: u64, value_two: u64) -> Option<Vec<Argument>> {
        Some(vec![Argument { index: 0, value, value_two, op: op.to_owned() }])
    }

    fn file(default: &str, syscalls: Vec<Entry>) -> SeccompFile {
        SeccompFile {
            default_action: default.to_owned(),
            default_errno_ret: None,
            _architectures: Vec::new(),
            _arch_map: Vec::new(),
            flags: Vec::new(),
            syscalls,
        }
    }

    fn rules(syscalls: Vec<Entry>, host: SeccompHost<'_>) -> Result<Vec<SyscallRule>, SeccompFileError> {
        file("SCMP_ACT_ERRNO", syscalls).filter(host, |name| name != "newest").map(|filter| filter.rules)
    }

    #[test]
    fn conditions_of_calls() {
        let denied = SyscallAction::Errno(EPERM);
        let allowed = "SCMP_ACT_ALLOW";
        let one = |syscalls| rules(syscalls, HOST).expect("a filter").remove(0);
        let rule = one(vec![
            call(&["personality"], allowed, arg("SCMP_CMP_EQ", 8, 0)),
            call(&["personality"], allowed, arg("SCMP_CMP_MASKED_EQ", 0xf0, 0x1f)),
        ]);
        assert_eq!((rule.cases.len(), rule.otherwise), (2, denied));
        assert_eq!(rule.cases[1].tests, [ArgTest { index: 0, mask: 0xf0, value: 0x10 }]);
        let rule = one(vec![call(&["socket"], allowed, arg("SCMP_CMP_NE", 40, 0))]);
        assert_eq!((rule.cases[0].action, rule.otherwise), (denied, SyscallAction::Allow));
        let rule = one(vec![
            call(&["clone"], allowed, arg("SCMP_CMP_EQ", 1, 0)),
            call(&["clone"], allowed, None),
            call(&["clone"], "SCMP_ACT_KILL", arg("SCMP_CMP_EQ", 2, 0)),
        ]);
        assert_eq!((rule.cases.len(), rule.otherwise), (0, SyscallAction::Allow));
        assert!(rules(vec![call(&["newest"], allowed, None)], HOST).expect("a filter").is_empty());
        for bad in [
            vec![call(&["read"], allowed, arg("SCMP_CMP_GT", 1, 0))],
            vec![call(&["read"], "SCMP_ACT_NOTIFY", None)],
            vec![
                call(&["read"], allowed, arg("SCMP_CMP_EQ", 1, 0)),
                call(&["read"], allowed, arg("SCMP_CMP_NE", 2, 0)),
            ],
        ] {
            assert!(rules(bad.clone(), HOST).is_err(), "{bad:?}");
        }
        assert!(file("SCMP_ACT_ALLOW", Vec::new()).filter(HOST, |_| true).is_err());
        assert!(file("SCMP_ACT_LOG", Vec::new()).filter(HOST, |_| true).is_err());
    }

    #[test]
    fn includes_and_excludes() {
        let admin = SeccompHost {
            capabilities: "SYS_ADMIN"
                .parse::<Capability>()
                .map(|cap| CapabilitySet::of(&[cap]))
                .expect("known"),
            ..HOST
        };
        let with = |includes: Condition, excludes: Condition, host| {
            let entry = Entry {
                includes: Some(includes),
                excludes: Some(excludes),
                ..call(&["mount"], "SCMP_ACT_ALLOW", None)
            };
            !rules(vec![entry], host).expect("a filter").is_empty()
        };
        let caps = || Condition { caps: vec!["CAP_SYS_ADMIN".into()], ..Condition::default() };
        let none = Condition::default;
        assert!(!with(caps(), none(), HOST) && with(caps(), none(), admin));
        assert!(with(none(), caps(), HOST) && !with(none(), caps(), admin));
        let arch = |name: &str| Condition { arches: vec![name.into()], ..Condition::default() };
        assert!(with(arch("amd64"), none(), HOST) && !with(arch("arm64"), none(), HOST));
        assert!(!with(none(), arch("amd64"), HOST));
        let kernel = |least: &str| Condition { min_kernel: Some(least.into()), ..Condition::default() };
        assert!(with(kernel("4.8"), none(), HOST) && with(kernel("6.1"), none(), HOST));
        assert!(!with(kernel("6.10"), none(), HOST));
    }
}
