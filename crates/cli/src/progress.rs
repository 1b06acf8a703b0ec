use std::io::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is going on, on standard error: a bar on a terminal, plain lines elsewhere, nothing if quiet.
pub(crate) struct Bar {
    bar: ProgressBar,
    shown: Shown,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Terminal,
    Lines,
    Nothing,
}

impl Bar {
    pub(crate) fn new(quiet: bool) -> Self {
        let shown = match (quiet, rustix::termios::isatty(rustix::stdio::stderr())) {
            (true, _) => Shown::Nothing,
            (false, true) => Shown::Terminal,
            (false, false) => Shown::Lines,
        };
        let bar = ProgressBar::new_spinner();
        // Drawn when something happens, never by a thread of its own: the engine makes containers only from a
        // process with one thread.
        if shown != Shown::Terminal {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { bar, shown }
    }

    /// A new phase begins.
    pub(crate) fn phase(&self, name: &str) {
        self.bar.set_style(ProgressStyle::default_spinner());
        self.bar.set_message(name.to_owned());
        self.bar.tick();
        if self.shown == Shown::Lines {
            say(name);
        }
    }

    /// So many of so many are done.
    pub(crate) fn count(&self, done: usize, total: usize) {
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {pos}/{len}") {
            self.bar.set_style(style);
        }
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        match self.shown {
            Shown::Terminal => self.bar.println(text),
            Shown::Lines => say(text),
            Shown::Nothing => {}
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn say(text: &str) {
    // Progress is talk: when nobody can hear it, the work goes on.
    drop(writeln!(std::io::stderr(), "{text}"));
}
