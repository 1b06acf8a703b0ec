//! Chores of this repository: `cargo xtask VERB`.
//!
//! `demo` and `test` are the README's two commands; `check` is the whole of CI on a laptop. The
//! repository's own rules are the tests of this crate (`rules`). It depends on almost nothing, so
//! that the first command of a fresh checkout says something within seconds.

#![forbid(unsafe_code)]

mod bench;
mod cargo;
mod check;
mod conformance;
mod demo;
mod librarian;
mod man;
#[cfg(test)]
mod rules;
mod setup;
#[cfg(test)]
mod source;
mod tally;
mod test;
mod vm;

use std::process::ExitCode;

use anyhow::Result;

/// A verb: its name, what it does in one line, and the function that does it with the other arguments.
type Verb = (&'static str, &'static str, fn(&[String]) -> Result<ExitCode>);

const VERBS: &[Verb] = &[
    ("setup", "install what builds and tests need, or name it", |_| setup::run().map(done)),
    ("demo", "build corral, pack examples/librarian and ask it a question", |_| demo::run().map(done)),
    ("test", "run every test; the last line is the count", |_| test::run()),
    ("check", "format, lints, repository rules and tests: all of CI", |_| check::run()),
    ("vm", "the tests that make containers, on an older kernel in an emulated machine", |words| {
        vm::run(words)
    }),
    ("man", "write the manual pages to target/man", |_| man::run().map(done)),
    ("conformance", "a public suite against `corral oci` and other runtimes; --runtime-tools DIR", |words| {
        conformance::run(words)
    }),
    ("bench", "measure against the floor and the peers; arguments go to bench/", |words| {
        bench::run(words).map(done)
    }),
];

fn done(_: ()) -> ExitCode {
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let found = arguments.first().and_then(|name| VERBS.iter().find(|verb| verb.0 == name));
    let Some((_, _, run)) = found else {
        eprintln!("usage: cargo xtask VERB\n");
        for (name, what, _) in VERBS {
            eprintln!("  {name:13}{what}");
        }
        return ExitCode::from(2);
    };
    match run(&arguments[1..]) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
