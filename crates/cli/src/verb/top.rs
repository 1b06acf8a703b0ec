//! `corral top`: what ps(1) prints, of a container's processes, without starting a program of the host.

use std::time::{SystemTime, UNIX_EPOCH};

use corral_engine::ProcessEntry;

use crate::Words;
use crate::app::Globals;
use crate::failure::{ENGINE, Failure};
use crate::output;

#[derive(Debug, clap::Args)]
struct Flags {
    /// Container, then options of ps: -ef, aux, -o FIELD,…
    #[arg(required = true, value_names = ["CONTAINER", "ps OPTIONS"], num_args = 1..)]
    words: Vec<String>,
}

/// The host's clock, memory and names, read once.
struct Host {
    now: f64,
    boot: f64,
    memory: u64,
    passwd: String,
    group: String,
}

/// Clock ticks a second in what the kernel tells programs.
const USER_HZ: f64 = 100.0;

type Cell = fn(&Host, &ProcessEntry) -> String;

/// Name, head, value, whether numbers stand at the right.
const FIELDS: &[(&[&str], &str, Cell, bool)] = &[
    (&["user", "euser", "uname"], "USER", |host, entry| name(&host.passwd, entry.uid), false),
    (&["uid", "euid"], "UID", |_, entry| entry.uid.to_string(), true),
    (&["group", "egroup"], "GROUP", |host, entry| name(&host.group, entry.gid), false),
    (&["gid", "egid"], "GID", |_, entry| entry.gid.to_string(), true),
    (&["pid", "tgid"], "PID", |_, entry| entry.pid.to_string(), true),
    (&["ppid"], "PPID", |_, entry| entry.ppid.to_string(), true),
    (&["pgid", "pgrp"], "PGID", |_, entry| entry.pgid.to_string(), true),
    (&["sid", "sess", "session"], "SID", |_, entry| entry.sid.to_string(), true),
    (&["comm", "ucmd", "ucomm"], "COMMAND", |_, entry| clean(&entry.comm), false),
    (&["args", "command"], "COMMAND", |_, entry| command(entry), false),
    (&["cmd"], "CMD", |_, entry| command(entry), false),
    (&["s", "state"], "S", |_, entry| entry.state.to_string(), false),
    (&["stat"], "STAT", |_, entry| stat(entry), false),
    (&["tty", "tt", "tname"], "TTY", |_, entry| tty(entry.tty), false),
    (&["time", "cputime"], "TIME", |_, entry| clock(seconds(entry), true), true),
    (&["etime"], "ELAPSED", |host, entry| elapsed(age(host, entry)), true),
    (&["etimes"], "ELAPSED", |host, entry| (age(host, entry) as u64).to_string(), true),
    (&["stime", "start_time", "bsdstart", "start"], "STIME", start, false),
    (&["rss", "rssize", "rsz"], "RSS", |_, entry| (entry.resident_bytes >> 10).to_string(), true),
    (&["vsz", "vsize"], "VSZ", |_, entry| (entry.virtual_bytes >> 10).to_string(), true),
    (&["pcpu", "%cpu"], "%CPU", |host, entry| format!("{:.1}", share(host, entry)), true),
    (&["pmem", "%mem"], "%MEM", memory_share, true),
    (&["c"], "C", |host, entry| (share(host, entry) as u64).min(99).to_string(), true),
    (&["ni", "nice"], "NI", |_, entry| entry.nice.to_string(), true),
    (&["nlwp", "thcount"], "NLWP", |_, entry| entry.threads.to_string(), true),
];

/// A column: its head and its field.
struct Column {
    head: String,
    cell: Cell,
    right: bool,
}

/// `corral top`.
pub(super) fn top(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let parsed = super::parse_until::<Flags>(crate::words::FlagsEnd::AtName, "top", &words)?;
    let Some(flags) = parsed else { return Ok(0) };
    let Some((container, options)) = flags.words.split_first() else { return Ok(0) };
    let columns = columns(options)?;
    let engine = globals.engine()?;
    let entries = engine.top(&engine.find(container)?)?;
    output::print(&table(&columns, &Host::look(), &entries))?;
    Ok(0)
}

