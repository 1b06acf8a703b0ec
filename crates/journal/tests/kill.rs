//! Writers that are killed at any moment leave a journal that verifies, with every record that they said was written.
//!
//! ```text
//! kill                 the tests
//! kill __writer DIR    appends for ever; a byte on standard output for each record that is written
//! ```
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use corral_journal::{Action, Event, Grade, Item, Journal, ReadOptions};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [role, dir] = words.as_slice()
        && role == "__writer"
    {
        write_for_ever(&journal(Path::new(dir)));
    }
    let name = "killed_writers_leave_what_they_wrote";
    let wanted = words.iter().filter(|word| !word.starts_with('-')).all(|word| name.contains(word.as_str()));
    if words.iter().any(|word| word == "--list") {
        println!("{name}: test");
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", u32::from(wanted));
    if wanted {
        killed_writers_leave_what_they_wrote();
        println!("test {name} ... ok");
    }
    println!(
        "\ntest result: ok. {} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        u32::from(wanted)
    );
    ExitCode::SUCCESS
}

fn journal(dir: &Path) -> Journal {
    Journal::new(&dir.join("root"), &dir.join("run"))
}

fn write_for_ever(journal: &Journal) -> ! {
    let mut out = std::io::stdout();
    for number in 0_u64.. {
        // Long, so that segments are filled and rotated while it lasts.
        let event = Event::new(Action::Start, number.to_string()).with("filling", "x".repeat(3000));
        journal.append(Grade::Work, &[event]).unwrap();
        out.write_all(b".").and_then(|()| out.flush()).unwrap();
    }
    unreachable!("numbers do not end")
}

fn killed_writers_leave_what_they_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let (mut said, mut torn) = (0, 0);
    for round in 0..120_u64 {
        let spawn = || {
            Command::new("/proc/self/exe")
                .arg("__writer")
                .arg(dir.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let mut writers = [spawn(), spawn()];
        std::thread::sleep(Duration::from_micros(500 + round * 317 % 20_000));
        for writer in &mut writers {
            writer.kill().unwrap();
        }
        for writer in writers {
            let mut dots = Vec::new();
            let mut out = writer.stdout;
            out.take().unwrap().read_to_end(&mut dots).unwrap();
            said += dots.len();
        }
        let report = journal.verify(None).unwrap();
        assert!(report.is_good(), "round {round}: {:?}", report.wrong);
        torn += report.torn.len();
        if round % 10 == 9 {
            // As after a reboot, with nothing lost.
            std::fs::remove_dir_all(dir.path().join("run")).unwrap();
        }
    }
    let mut reader = journal.read(ReadOptions::default()).unwrap();
    let mut read = 0;
    while let Some(item) = reader.next_item(|| {}).unwrap() {
        match item {
            Item::Record(record) => read += usize::from(!record.is_mark()),
            Item::Damage(text) => panic!("{text}"),
        }
    }
    println!("    {said} records said, {read} read, {torn} torn");
    assert!(said > 200 && read >= said, "{said} said, {read} read");
}
