//! `.netrc` (netrc(5)): users and passwords by host, as pip reads them.

/// One machine's entry; the last may be for any.
struct Entry {
    /// None for `default`.
    machine: Option<String>,
    login: String,
    password: String,
}

impl Entry {
    fn of(machine: Option<String>) -> Self {
        Self { machine, login: String::new(), password: String::new() }
    }
}

/// A parsed file. It has no `Debug`: it holds passwords.
#[derive(Default)]
pub(super) struct Netrc {
    entries: Vec<Entry>,
}

impl Netrc {
    /// The user's file: `NETRC`, else `~/.netrc`; empty where there is none.
    pub(super) fn of_user() -> Self {
        let home = || Some(std::path::Path::new(&std::env::var_os("HOME")?).join(".netrc"));
        let path = std::env::var_os("NETRC").map(Into::into).or_else(home);
        path.and_then(|path| std::fs::read_to_string(path).ok())
            .map(|text| Self::parse(&text))
            .unwrap_or_default()
    }

    /// Reads the text; macros and what is not known are passed over.
    pub(super) fn parse(text: &str) -> Self {
        let (mut entries, mut macro_body): (Vec<Entry>, bool) = (Vec::new(), false);
        for line in text.lines() {
            if macro_body && !line.trim().is_empty() {
                continue;
            }
            let mut words = line.split_whitespace();
            macro_body = false;
            while let Some(word) = words.next() {
                match word {
                    "machine" => match words.next() {
                        Some(host) => entries.push(Entry::of(Some(host.to_owned()))),
                        None => break,
                    },
                    "default" => entries.push(Entry::of(None)),
                    "login" | "user" | "password" => {
                        let value = words.next().unwrap_or_default().to_owned();
                        let Some(entry) = entries.last_mut() else { continue };
                        *(if word == "password" { &mut entry.password } else { &mut entry.login }) = value;
                    }
                    "macdef" => {
                        macro_body = true;
                        break;
                    }
                    comment if comment.starts_with('#') => break,
                    _ => {}
                }
            }
        }
        Self { entries }
    }

    /// User and password for a host by its name; None gives those of `default`.
    pub(super) fn find(&self, host: Option<&str>) -> Option<(&str, &str)> {
        let entry = self.entries.iter().find(|entry| entry.machine.as_deref() == host)?;
        Some((&entry.login, &entry.password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_entries() {
        let text = "# note\nmachine a login u password p\nmacdef init\nmachine evil login x\n\nmachine b\n  login v\n  password q#\n";
        let netrc = Netrc::parse(text);
        for (host, expect) in [("a", Some(("u", "p"))), ("b", Some(("v", "q#"))), ("evil", None), ("c", None)]
        {
            assert_eq!(netrc.find(Some(host)), expect, "{host}");
        }
        let default = Netrc::parse("default login d password e");
        assert_eq!((default.find(Some("any")), default.find(None)), (None, Some(("d", "e"))));
        assert_eq!(Netrc::parse("login x password y machine").find(Some("a")), None);
    }
}
