//! One machine from power on to power off, and what it says.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result};

use super::disk::Media;
use super::kernel::Kernel;
use crate::cargo;
use crate::tally::Tally;

/// The longest time without a word: more than the slowest test takes, many times over.
const SILENCE: Duration = Duration::from_secs(300);

/// Boots the machine, shows what it says as it comes, and counts.
pub fn run(name: &str, kernel: &Kernel, media: &Media, tally: &mut Tally) -> Result<()> {
    let console = media.disk.with_file_name(format!("{name}.console"));
    let mut command = machine(name, kernel, media, &console);
    eprintln!("xtask: {}", cargo::typed(&command));
    let mut child = command.spawn().context("cannot start QEMU")?;
    let output = child.stdout.take().context("QEMU has no output")?;
    let (said, hear) = channel();
    let reader = std::thread::spawn(move || {
        // Tests print what they like, also bytes that are no UTF-8.
        let lines = BufReader::new(output).split(b'\n').map_while(|line| line.ok());
        lines.for_each(|line| drop(said.send(String::from_utf8_lossy(&line).trim_end().to_owned())));
    });
    let mut guest = Guest { name, tally, failed_before: 0, ended: false };
    let cause = loop {
        match hear.recv_timeout(SILENCE) {
            Ok(line) => {
                println!("{line}");
                guest.hear(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break "it died",
            Err(RecvTimeoutError::Timeout) => {
                child.kill().context("cannot end QEMU")?;
                break "it said nothing for five minutes";
            }
        }
    };
    let status = child.wait()?;
    // The reader ends with QEMU, and has nothing to tell.
    let _ = reader.join();
    if !guest.ended {
        eprintln!("xtask: {name}: {cause} before its last test ended ({status}); its console said last:");
        let text = fs::read(&console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].iter().for_each(|line| eprintln!("  {line}"));
        tally.broken();
    }
    Ok(())
}

/// Two processors, as tests run in parallel; two serial ports, as the kernel's lines would fall between the
/// tests'. Without KVM it is slow and the same everywhere.
fn machine(name: &str, kernel: &Kernel, media: &Media, console: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048"]);
    command.args(["-nodefaults", "-display", "none", "-no-reboot"]);
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&media.first);
    // An unknown word of this shape becomes a variable of the first process. A panic ends the machine.
    command.arg("-append").arg(format!("console=ttyS0 quiet panic=-1 mitigations=off machine={name}"));
    command.arg("-serial").arg(format!("file:{}", console.display())).args(["-serial", "stdio"]);
    command.arg("-drive");
    command.arg(format!("file={},format=raw,if=virtio,cache=unsafe,snapshot=on", media.disk.display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// A machine that is being listened to.
struct Guest<'t> {
    name: &'t str,
    tally: &'t mut Tally,
    /// How many tests had failed when the present program began.
    failed_before: usize,
    /// Whether init.sh came to its end.
    ended: bool,
}

impl Guest<'_> {
    /// One line: init.sh's own begin with `vm: `, the others are the tests'.
    fn hear(&mut self, line: &str) {
        let Some(word) = line.strip_prefix("vm: ") else { return self.tally.read(line) };
        match word.split(' ').collect::<Vec<_>>()[..] {
            ["end"] => self.ended = true,
            ["begin", _] => self.failed_before = self.tally.failed(),
            ["code", code, program] if code != "0" && self.tally.failed() == self.failed_before => {
                eprintln!("xtask: {}: {program} ended with {code} without a failed test", self.name);
                self.tally.broken();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, expect: &str, ended: bool) {
        let mut tally = Tally::default();
        let mut guest = Guest { name: "v2", tally: &mut tally, failed_before: 0, ended: false };
        output.lines().for_each(|line| guest.hear(line));
        assert_eq!(guest.ended, ended, "{output}");
        assert_eq!(tally.to_string(), expect, "{output}");
    }

    #[test]
    fn what_a_machine_says() {
        let good = "vm: begin a\ntest result: ok. 3 passed; 0 failed; 0 ignored\nvm: code 0 a\n";
        let failed = "vm: begin b\ntest result: FAILED. 1 passed; 1 failed; 0 ignored\nvm: code 101 b\n";
        let killed = "vm: begin c\nvm: code 137 c\n";
        check(&format!("{good}vm: end\n"), "3 passed, 0 failed, 0 skipped", true);
        check(&format!("{failed}{good}vm: end\n"), "4 passed, 1 failed, 0 skipped", true);
        check(&format!("{failed}{killed}vm: end\n"), "1 passed, 2 failed, 0 skipped", true);
        check(good, "3 passed, 0 failed, 0 skipped", false);
    }
}
