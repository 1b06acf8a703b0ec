//! linux.seccomp of config.json.

use corral_runtime::bundle::Filter;
use corral_runtime::bundle::seccomp::{
    ALLOW, ERRNO, KILL_PROCESS, LOG, NOTIFY, Op, Part, Rule, TRACE, Test, compile as code, through_another,
};
use corral_runtime::seccomp::Arch;

use crate::Error;
use crate::config::{Arg, Seccomp, Syscall};

/// SECCOMP_FILTER_FLAG_NEW_LISTENER
const NEW_LISTENER: u64 = 8;
/// The calls by which the listener itself is handed over.
const OWN_CALLS: [&str; 2] = ["read", "write"];

/// The filter; none if everything is allowed.
pub(crate) fn compile(seccomp: &Seccomp) -> Result<Option<Filter>, Error> {
    let arch = Arch::NATIVE
        .ok_or_else(|| Error::unsupported("linux.seccomp", "there is no table for this processor"))?;
    let default = action(&seccomp.default_action, seccomp.default_errno_ret)?;
    if default == NOTIFY {
        return Err(Error::unsupported("SCMP_ACT_NOTIFY as default action", "name the system calls"));
    }
    let mut parts = parts(arch, &seccomp.architectures)?;
    let mut notifies = false;
    for syscall in &seccomp.syscalls {
        let answer = action(&syscall.action, syscall.errno_ret)?;
        notifies |= answer == NOTIFY;
        for name in &syscall.names {
            if answer == NOTIFY && OWN_CALLS.contains(&name.as_str()) {
                return Err(Error::unsupported(
                    format!("SCMP_ACT_NOTIFY for {name}"),
                    "the listener is handed over by that call",
                ));
            }
            for tests in alternatives(syscall)? {
                parts.iter_mut().for_each(|part| add(part, name, &tests, answer));
            }
        }
    }
    if notifies && seccomp.listener_path.is_empty() {
        return Err(Error::Invalid("linux.seccomp: SCMP_ACT_NOTIFY needs listenerPath".to_owned()));
    }
    let mut flags = if notifies { NEW_LISTENER } else { 0 };
    for flag in &seccomp.flags {
        flags |= match flag.as_str() {
            "SECCOMP_FILTER_FLAG_TSYNC" if notifies => 1 | 1 << 4,
            "SECCOMP_FILTER_FLAG_TSYNC" => 1,
            "SECCOMP_FILTER_FLAG_LOG" => 2,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 4,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => 1 << 5,
            other => return Err(Error::Invalid(format!("seccomp flag {other:?} is not supported"))),
        };
    }
    if default == ALLOW && parts.iter().all(|part| part.rules.is_empty()) {
        return Ok(None);
    }
    let program = code(default, &parts).ok_or_else(|| {
        Error::Invalid("linux.seccomp: the filter is longer than the kernel takes".to_owned())
    })?;
    Ok(Some(Filter { program, flags }))
}

fn action(name: &str, errno: Option<u32>) -> Result<u32, Error> {
    let data = |base: u32, default: u32| match errno.unwrap_or(default) {
        data @ 0..=0xffff => Ok(base | data),
        data => Err(Error::Invalid(format!("linux.seccomp: errnoRet {data} is out of range"))),
    };
    let plain = match name {
        "SCMP_ACT_ERRNO" => return data(ERRNO, 1),
        "SCMP_ACT_TRACE" => return data(TRACE, 1),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_LOG" => LOG,
        "SCMP_ACT_NOTIFY" => NOTIFY,
        other => return Err(Error::Invalid(format!("seccomp action {other:?} does not exist"))),
    };
    match errno {
        Some(_) if !name.ends_with("NOTIFY") => {
            Err(Error::Invalid(format!("linux.seccomp: errnoRet has no meaning for {name}")))
        }
        _ => Ok(plain),
    }
}

/// This processor's own ABI, and of those that are listed the ones that it runs too.
fn parts(native: Arch, names: &[String]) -> Result<Vec<Part>, Error> {
    let mut parts = vec![Part { arch: native, x32: false, rules: Vec::new() }];
    for name in names {
        match (name.as_str(), native) {
            ("SCMP_ARCH_X32", Arch::X86_64) => parts[0].x32 = true,
            ("SCMP_ARCH_X86", Arch::X86_64) if parts.len() == 1 => {
                parts.push(Part { arch: Arch::I386, x32: false, rules: Vec::new() });
            }
            (name, _) if name.starts_with("SCMP_ARCH_") => {}
            _ => return Err(Error::Invalid(format!("seccomp architecture {name:?} does not exist"))),
        }
    }
    Ok(parts)
}

/// A name that the ABI, or any, does not have is left out: profiles are written for several kernels.
fn add(part: &mut Part, name: &str, tests: &[Test], action: u32) {
    let x32 = if part.x32 { Arch::x32(name) } else { None };
    for number in part.arch.number(name).into_iter().chain(x32) {
        part.rules.push(Rule { number, tests: tests.to_vec(), action });
    }
    if part.arch == Arch::I386 {
        // Some of them, such as `send`, have no number of their own.
        let rule = Rule { number: 0, tests: tests.to_vec(), action };
        part.rules.extend(through_another(name, &rule));
    }
}

/// Tests of one argument each hold together; a second test of the same argument is an alternative, as in libseccomp's
/// users.
fn alternatives(syscall: &Syscall) -> Result<Vec<Vec<Test>>, Error> {
    let tests = syscall.args.iter().map(test).collect::<Result<Vec<_>, _>>()?;
    let mut seen = [false; 6];
    let twice = tests.iter().any(|test| std::mem::replace(&mut seen[test.index as usize], true));
    Ok(if twice { tests.into_iter().map(|test| vec![test]).collect() } else { vec![tests] })
}

fn test(arg: &Arg) -> Result<Test, Error> {
    if arg.index > 5 {
        return Err(Error::Invalid(format!("linux.seccomp: there is no argument {}", arg.index)));
    }
    let (op, value) = match arg.op.as_str() {
        "SCMP_CMP_NE" => (Op::NotEqual, arg.value),
        "SCMP_CMP_LT" => (Op::Less, arg.value),
        "SCMP_CMP_LE" => (Op::LessOrEqual, arg.value),
        "SCMP_CMP_EQ" => (Op::Equal, arg.value),
        "SCMP_CMP_GE" => (Op::GreaterOrEqual, arg.value),
        "SCMP_CMP_GT" => (Op::Greater, arg.value),
        "SCMP_CMP_MASKED_EQ" => (Op::MaskedEqual(arg.value), arg.value_two),
        other => return Err(Error::Invalid(format!("seccomp operator {other:?} does not exist"))),
    };
    Ok(Test { index: arg.index, op, value })
}
