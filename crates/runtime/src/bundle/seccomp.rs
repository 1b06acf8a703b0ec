//! linux.seccomp as classic BPF.
//!
//! ```text
//! ld arch                  for each that the profile lists: its own part below; any other ─▶ foreign
//! ld nr
//! jge …                    a balanced tree over the numbers; a leaf is `ret`, or for each rule with arguments
//!                              its tests, and its `ret` if all hold; then the rule without, or the default
//! above the last named     "no such call" if the default is an error, so that programs fall back
//! ```
//!
//! A call through an ABI that the profile does not list (i386, x32) is judged by no table: it gets the default if that
//! denies, else the process ends. On i386 a socket call can also be made through socketcall(2), and one of System V's
//! through ipc(2): a rule for it holds there too, see [`through_another`].

use corral_spec::record::BpfInstruction;

use crate::seccomp::Arch;

/// SECCOMP_RET_ALLOW
pub const ALLOW: u32 = 0x7fff_0000;
/// SECCOMP_RET_ERRNO
pub const ERRNO: u32 = 0x0005_0000;
/// SECCOMP_RET_KILL_PROCESS
pub const KILL_PROCESS: u32 = 0x8000_0000;
/// SECCOMP_RET_LOG
pub const LOG: u32 = 0x7ffc_0000;
/// SECCOMP_RET_TRACE
pub const TRACE: u32 = 0x7ff0_0000;
/// SECCOMP_RET_USER_NOTIF
pub const NOTIFY: u32 = 0x7fc0_0000;
/// First number of the x32 ABI.
const X32: u32 = 0x4000_0000;

/// A rule for one system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number.
    pub number: u32,
    /// What must hold for the rule to apply: all of them.
    pub tests: Vec<Test>,
    /// SECCOMP_RET_*, with its data.
    pub action: u32,
}

/// One comparison of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// Which argument, 0 to 5.
    pub index: u32,
    /// How.
    pub op: Op,
    /// With what; for [`Op::MaskedEqual`] after the mask.
    pub value: u64,
}

/// SCMP_CMP_*
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// SCMP_CMP_NE
    NotEqual,
    /// SCMP_CMP_LT
    Less,
    /// SCMP_CMP_LE
    LessOrEqual,
    /// SCMP_CMP_EQ
    Equal,
    /// SCMP_CMP_GE
    GreaterOrEqual,
    /// SCMP_CMP_GT
    Greater,
    /// SCMP_CMP_MASKED_EQ with this mask
    MaskedEqual(u64),
}

const LD: u16 = 0x20;
const AND: u16 = 0x54;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const RET: u16 = 0x06;

/// The rules for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which one.
    pub arch: Arch,
    /// Whether x32 calls are judged by these rules too; by the default otherwise.
    pub x32: bool,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// Compiles the rules. None if the program is longer than the kernel takes.
pub fn compile(default: u32, parts: &[Part]) -> Option<Vec<BpfInstruction>> {
    let foreign = if matches!(default, ALLOW | LOG) { KILL_PROCESS } else { default };
    let mut code = vec![BpfInstruction(LD, 0, 0, 4)];
    for part in parts {
        let judged = judged(part, default, foreign)?;
        // The part begins with its own load: the next one finds the architecture untouched.
        code.push(BpfInstruction(JEQ, 1, 0, part.arch.audit()));
        code.push(BpfInstruction(JA, 0, 0, u32::try_from(judged.len()).ok()?));
        code.extend(judged);
    }
    code.push(ret(foreign));
    (code.len() <= 4096).then_some(code)
}

