//! The three files of /etc that are a container's own.

use corral_spec::Settings;

/// Their names and texts. What was asked for takes the place of the host's lines of its kind, as with Docker.
pub(crate) fn files(
    name: &str,
    settings: &Settings,
    host_resolv_conf: Option<&str>,
) -> [(&'static str, String); 3] {
    [
        ("hostname", format!("{name}\n")),
        ("hosts", hosts(name, settings)),
        ("resolv.conf", resolv_conf(host_resolv_conf.unwrap_or_default(), settings)),
    ]
}

fn hosts(name: &str, settings: &Settings) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    for entry in &settings.hosts {
        text.push_str(&format!("{}\t{}\n", entry.address, entry.name));
    }
    match &settings.domain {
        Some(domain) => text.push_str(&format!("127.0.1.1\t{name}.{domain} {name}\n")),
        None => text.push_str(&format!("127.0.1.1\t{name}\n")),
    }
    text
}

/// resolv.conf(5).
fn resolv_conf(host: &str, settings: &Settings) -> String {
    let Settings { dns, dns_options, dns_search, .. } = settings;
    if dns.is_empty() && dns_options.is_empty() && dns_search.is_empty() {
        return host.to_owned();
    }
    let is_replaced = |line: &str| match line.split_ascii_whitespace().next() {
        Some("nameserver") => !dns.is_empty(),
        Some("search" | "domain") => !dns_search.is_empty(),
        Some("options") => !dns_options.is_empty(),
        _ => false,
    };
    let mut lines: Vec<String> = host.lines().filter(|line| !is_replaced(line)).map(str::to_owned).collect();
    if dns_search.iter().any(|domain| domain != ".") {
        lines.push(format!("search {}", dns_search.join(" ")));
    }
    lines.extend(dns.iter().map(|server| format!("nameserver {server}")));
    if !dns_options.is_empty() {
        lines.push(format!("options {}", dns_options.join(" ")));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_takes_the_place_of_its_kind() {
        let host = "# made by dhcp\nnameserver 10.0.0.1\nsearch corp.example\noptions rotate\n";
        let check = |fill: &dyn Fn(&mut Settings), expect: &str| {
            let mut settings = Settings::default();
            fill(&mut settings);
            assert_eq!(resolv_conf(host, &settings), expect);
        };
        check(&|_| {}, host);
        check(
            &|s| s.dns = vec!["1.1.1.1".parse().expect("address")],
            "# made by dhcp\nsearch corp.example\noptions rotate\nnameserver 1.1.1.1\n",
        );
        check(&|s| s.dns_search = vec![".".into()], "# made by dhcp\nnameserver 10.0.0.1\noptions rotate\n");
        check(
            &|s| {
                s.dns_search = vec!["a.example".into(), "b.example".into()];
                s.dns_options = vec!["ndots:2".into(), "use-vc".into()];
            },
            "# made by dhcp\nnameserver 10.0.0.1\nsearch a.example b.example\noptions ndots:2 use-vc\n",
        );
    }

    #[test]
    fn hosts_have_their_entries() {
        let settings = Settings {
            hosts: vec!["db:10.0.0.7".parse().expect("entry")],
            domain: Some("example.org".into()),
            ..Settings::default()
        };
        let text = hosts("box", &settings);
        assert!(
            text.contains("\n10.0.0.7\tdb\n") && text.ends_with("127.0.1.1\tbox.example.org box\n"),
            "{text}"
        );
    }
}
