//! The user's own system call filter, in place of the profile's (`--security-opt seccomp=FILE`).

use corral_policy::{CapabilitySet, SeccompFile, SeccompHost};
use corral_runtime::seccomp::{Arch, compile};
use corral_spec::record::BpfInstruction;

use crate::{Error, host};

/// Compiles a profile in Docker's JSON for a container with these capabilities on this kernel.
pub(crate) fn program(
    text: &str,
    capabilities: CapabilitySet,
    kernel: &str,
    arch: Arch,
) -> Result<Vec<BpfInstruction>, Error> {
    let invalid = |error: &dyn std::fmt::Display| Error::Invalid(format!("--security-opt seccomp: {error}"));
    let file: SeccompFile = serde_json::from_str(text)
        .map_err(|error| invalid(&format!("the file is no profile in Docker's format: {error}")))?;
    let known = |name: &str| [Arch::X86_64, Arch::Aarch64].iter().any(|arch| arch.number(name).is_some());
    let here = SeccompHost { capabilities, architecture: host::architecture(), kernel };
    let filter = file.filter(here, known).map_err(|error| invalid(&error))?;
    compile(&filter, arch).map_err(|error| invalid(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> String {
        let arch = Arch::NATIVE.expect("tests run where filters are supported");
        match program(text, CapabilitySet::EMPTY, "6.1.0", arch) {
            Ok(program) => format!("{} instructions", program.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn files_in_dockers_format() {
        let fine = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,
            "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
            "syscalls":[{"names":["read","write","_llseek"],"action":"SCMP_ACT_ALLOW","args":[],"comment":"","includes":{},"excludes":{}},
                        {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":40,"valueTwo":0,"op":"SCMP_CMP_NE"}]}]}"#;
        assert!(says(fine).ends_with("instructions"), "{}", says(fine));
        for (bad, part) in [
            ("", "no profile in Docker's format"),
            (r#"{"defaultAction":"SCMP_ACT_ERRNO","listenerPath":"/x"}"#, "listenerPath"),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#, "a default that allows"),
            (r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":0}"#, "errno 0"),
            (
                r#"{"defaultAction":"SCMP_ACT_ERRNO","flags":["SECCOMP_FILTER_FLAG_LOG"]}"#,
                "SECCOMP_FILTER_FLAG_LOG",
            ),
        ] {
            assert!(says(bad).contains(part), "{bad}: {}", says(bad));
        }
    }
}
