use std::io::Write;

use corral_monitor::log::{Follow, ReadOptions, Reader, Stream, TerminalFilter};
use corral_spec::record::LogDriver;
use rustix::termios::isatty;

use crate::Words;
use crate::app::Globals;
use crate::failure::Failure;
use crate::moment::moment;
use crate::output::rfc3339_fixed;

#[derive(Debug, clap::Args)]
struct Flags {
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show logs before a timestamp or relative
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "N", default_value = "all", allow_hyphen_values = true)]
    tail: String,
    /// Container
    container: String,
}

/// `corral logs`.
pub(super) fn logs(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("logs", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let id = engine.find(&flags.container)?;
    let options = ReadOptions {
        since_ns: flags.since.as_deref().map(moment).transpose()?,
        until_ns: flags.until.as_deref().map(moment).transpose()?,
        tail: match flags.tail.as_str() {
            "all" => None,
            text => match text.parse::<i64>() {
                Ok(count) => u64::try_from(count).ok(),
                Err(_) => return Err(Failure::new(format!("invalid value for --tail: {text:?}"))),
            },
        },
        follow: flags.follow.then(|| Follow { run_dir: engine.layout().run(&id) }),
        details: flags.details,
    };
    let dir = engine.layout().container(&id);
    let unreadable = |way_out: &str| {
        Err(Failure::new(format!("configured logging driver does not support reading ({way_out})")))
    };
    let reader = match engine.launch(&id)?.log.driver {
        LogDriver::Local => Reader::open(&dir, options)?,
        LogDriver::JsonFile => Reader::open_json_file(&dir, &id, options)?,
        LogDriver::Journald => return unreadable(&format!("journald: journalctl CONTAINER_ID_FULL={id}")),
        LogDriver::None => return unreadable("none: nothing was kept"),
    };
    copy(reader, &flags)
}

fn copy(mut reader: Reader, flags: &Flags) -> Result<u8, Failure> {
    let (mut out, mut err) =
        (std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock()), std::io::stderr().lock());
    // What a container wrote is hostile to a terminal, and plain data to everything else.
    let filter = |tty: bool| tty.then(TerminalFilter::default);
    let mut out_filter = filter(isatty(rustix::stdio::stdout()));
    let mut err_filter = filter(isatty(rustix::stdio::stderr()));
    let mut clean = Vec::new();
    while let Some(entry) = reader.next_entry(|| out.flush())? {
        let mut stamp = String::new();
        if flags.timestamps && !entry.continues {
            stamp = format!("{} ", rfc3339_fixed(entry.time_ns));
        }
        if flags.details && !entry.continues {
            stamp.push_str(&format!("{} ", entry.details));
        }
        let filter = if entry.stream == Stream::Stderr { &mut err_filter } else { &mut out_filter };
        let bytes = match filter {
            Some(filter) => {
                clean.clear();
                filter.feed(entry.bytes, &mut clean);
                &clean[..]
            }
            None => entry.bytes,
        };
        let to: &mut dyn Write = if entry.stream == Stream::Stderr { &mut err } else { &mut out };
        match to.write_all(stamp.as_bytes()).and_then(|()| to.write_all(bytes)) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(141),
            result => result?,
        }
    }
    out.flush()?;
    Ok(0)
}
