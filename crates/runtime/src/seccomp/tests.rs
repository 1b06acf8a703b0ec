//! The compiled program, run by an interpreter of classic BPF, against a naive reading of the rules.

use std::borrow::Cow;

use corral_policy::{CapabilitySet, confinement};
use corral_spec::ProfileName;
use corral_spec::record::BpfInstruction;
use corral_spec::seccomp::{ArgTest, SyscallAction, SyscallCase, SyscallFilter, SyscallRule};

use super::emit::{AND_K, JUMP, JUMP_EQ, JUMP_GE, LD_WORD_ABS, RETURN, ret};
use super::*;

/// `struct seccomp_data`.
#[derive(Clone, Copy, Debug)]
struct Call {
    arch: u32,
    nr: u32,
    args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            16..64 if offset.is_multiple_of(4) => {
                let arg = self.args[(offset as usize - 16) / 8];
                (arg >> (8 * (offset % 8))) as u32
            }
            _ => panic!("load at {offset}"),
        }
    }
}

/// The value returned and how many instructions it took.
fn interpret(program: &[BpfInstruction], call: Call) -> (u32, usize) {
    let (mut at, mut accumulator, mut steps) = (0_usize, 0_u32, 0);
    loop {
        let BpfInstruction(op, jt, jf, k) = program[at];
        steps += 1;
        at += 1;
        let holds = match op {
            LD_WORD_ABS => {
                accumulator = call.word(k);
                continue;
            }
            AND_K => {
                accumulator &= k;
                continue;
            }
            JUMP => {
                at += k as usize;
                continue;
            }
            RETURN => return (k, steps),
            JUMP_EQ => accumulator == k,
            JUMP_GE => accumulator >= k,
            _ => panic!("instruction {op:#x}, which the kernel's emulator does not know"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}

/// The rules, read one by one.
fn naive(filter: &SyscallFilter, arch: Arch, call: Call) -> u32 {
    let action = if call.arch != arch.audit() {
        filter.foreign
    } else {
        match arch.table().iter().find(|(_, number)| u32::from(*number) == call.nr) {
            None => filter.unknown,
            Some((name, _)) => match filter.rules.iter().find(|rule| rule.name == *name) {
                None => filter.unlisted,
                Some(rule) => rule
                    .cases
                    .iter()
                    .find(|case| {
                        case.tests.iter().all(|t| call.args[usize::from(t.index)] & t.mask == t.value)
                    })
                    .map_or(rule.otherwise, |case| case.action),
            },
        }
    };
    let BpfInstruction(.., value) = ret(action);
    value
}

/// Arguments that meet each case, and miss each of its tests by one bit in each half.
fn samples(rule: Option<&SyscallRule>) -> Vec<[u64; 6]> {
    let mut samples = vec![[0; 6], [u64::MAX; 6], [1, 2, 3, 4, 5, 6]];
    for case in rule.map(|rule| rule.cases.as_slice()).unwrap_or_default() {
        for background in [0, u64::MAX] {
            let mut hit = [background; 6];
            for test in &case.tests {
                let arg = &mut hit[usize::from(test.index)];
                *arg = *arg & !test.mask | test.value;
            }
            samples.push(hit);
            for test in &case.tests {
                for bit in [0, 3, 16, 17, 28, 31, 32, 33, 63] {
                    let mut miss = hit;
                    miss[usize::from(test.index)] ^= 1 << bit;
                    samples.push(miss);
                }
            }
        }
    }
    samples
}

/// Compares both readings for every number, and returns (instructions, worst path, mean path).
fn compare(filter: &SyscallFilter, arch: Arch) -> (usize, usize, f64) {
    let program = compile(filter, arch).expect("compiles");
    let (mut worst, mut total, mut runs) = (0, 0, 0);
    let numbers =
        (0..=600).chain([0x3fff_ffff, 0x4000_0000, 0x4000_0001, 0x4000_0200, 0x7fff_ffff, u32::MAX]);
    for nr in numbers {
        let name = arch.table().iter().find(|(_, number)| u32::from(*number) == nr).map(|(name, _)| *name);
        let rule = filter.rules.iter().find(|rule| Some(rule.name.as_ref()) == name);
        for args in samples(rule) {
            for audit in [arch.audit(), 0x4000_0003, 0x4000_0028, 0] {
                let call = Call { arch: audit, nr, args };
                let (value, steps) = interpret(&program, call);
                assert_eq!(value, naive(filter, arch, call), "{name:?} {call:x?}");
                worst = worst.max(steps);
            }
        }
        if name.is_some() && rule.is_some_and(|rule| rule.cases.is_empty()) {
            total += interpret(&program, Call { arch: arch.audit(), nr, args: [0; 6] }).1;
            runs += 1;
        }
    }
    (program.len(), worst, total as f64 / f64::from(runs))
}

#[test]
fn every_profile_compiles_to_what_its_rules_say() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        for name in [ProfileName::Standard, ProfileName::Build, ProfileName::Agent] {
            let profile = confinement(name);
            for capabilities in [profile.capabilities, CapabilitySet::EMPTY, CapabilitySet::ALL] {
                let (length, worst, mean) = compare(&profile.syscalls(capabilities), arch);
                let caps = capabilities.iter().count();
                println!(
                    "{arch:?} {name:?} {caps} caps: {length} instructions, worst {worst}, mean {mean:.1}"
                );
                assert!(length <= 512, "{length} instructions");
                assert!(mean <= 12.0, "a plain allowed call takes {mean:.1} instructions");
            }
        }
    }
}

fn rule(name: &'static str, tests: Vec<ArgTest>) -> SyscallRule {
    let cases = match tests.is_empty() {
        true => Vec::new(),
        false => vec![SyscallCase { tests, action: SyscallAction::Allow }],
    };
    SyscallRule { name: Cow::Borrowed(name), cases, otherwise: SyscallAction::Errno(1) }
}

fn filter(rules: Vec<SyscallRule>) -> SyscallFilter {
    SyscallFilter {
        rules,
        unlisted: SyscallAction::Errno(1),
        unknown: SyscallAction::Errno(38),
        foreign: SyscallAction::KillProcess,
    }
}

#[test]
fn whole_64_bit_arguments_are_compared() {
    let test = |mask, value| ArgTest { index: 5, mask, value };
    for (mask, value) in [
        (u64::MAX, 0x1234_5678_9abc_def0),
        (u64::MAX << 32, 0xffff_0000_0000_0000),
        (0xf0_0000_000f, 0x70_0000_0003),
    ] {
        compare(&filter(vec![rule("mmap", vec![test(mask, value), test(1, value & 1)])]), Arch::X86_64);
    }
}

#[test]
fn far_halves_are_reached_by_a_long_jump() {
    // Six tests of both halves for every other system call: each leaf is about 38 instructions.
    let tests: Vec<ArgTest> = (0..6).map(|index| ArgTest { index, mask: u64::MAX >> 1, value: 7 }).collect();
    let rules = Arch::X86_64.table().iter().step_by(4).map(|(name, _)| rule(name, tests.clone())).collect();
    let (length, ..) = compare(&filter(rules), Arch::X86_64);
    assert!(length > 2 * 255, "{length} instructions would not need a long jump");
}

#[test]
fn what_could_leave_a_hole_is_refused() {
    let check = |change: &dyn Fn(&mut SyscallFilter), expect: &str| {
        let mut filter = filter(vec![rule("read", vec![ArgTest::int(0, 1)]), rule("open", vec![])]);
        change(&mut filter);
        let error = compile(&filter, Arch::Aarch64).expect_err(expect).to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(&|f| f.rules[0].name = "raed".into(), "no such system call");
    check(&|f| f.rules[1].name = "read".into(), "given twice");
    check(&|f| f.unlisted = SyscallAction::Allow, "allow list");
    check(&|f| f.unknown = SyscallAction::Allow, "allow list");
    check(&|f| f.foreign = SyscallAction::Allow, "allow list");
    check(&|f| f.unlisted = SyscallAction::Errno(0), "outside");
    check(&|f| f.rules[0].otherwise = SyscallAction::Errno(4096), "outside");
    check(&|f| f.rules[0].cases[0].tests.clear(), "without a test");
    check(&|f| f.rules[0].cases[0].tests[0].index = 6, "six arguments");
    check(&|f| f.rules[0].cases[0].tests[0].mask = 0, "empty mask");
    check(&|f| f.rules[0].cases[0].tests[0].value = 1 << 40, "outside its mask");
    let long: Vec<_> = (0..5000).map(|_| ArgTest::int(0, 1)).collect();
    check(&|f| f.rules[0].cases[0].tests = long.clone(), "too long");
}

#[test]
fn tables_agree_with_the_c_library() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        assert!(arch.table().is_sorted_by(|(a, _), (b, _)| a < b), "{arch:?} is not sorted by name");
    }
    let native = Arch::NATIVE.expect("tests run where filters are supported");
    for (name, number) in [
        ("read", libc::SYS_read),
        ("clone3", libc::SYS_clone3),
        ("openat2", libc::SYS_openat2),
        ("socket", libc::SYS_socket),
        ("socketpair", libc::SYS_socketpair),
        ("ioctl", libc::SYS_ioctl),
        ("unshare", libc::SYS_unshare),
        ("mknodat", libc::SYS_mknodat),
        ("personality", libc::SYS_personality),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("newfstatat", libc::SYS_newfstatat),
        ("mount_setattr", libc::SYS_mount_setattr),
        ("fchmodat2", libc::SYS_fchmodat2),
        ("exit_group", libc::SYS_exit_group),
    ] {
        assert_eq!(native.number(name).map(i64::from), Some(number), "{name}");
    }
    assert_eq!(Arch::Aarch64.number("openat"), Some(56));
    assert_eq!(Arch::Aarch64.number("clone"), Some(220));
    assert_eq!(Arch::Aarch64.number("socket"), Some(198));
    assert_eq!(Arch::Aarch64.number("open"), None);
}

mod kernel;
