use corral_spec::record::BpfInstruction;
use corral_spec::seccomp::{ArgTest, SyscallAction, SyscallRule};

use super::{Answer, CompileError, Range};

/// Opcodes of linux/bpf_common.h and linux/filter.h.
pub(super) const LD_WORD_ABS: u16 = 0x20;
pub(super) const AND_K: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQ: u16 = 0x15;
pub(super) const JUMP_GE: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
pub(super) const OFFSET_NR: u32 = 0;
pub(super) const OFFSET_ARCH: u32 = 4;
pub(super) const OFFSET_ARGS: u32 = 16;

/// The whole program. `ranges` are in order, the first begins at 0.
pub(super) fn program(
    audit_arch: u32,
    foreign: SyscallAction,
    ranges: &[Range<'_>],
) -> Result<Vec<BpfInstruction>, CompileError> {
    let mut code = vec![
        BpfInstruction(LD_WORD_ABS, 0, 0, OFFSET_ARCH),
        BpfInstruction(JUMP_EQ, 1, 0, audit_arch),
        ret(foreign),
        BpfInstruction(LD_WORD_ABS, 0, 0, OFFSET_NR),
    ];
    code.extend(tree(ranges)?);
    Ok(code)
}

/// The accumulator holds the number. Left half first: a conditional jump reaches 255 instructions only,
/// so a longer left half is stepped over by an unconditional jump, which has 32 bits.
fn tree(ranges: &[Range<'_>]) -> Result<Vec<BpfInstruction>, CompileError> {
    let [_, _, ..] = ranges else {
        return ranges.first().map_or(Ok(Vec::new()), |range| leaf(range.answer));
    };
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (left, right) = (tree(low)?, tree(high)?);
    let first = high[0].first;
    let mut code = Vec::with_capacity(left.len() + right.len() + 2);
    match u8::try_from(left.len()) {
        Ok(over) => code.push(BpfInstruction(JUMP_GE, over, 0, first)),
        Err(_) => {
            let over = u32::try_from(left.len()).map_err(|_| CompileError::TooLong(left.len()))?;
            code.push(BpfInstruction(JUMP_GE, 0, 1, first));
            code.push(BpfInstruction(JUMP, 0, 0, over));
        }
    }
    code.extend(left);
    code.extend(right);
    Ok(code)
}

fn leaf(answer: Answer<'_>) -> Result<Vec<BpfInstruction>, CompileError> {
    match answer {
        Answer::Always(action) => Ok(vec![ret(action)]),
        Answer::Cases(rule) => cases(rule),
    }
}

fn cases(rule: &SyscallRule) -> Result<Vec<BpfInstruction>, CompileError> {
    let mut code = Vec::new();
    for case in &rule.cases {
        let block: Vec<BpfInstruction> = case.tests.iter().flat_map(halves).collect();
        let length = block.len();
        for (at, instruction) in block.into_iter().enumerate() {
            let BpfInstruction(op, ..) = instruction;
            if op != JUMP_EQ {
                code.push(instruction);
                continue;
            }
            // On a mismatch over the rest of the block and the case's return.
            let over = u8::try_from(length - at).map_err(|_| CompileError::TooLong(length))?;
            code.push(BpfInstruction(op, 0, over, instruction.3));
        }
        code.push(ret(case.action));
    }
    code.push(ret(rule.otherwise));
    Ok(code)
}

/// Load, mask and comparison of each half that the mask touches; both architectures are little-endian.
fn halves(test: &ArgTest) -> impl Iterator<Item = BpfInstruction> {
    let low = OFFSET_ARGS + 8 * u32::from(test.index);
    let half = |offset: u32, mask: u32, value: u32| {
        let load = (mask != 0).then_some(BpfInstruction(LD_WORD_ABS, 0, 0, offset));
        let and = (mask != 0 && mask != u32::MAX).then_some(BpfInstruction(AND_K, 0, 0, mask));
        let compare = (mask != 0).then_some(BpfInstruction(JUMP_EQ, 0, 0, value));
        [load, and, compare].into_iter().flatten()
    };
    half(low + 4, (test.mask >> 32) as u32, (test.value >> 32) as u32).chain(half(
        low,
        test.mask as u32,
        test.value as u32,
    ))
}

pub(super) const fn ret(action: SyscallAction) -> BpfInstruction {
    let value = match action {
        SyscallAction::Allow => 0x7fff_0000,
        SyscallAction::Errno(errno) => 0x0005_0000 | errno as u32,
        SyscallAction::Trap => 0x0003_0000,
        SyscallAction::KillProcess => 0x8000_0000,
    };
    BpfInstruction(RETURN, 0, 0, value)
}
