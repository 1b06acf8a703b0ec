//! `--change INSTRUCTION`: the Dockerfile instructions that only touch the config.

use crate::{ContainerConfig, Error, Healthcheck};

/// Applies one instruction.
pub(crate) fn apply(text: &str, config: &mut ContainerConfig) -> Result<(), Error> {
    let fail = |reason: &str| Error::Change { text: text.to_owned(), reason: reason.to_owned() };
    let (instruction, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    let rest = rest.trim();
    if rest.is_empty() {
        return Err(fail("an argument is missing"));
    }
    let split = || words(rest).ok_or_else(|| fail("a quote is not closed"));
    match instruction.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = command(rest),
        "ENTRYPOINT" => config.entrypoint = command(rest),
        "ENV" => {
            for (name, value) in pairs(rest, split()?).ok_or_else(|| fail("expected NAME=VALUE"))? {
                let start = format!("{name}=");
                config.env.retain(|known| !known.starts_with(&start));
                config.env.push(start + &value);
            }
        }
        "LABEL" => {
            config.labels.extend(pairs(rest, split()?).ok_or_else(|| fail("expected NAME=VALUE"))?);
        }
        "EXPOSE" => {
            for port in split()? {
                let port = if port.contains('/') { port } else { format!("{port}/tcp") };
                let (number, protocol) = port.split_once('/').unwrap_or_default();
                if !number.parse::<u16>().is_ok_and(|n| n > 0) || !matches!(protocol, "tcp" | "udp" | "sctp")
                {
                    return Err(fail("expected PORT[/tcp|udp|sctp]"));
                }
                add(&mut config.exposed_ports, port);
            }
        }
        "VOLUME" => {
            let paths: Vec<String> = serde_json::from_str(rest).or_else(|_| split())?;
            paths.into_iter().for_each(|path| add(&mut config.volumes, path));
        }
        "USER" => {
            rest.parse::<corral_spec::UserSpec>().map_err(|e| fail(&e.to_string()))?;
            config.user = rest.to_owned();
        }
        "WORKDIR" if rest.starts_with('/') => config.working_dir = rest.to_owned(),
        "WORKDIR" => return Err(fail("expected an absolute path")),
        "STOPSIGNAL" => {
            rest.parse::<corral_spec::Signal>().map_err(|e| fail(&e.to_string()))?;
            config.stop_signal = rest.to_owned();
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest).map_err(|reason| fail(&reason))?),
        "ONBUILD" => config.on_build.push(rest.to_owned()),
        _ => {
            return Err(fail(
                "expected CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR",
            ));
        }
    }
    Ok(())
}

/// `NONE`, or `[--interval=…] [--timeout=…] [--start-period=…] [--start-interval=…] [--retries=…] CMD …`.
fn healthcheck(text: &str) -> Result<Healthcheck, String> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some((option, tail)) = rest.strip_prefix("--").and_then(|r| r.split_once(char::is_whitespace)) {
        let (name, value) = option.split_once('=').ok_or("an option is --NAME=VALUE")?;
        let time = || {
            corral_spec::duration_ns(value)
                .ok_or_else(|| format!("{value:?} is no time such as 30s or 1m30s"))
        };
        match name {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => {
                check.retries = value.parse().map_err(|_| format!("{value:?} is no number of retries"))?;
            }
            _ => return Err(format!("--{name} is not known")),
        }
        rest = tail.trim_start();
    }
    let (word, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    check.test = match (word.to_ascii_uppercase().as_str(), command.trim()) {
        ("NONE", "") => vec!["NONE".into()],
        ("CMD", command) if !command.is_empty() => match serde_json::from_str::<Vec<String>>(command) {
            Ok(words) => std::iter::once("CMD".into()).chain(words).collect(),
            Err(_) => vec!["CMD-SHELL".into(), command.to_owned()],
        },
        _ => return Err("expected NONE, or CMD and a command".into()),
    };
    Ok(check)
}

/// A JSON array, or a line for the shell.
fn command(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| vec!["/bin/sh".into(), "-c".into(), text.into()])
}

fn add(set: &mut Vec<String>, value: String) {
    if !set.contains(&value) {
        set.push(value);
    }
}

/// `A=1 B="2 3"`, or the old form `A the rest`.
fn pairs(text: &str, words: Vec<String>) -> Option<Vec<(String, String)>> {
    if !words.first()?.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| {
        let (name, value) = word.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    };
    words.into_iter().map(pair).collect()
}

/// Words between white space; quotes and backslashes as in a shell. None if a quote stays open.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().push(chars.next()?),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<&str>) {
        let mut config = ContainerConfig::default();
        let result = apply(text, &mut config).ok();
        let json = result.map(|()| serde_json::to_string(&config).expect("json"));
        assert_eq!(json.as_deref(), expect, "{text}");
    }

    #[test]
    fn instructions_change_the_config() {
        check("CMD [\"a\", \"b c\"]", Some(r#"{"Cmd":["a","b c"]}"#));
        check("cmd echo hi", Some(r#"{"Cmd":["/bin/sh","-c","echo hi"]}"#));
        check("ENTRYPOINT [\"/x\"]", Some(r#"{"Entrypoint":["/x"]}"#));
        check("ENV A=1 B=\"2 3\" C=a\\ b", Some(r#"{"Env":["A=1","B=2 3","C=a b"]}"#));
        check("ENV A the rest", Some(r#"{"Env":["A=the rest"]}"#));
        check("LABEL k='v w'", Some(r#"{"Labels":{"k":"v w"}}"#));
        check("EXPOSE 80 53/udp 80/tcp", Some(r#"{"ExposedPorts":{"53/udp":{},"80/tcp":{}}}"#));
        check("VOLUME [\"/a b\"]", Some(r#"{"Volumes":{"/a b":{}}}"#));
        check("VOLUME /a /b", Some(r#"{"Volumes":{"/a":{},"/b":{}}}"#));
        check("USER agent:5", Some(r#"{"User":"agent:5"}"#));
        check("WORKDIR /srv", Some(r#"{"WorkingDir":"/srv"}"#));
        check("HEALTHCHECK NONE", Some(r#"{"Healthcheck":{"Test":["NONE"]}}"#));
        check(
            "HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f localhost",
            Some(
                r#"{"Healthcheck":{"Test":["CMD-SHELL","curl -f localhost"],"Interval":90000000000,"Retries":3}}"#,
            ),
        );
        check("HEALTHCHECK CMD [\"a\"]", Some(r#"{"Healthcheck":{"Test":["CMD","a"]}}"#));
        for bad in ["HEALTHCHECK", "HEALTHCHECK --interval=x CMD a", "HEALTHCHECK CMD", "HEALTHCHECK a"] {
            check(bad, None);
        }
        for bad in ["", "CMD", "ENV A", "ENV =x", "EXPOSE x", "USER :", "WORKDIR srv", "RUN x", "LABEL a=\"b"]
        {
            check(bad, None);
        }
    }
}