/// The answers to the calls of one architecture, by number.
fn judged(part: &Part, default: u32, foreign: u32) -> Option<Vec<BpfInstruction>> {
    let Part { rules, x32, .. } = part;
    // ENOSYS: a program's library then tries an older call.
    let unknown = if default & 0xffff_0000 == ERRNO && !rules.is_empty() { ERRNO | 38 } else { default };
    let mut ranges: Vec<(u32, Vec<BpfInstruction>)> = Vec::new();
    let mut push = |first: u32, code: Vec<BpfInstruction>| {
        if ranges.last().is_none_or(|(_, before)| *before != code) {
            ranges.push((first, code));
        }
    };
    let mut span = |first: u32, end: u32, after: u32| -> Option<()> {
        let numbers = rules.iter().map(|rule| rule.number).filter(|number| (first..end).contains(number));
        let last = numbers.max().unwrap_or(first);
        for number in first..=last {
            push(number, leaf(rules, number, default)?);
        }
        push(last + 1, vec![ret(after)]);
        Some(())
    };
    span(0, X32, unknown)?;
    if *x32 {
        span(X32, u32::MAX, unknown)?;
    } else {
        push(X32, vec![ret(foreign)]);
    }
    let mut code = vec![BpfInstruction(LD, 0, 0, 0)];
    code.extend(tree(&ranges)?);
    Some(code)
}

/// What a rule for a call means for the call that carries it on i386: socketcall(2) and ipc(2) have its number as their
/// first argument and its own arguments in memory, where no filter looks. So a rule with tests is passed on without
/// them if it denies, and not at all if it allows.
pub fn through_another(name: &str, rule: &Rule) -> Option<Rule> {
    let place = |names: &[&str]| names.iter().position(|known| *known == name && !known.is_empty());
    let (carrier, value) = match (place(&SOCKET_CALLS), place(&IPC_CALLS)) {
        (Some(at), _) => ("socketcall", at as u64 + 1),
        (None, Some(at)) => ("ipc", at as u64 + 1),
        (None, None) => return None,
    };
    if !rule.tests.is_empty() && matches!(rule.action, ALLOW | LOG) {
        return None;
    }
    // ipc(2) has a version in the upper half.
    let tests = vec![Test { index: 0, op: Op::MaskedEqual(0xffff), value }];
    Some(Rule { number: Arch::I386.number(carrier)?, tests, action: rule.action })
}

/// linux/net.h, from 1 on.
const SOCKET_CALLS: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// linux/ipc.h, from 1 on.
const IPC_CALLS: [&str; 24] = [
    "semop",
    "semget",
    "semctl",
    "semtimedop",
    "",
    "",
    "",
    "",
    "",
    "",
    "msgsnd",
    "msgrcv",
    "msgget",
    "msgctl",
    "",
    "",
    "",
    "",
    "",
    "",
    "shmat",
    "shmdt",
    "shmget",
    "shmctl",
];

const fn ret(value: u32) -> BpfInstruction {
    BpfInstruction(RET, 0, 0, value)
}

fn tree(ranges: &[(u32, Vec<BpfInstruction>)]) -> Option<Vec<BpfInstruction>> {
    let [_, _, ..] = ranges else { return Some(ranges.first()?.1.clone()) };
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (left, right) = (tree(low)?, tree(high)?);
    let first = high[0].0;
    let mut code = Vec::with_capacity(left.len() + right.len() + 2);
    match u8::try_from(left.len()) {
        Ok(over) => code.push(BpfInstruction(JGE, over, 0, first)),
        Err(_) => {
            code.push(BpfInstruction(JGE, 0, 1, first));
            code.push(BpfInstruction(JA, 0, 0, u32::try_from(left.len()).ok()?));
        }
    }
    code.extend(left);
    code.extend(right);
    Some(code)
}

fn leaf(rules: &[Rule], number: u32, default: u32) -> Option<Vec<BpfInstruction>> {
    let mut code = Vec::new();
    let mut otherwise = default;
    let mut decided = false;
    for rule in rules.iter().filter(|rule| rule.number == number) {
        if rule.tests.is_empty() {
            if !decided {
                otherwise = rule.action;
                decided = true;
            }
            continue;
        }
        let mut block = Vec::new();
        // Backwards: a failed test jumps over what follows it and the rule's return.
        for test in rule.tests.iter().rev() {
            let mut one = judge(test, u8::try_from(block.len() + 1).ok()?)?;
            one.append(&mut block);
            block = one;
        }
        code.extend(block);
        code.push(ret(rule.action));
    }
    code.push(ret(otherwise));
    Some(code)
}

