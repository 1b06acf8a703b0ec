//! Which devices a container may use: lines for the v1 controller, a program for cgroup2.
//!
//! Only for containers that were given a device. The others have no node but those of their own /dev, and can make
//! none: their user namespace keeps mknod(2) from them.
//!
//! ```text
//! bpf_cgroup_dev_ctx: { u32 access << 16 | type; u32 major; u32 minor }      (linux/bpf.h)
//! r2 = type, r3 = access, r4 = major, r5 = minor
//! for each rule: anything that it does not say → the next rule; else return 1
//! return 0
//! ```

use corral_spec::{DeviceAccess, DeviceKind, DeviceRule};

/// The devices of every container (Documentation/admin-guide/devices.txt): full, null, random, urandom, zero, tty,
/// console, ptmx, and the terminals of devpts.
pub const OWN: [(u32, Option<u32>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// The container's own devices, then those that were granted; each rule is for one kind, because the v1 controller
/// takes `a` for every device and every access, whatever follows it.
pub(super) fn allowed(granted: &[DeviceRule]) -> Vec<DeviceRule> {
    let own = OWN.iter().map(|&(major, minor)| DeviceRule {
        kind: Some(DeviceKind::Char),
        major: Some(major),
        minor,
        access: DeviceAccess::ALL,
    });
    let both = |rule: &DeviceRule| match rule.kind {
        Some(_) => vec![rule.clone()],
        None => [DeviceKind::Char, DeviceKind::Block]
            .map(|kind| DeviceRule { kind: Some(kind), ..rule.clone() })
            .to_vec(),
    };
    own.chain(granted.iter().flat_map(both)).collect()
}

/// A line for devices.allow.
pub(super) fn line(rule: &DeviceRule) -> String {
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    let kind = rule.kind.map_or('a', DeviceKind::letter);
    format!("{kind} {}:{} {}", number(rule.major), number(rule.minor), rule.access)
}

/// One instruction (linux/bpf.h, struct bpf_insn), as the kernel reads it on a little-endian machine.
const fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> u64 {
    code as u64
        | (dst as u64) << 8
        | (src as u64) << 12
        | (offset as u16 as u64) << 16
        | (immediate as u32 as u64) << 32
}

const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE_NUMBER: u8 = 0xb7;
const AND_NUMBER: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_UNEQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

/// The program of BPF_PROG_TYPE_CGROUP_DEVICE that allows these and nothing else.
pub(super) fn program(rules: &[DeviceRule]) -> Vec<u64> {
    let mut code = vec![
        instruction(LOAD_WORD, 3, 1, 0, 0),
        instruction(MOVE_REGISTER, 2, 3, 0, 0),
        instruction(AND_NUMBER, 2, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let unequal = |register, number: u32| (register, number as i32);
        let kind = rule.kind.map(|kind| match kind {
            DeviceKind::Block => unequal(2, 1),
            DeviceKind::Char => unequal(2, 2),
        });
        let major = rule.major.map(|major| unequal(4, major));
        let minor = rule.minor.map(|minor| unequal(5, minor));
        let tests: Vec<_> = [kind, major, minor].into_iter().flatten().collect();
        // BPF_DEVCG_ACC_MKNOD, _READ, _WRITE; what is asked must lie within.
        let DeviceAccess { read, write, mknod } = rule.access;
        let granted = i32::from(mknod) | i32::from(read) << 1 | i32::from(write) << 2;
        // Over the tests that follow, the three that look at the access, and the two that allow.
        let mut left = tests.len() as i16 + 5;
        for (register, number) in tests {
            left -= 1;
            code.push(instruction(JUMP_UNEQUAL, register, 0, left, number));
        }
        code.push(instruction(MOVE_REGISTER, 1, 3, 0, 0));
        code.push(instruction(AND_NUMBER, 1, 0, 0, !granted));
        code.push(instruction(JUMP_UNEQUAL, 1, 0, 2, 0));
        code.push(instruction(MOVE_NUMBER, 0, 0, 0, 1));
        code.push(instruction(EXIT, 0, 0, 0, 0));
    }
    code.push(instruction(MOVE_NUMBER, 0, 0, 0, 0));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's interpreter would answer.
    fn run(code: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> u64 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u64; 6];
        let mut at = 0_usize;
        loop {
            let word = code[at];
            let (dst, src) = ((word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
            let (offset, number) = ((word >> 16) as u16 as i16, (word >> 32) as u32 as i32);
            at += 1;
            match word as u8 {
                LOAD_WORD => registers[dst] = context[offset as usize / 4].into(),
                MOVE_REGISTER => registers[dst] = registers[src],
                MOVE_NUMBER => registers[dst] = number as i64 as u64,
                AND_NUMBER => registers[dst] = (registers[dst] as u32 & number as u32).into(),
                SHIFT_RIGHT => registers[dst] >>= number,
                JUMP_UNEQUAL if registers[dst] as u32 != number as u32 => at += offset as usize,
                JUMP_UNEQUAL => {}
                EXIT => return registers[0],
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn what_is_not_granted_is_refused() {
        let rules: Vec<DeviceRule> =
            ["b 8:0 r", "c 10:* rw", "a 7:1 m"].iter().map(|rule| rule.parse().unwrap()).collect();
        let code = program(&allowed(&rules));
        let (block, char) = (1, 2);
        let (mknod, read, write) = (1, 2, 4);
        for (kind, access, major, minor, expect) in [
            (char, read | write, 1, 3, 1),
            (char, read, 136, 77, 1),
            (block, read, 1, 3, 0),
            (block, read, 8, 0, 1),
            (block, write, 8, 0, 0),
            (block, read | write, 8, 0, 0),
            (block, read, 8, 1, 0),
            (char, read, 8, 0, 0),
            (char, read | write, 10, 200, 1),
            (char, mknod, 10, 200, 0),
            (block, mknod, 7, 1, 1),
            (char, mknod, 7, 1, 1),
            (char, read, 7, 1, 0),
        ] {
            let found = run(&code, kind, access, major, minor);
            assert_eq!(found, expect, "{kind} {access} {major}:{minor}");
        }
        assert_eq!(run(&program(&[]), char, read, 1, 3), 0);
        let lines: Vec<String> = allowed(&rules).iter().map(line).collect();
        assert!(lines.iter().all(|line| !line.starts_with('a')), "{lines:?}");
        assert_eq!(lines[lines.len() - 2..], ["c 7:1 m", "b 7:1 m"]);
    }
}