/// The columns that the options of ps mean. Which processes are shown is not theirs to say: all of the container, and
/// no other.
fn columns(options: &[String]) -> Result<Vec<Column>, Failure> {
    let refuse = |option: &str| {
        let text = format!(
            "top: the ps option {option:?} is not supported; there are -e, -A, -a, -x, -f, a, u, x and -o with {}",
            FIELDS.iter().map(|(names, ..)| names[0]).collect::<Vec<_>>().join(",")
        );
        Failure::with_code(ENGINE, text)
    };
    const FULL: &str = "user=UID,pid,ppid,c,stime,tty,time,cmd";
    const USER: &str = "user,pid,%cpu,%mem,vsz,rss,tty,stat,stime=START,time,command";
    const PLAIN: &str = "pid,tty,time,comm=CMD";
    let (mut own, mut format) = (Vec::new(), if options.is_empty() { FULL } else { PLAIN });
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let (letters, dash) = match word.strip_prefix('-') {
            Some(letters) => (letters, true),
            None => (word.as_str(), false),
        };
        for (at, letter) in letters.char_indices() {
            match (letter, dash) {
                ('e' | 'A' | 'a' | 'x', true) | ('a' | 'x', false) => {}
                ('f', true) => format = FULL,
                ('u', false) => format = USER,
                // As BSD's ps: with a dash it would be the processes of the user x.
                ('u', true) if letters == "aux" => format = USER,
                ('o', _) => {
                    let rest = &letters[at + 1..];
                    let list = if rest.is_empty() { words.next() } else { None };
                    own.push(list.map_or(rest, String::as_str).to_owned());
                    break;
                }
                _ => return Err(refuse(word)),
            }
        }
        if letters.is_empty() {
            return Err(refuse(word));
        }
    }
    let lists = if own.is_empty() { vec![format.to_owned()] } else { own };
    let mut columns = Vec::new();
    for field in lists.iter().flat_map(|list| list.split([',', ' '])) {
        let (name, head) = field.split_once('=').map_or((field, None), |(name, head)| (name, Some(head)));
        let known = FIELDS.iter().find(|(names, ..)| names.contains(&name)).ok_or_else(|| refuse(name))?;
        let &(_, title, cell, right) = known;
        columns.push(Column { head: head.unwrap_or(title).to_owned(), cell, right });
    }
    Ok(columns)
}

fn table(columns: &[Column], host: &Host, entries: &[ProcessEntry]) -> String {
    let cells = |entry: &ProcessEntry| columns.iter().map(|column| (column.cell)(host, entry)).collect();
    let mut rows: Vec<Vec<String>> = vec![columns.iter().map(|column| column.head.clone()).collect()];
    rows.extend(entries.iter().map(cells));
    let width = |at: usize| rows.iter().map(|row: &Vec<String>| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let width = widths[at];
            let padded =
                if columns[at].right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            line.push_str(&padded);
            line.push_str("   ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

impl Host {
    fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let number = |text: &str, key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Self {
            now: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            boot: number(&read("/proc/stat"), "btime ") as f64,
            memory: number(&read("/proc/meminfo"), "MemTotal:") << 10,
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
        }
    }
}

/// The name that the host has for a number; the number if there is none, as for the ids of a container.
fn name(file: &str, id: u32) -> String {
    let known = file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    });
    known.map_or_else(|| id.to_string(), str::to_owned)
}

/// What a process calls itself may be meant for a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn command(entry: &ProcessEntry) -> String {
    if entry.args.is_empty() { format!("[{}]", clean(&entry.comm)) } else { clean(&entry.args.join(" ")) }
}

fn stat(entry: &ProcessEntry) -> String {
    let marks = [
        (entry.nice < 0, '<'),
        (entry.nice > 0, 'N'),
        (entry.locked, 'L'),
        (entry.sid == entry.pid, 's'),
        (entry.threads > 1, 'l'),
        (entry.tty != 0 && entry.foreground, '+'),
    ];
    std::iter::once(entry.state).chain(marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark)).collect()
}