/// One test: falls through where it holds, and jumps `over` instructions beyond its end where not.
fn judge(test: &Test, over: u8) -> Option<Vec<BpfInstruction>> {
    let low = 16 + 8 * test.index;
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    let (high_value, low_value) = halves(test.value);
    if let Op::MaskedEqual(mask) = test.op {
        let (high_mask, low_mask) = halves(mask);
        return Some(vec![
            BpfInstruction(LD, 0, 0, low + 4),
            BpfInstruction(AND, 0, 0, high_mask),
            BpfInstruction(JEQ, 0, over.checked_add(3)?, high_value),
            BpfInstruction(LD, 0, 0, low),
            BpfInstruction(AND, 0, 0, low_mask),
            BpfInstruction(JEQ, 0, over, low_value),
        ]);
    }
    // Jumps are counted from the instruction after: to the end of the five, or beyond it.
    let (holds_if_greater, decide) = match test.op {
        Op::Equal => (None, BpfInstruction(JEQ, 0, over, low_value)),
        Op::NotEqual => {
            return Some(vec![
                BpfInstruction(LD, 0, 0, low + 4),
                BpfInstruction(JEQ, 0, 2, high_value),
                BpfInstruction(LD, 0, 0, low),
                BpfInstruction(JEQ, over, 0, low_value),
            ]);
        }
        Op::Greater => (Some(true), BpfInstruction(JGT, 0, over, low_value)),
        Op::GreaterOrEqual => (Some(true), BpfInstruction(JGE, 0, over, low_value)),
        Op::LessOrEqual => (Some(false), BpfInstruction(JGT, over, 0, low_value)),
        Op::Less => (Some(false), BpfInstruction(JGE, over, 0, low_value)),
        Op::MaskedEqual(_) => return None,
    };
    let load = BpfInstruction(LD, 0, 0, low + 4);
    let beyond = |left: u8| over.checked_add(left);
    Some(match holds_if_greater {
        None => {
            vec![load, BpfInstruction(JEQ, 0, beyond(2)?, high_value), BpfInstruction(LD, 0, 0, low), decide]
        }
        Some(greater) => {
            let first = if greater {
                BpfInstruction(JGT, 3, 0, high_value)
            } else {
                BpfInstruction(JGT, beyond(3)?, 0, high_value)
            };
            // Not greater and not equal is less.
            let second = if greater {
                BpfInstruction(JEQ, 0, beyond(2)?, high_value)
            } else {
                BpfInstruction(JEQ, 0, 2, high_value)
            };
            vec![load, first, second, BpfInstruction(LD, 0, 0, low), decide]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer.
    fn run(code: &[BpfInstruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            0 => number,
            4 => arch,
            _ => {
                let arg = args[(offset as usize - 16) / 8];
                if offset % 8 == 4 { (arg >> 32) as u32 } else { arg as u32 }
            }
        };
        let (mut at, mut acc) = (0, 0);
        loop {
            let BpfInstruction(op, yes, no, k) = code[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { yes } else { no });
            match op {
                LD => acc = word(k),
                AND => acc &= k,
                JA => at += k as usize,
                JEQ => at += jump(acc == k),
                JGT => at += jump(acc > k),
                JGE => at += jump(acc >= k),
                RET => return k,
                other => panic!("{other:#x}"),
            }
        }
    }

    fn native(rules: &[Rule]) -> Part {
        Part { arch: Arch::X86_64, x32: false, rules: rules.to_vec() }
    }

    #[test]
    fn each_abi_has_its_own_part() {
        let rule = |number, action| Rule { number, tests: Vec::new(), action };
        let parts = [
            Part { arch: Arch::X86_64, x32: true, rules: vec![rule(1, ALLOW), rule(X32 + 514, ALLOW)] },
            Part { arch: Arch::I386, x32: false, rules: vec![rule(4, ALLOW), rule(252, ALLOW)] },
        ];
        let code = compile(ERRNO | 1, &parts).unwrap();
        let (amd64, i386) = (Arch::X86_64.audit(), Arch::I386.audit());
        for (arch, number, expect) in [
            (amd64, 1, ALLOW),
            (amd64, 4, ERRNO | 38),
            (amd64, X32 + 1, ERRNO | 1),
            (amd64, X32 + 514, ALLOW),
            (amd64, X32 + 515, ERRNO | 38),
            (i386, 4, ALLOW),
            (i386, 1, ERRNO | 1),
            (i386, 252, ALLOW),
            (i386, X32 + 4, ERRNO | 1),
            (0xc000_00b7, 1, ERRNO | 1),
        ] {
            assert_eq!(run(&code, arch, number, [0; 6]), expect, "{arch:#x} {number}");
        }
    }

    #[test]
    fn i386_calls_within_a_call_are_judged() {
        let plain = |action| Rule { number: 359, tests: Vec::new(), action };
        let carried = through_another("socket", &plain(ERRNO | 13)).unwrap();
        let rules = vec![plain(ERRNO | 13), carried];
        let code = compile(ALLOW, &[Part { arch: Arch::I386, x32: false, rules }]).unwrap();
        let ask = |number, first| run(&code, Arch::I386.audit(), number, [first, 0, 0, 0, 0, 0]);
        assert_eq!((ask(359, 0), ask(102, 1), ask(102, 2)), (ERRNO | 13, ERRNO | 13, ALLOW));
        let tested =
            |action| Rule { tests: vec![Test { index: 0, op: Op::Equal, value: 2 }], ..plain(action) };
        assert!(through_another("socket", &tested(ALLOW)).is_none());
        assert_eq!(through_another("shmget", &tested(ERRNO | 1)).unwrap().tests[0].value, 23);
        assert!(through_another("write", &plain(ALLOW)).is_none());
    }

    type Meaning = fn(u64, u64) -> bool;

    #[test]
    fn comparisons_are_of_all_64_bits() {
        let values = [0, 1, 7, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 0x7_0000_0000, u64::MAX];
        let ops: [(Op, Meaning); 7] = [
            (Op::Equal, |a, b| a == b),
            (Op::NotEqual, |a, b| a != b),
            (Op::Less, |a, b| a < b),
            (Op::LessOrEqual, |a, b| a <= b),
            (Op::Greater, |a, b| a > b),
            (Op::GreaterOrEqual, |a, b| a >= b),
            (Op::MaskedEqual(0xf_0000_000f), |a, b| a & 0xf_0000_000f == b),
        ];
        for (op, expect) in ops {
            for value in values {
                let always = Test { index: 0, op: Op::Equal, value: 5 };
                let tests = vec![always, Test { index: 3, op, value }];
                let rules = [Rule { number: 9, tests, action: ALLOW }];
                let code = compile(ERRNO | 1, &[native(&rules)]).unwrap();
                for arg in values {
                    let want = if expect(arg, value) { ALLOW } else { ERRNO | 1 };
                    let got = run(&code, Arch::X86_64.audit(), 9, [5, 0, 0, arg, 0, 0]);
                    assert_eq!(got, want, "{op:?} {arg:#x} {value:#x}");
                    let other = run(&code, Arch::X86_64.audit(), 9, [6, 0, 0, arg, 0, 0]);
                    assert_eq!(other, ERRNO | 1, "the first test must hold too");
                }
            }
        }
    }

    #[test]
    fn what_no_rule_names() {
        let rule = |number, action| Rule { number, tests: Vec::new(), action };
        let parts = [native(&[rule(3, ALLOW), rule(7, LOG)])];
        let native = Arch::X86_64.audit();
        let ask = |default, arch, number| run(&compile(default, &parts).unwrap(), arch, number, [0; 6]);
        assert_eq!(ask(ERRNO | 1, native, 3), ALLOW);
        assert_eq!(ask(ERRNO | 1, native, 4), ERRNO | 1);
        assert_eq!(ask(ERRNO | 1, native, 7), LOG);
        assert_eq!(ask(ERRNO | 1, native, 8), ERRNO | 38, "newer than the profile: no such call");
        assert_eq!(ask(ERRNO | 1, native, X32 + 3), ERRNO | 1);
        assert_eq!(ask(ALLOW, native, X32 + 3), KILL_PROCESS);
        assert_eq!(ask(ALLOW, 3, 3), KILL_PROCESS, "another architecture");
        assert_eq!(ask(ALLOW, native, 400), ALLOW);
    }
}