/// Documentation/admin-guide/devices.txt: 136 to 143 are pseudo-terminals, 4 consoles and serial lines.
fn tty(number: i32) -> String {
    let number = number as u32;
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
    match (major, minor) {
        (0, _) => "?".to_owned(),
        (136..=143, _) => format!("pts/{}", (major - 136) * 256 + minor),
        (4, 0..=63) => format!("tty{minor}"),
        (4, _) => format!("ttyS{}", minor - 64),
        _ => format!("{major}:{minor}"),
    }
}

fn seconds(entry: &ProcessEntry) -> u64 {
    (entry.cpu_ticks as f64 / USER_HZ) as u64
}

fn age(host: &Host, entry: &ProcessEntry) -> f64 {
    (host.now - host.boot - entry.start_ticks as f64 / USER_HZ).max(0.0)
}

/// Hundredths of one CPU over its whole life, as ps counts.
fn share(host: &Host, entry: &ProcessEntry) -> f64 {
    let age = age(host, entry);
    if age < 0.01 { 0.0 } else { entry.cpu_ticks as f64 / USER_HZ * 100.0 / age }
}

fn memory_share(host: &Host, entry: &ProcessEntry) -> String {
    format!("{:.1}", entry.resident_bytes as f64 * 100.0 / host.memory.max(1) as f64)
}

/// `HH:MM:SS`, with days before it; without `hours` they are left out where there are none.
fn clock(seconds: u64, hours: bool) -> String {
    let (days, hour, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds % 3600);
    let tail = format!("{:02}:{:02}", rest / 60, rest % 60);
    match (days, hour, hours) {
        (0, 0, false) => tail,
        (0, ..) => format!("{hour:02}:{tail}"),
        _ => format!("{days}-{hour:02}:{tail}"),
    }
}

fn elapsed(seconds: f64) -> String {
    clock(seconds as u64, false)
}

/// The hour of a start within the last day, else the date, in the local zone.
fn start(host: &Host, entry: &ProcessEntry) -> String {
    let started = (host.now - age(host, entry)).max(0.0) as u64;
    let moment = output::local(started * 1_000_000_000, output::rfc3339);
    if age(host, entry) < 86_400.0 { moment[11..16].to_owned() } else { moment[..10].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(options: &[&str]) -> String {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        match columns(&options) {
            Ok(columns) => columns.iter().map(|column| column.head.as_str()).collect::<Vec<_>>().join(" "),
            Err(failure) => failure.message().to_owned(),
        }
    }

    #[test]
    fn options_of_ps() {
        const FULL: &str = "UID PID PPID C STIME TTY TIME CMD";
        const USER: &str = "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND";
        for (options, expect) in [
            (&[][..], FULL),
            (&["-ef"], FULL),
            (&["-e", "-f"], FULL),
            (&["aux"], USER),
            (&["-aux"], USER),
            (&["-e"], "PID TTY TIME CMD"),
            (&["-o", "pid,user,args"], "PID USER COMMAND"),
            (&["-eo", "pid,comm"], "PID COMMAND"),
            (&["-opid=NUMBER"], "NUMBER"),
            (&["o", "pid", "-o", "rss"], "PID RSS"),
        ] {
            assert_eq!(heads(options), expect, "{options:?}");
        }
        for bad in [&["-Z"][..], &["-o", "wchan"], &["-o"], &["--forest"], &["-"], &["-u", "root"]] {
            assert!(heads(bad).contains("is not supported"), "{bad:?}: {}", heads(bad));
        }
    }

    #[test]
    fn cells_of_ps() {
        assert_eq!([tty(0), tty(34816), tty(0x8801), tty(1025)], ["?", "pts/0", "pts/1", "tty1"]);
        assert_eq!(
            [clock(59, true), clock(3661, true), clock(90_061, true)],
            ["00:00:59", "01:01:01", "1-01:01:01"]
        );
        assert_eq!([elapsed(59.0), elapsed(3661.0)], ["00:59", "01:01:01"]);
        assert_eq!([name("root:x:0:0:\na:x:7:1:\n", 7), name("", 7)], ["a", "7"]);
        let entry = ProcessEntry {
            pid: 5,
            sid: 5,
            state: 'S',
            threads: 2,
            comm: "a\x1b[2J".into(),
            ..ProcessEntry::default()
        };
        assert_eq!((stat(&entry).as_str(), command(&entry).as_str()), ("Ssl", "[a?[2J]"));
    }
}
