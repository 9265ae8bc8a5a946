//! Networks that may reach the machine.

use ipnet::IpNet;

use super::{Fault, Rule, characters, length, lower_or_digit, require};

/// What `access.allow` says for this machine's own address.
pub const CALLER: &str = "caller";

pub const CIDR: Rule = Rule {
    allowed: "`caller`, or a network in CIDR form such as `203.0.113.0/24` or `203.0.113.7/32`",
    check: |text| {
        if text == CALLER {
            return Ok(());
        }
        if let Ok(address) = text.parse::<std::net::IpAddr>() {
            return Err(Fault::new("is an address without a prefix length")
                .help(format!("write `{}`", IpNet::from(address))));
        }
        let Ok(network) = text.parse::<IpNet>() else {
            return Err(Fault::new("is not a network in CIDR form"));
        };
        if network.trunc() != network {
            let alone = IpNet::from(network.addr());
            return Err(Fault::new(format!("has bits set behind its prefix of {}", network.prefix_len()))
                .help(format!(
                    "write `{}` for the network, `{alone}` for this one address",
                    network.trunc()
                )));
        }
        Ok(())
    },
};

pub const NETWORK: Rule = Rule {
    allowed: "a network's name: 1 to 63 lower-case letters, digits and hyphens, a letter first, no hyphen last",
    check: |text| {
        if let Some((_, name)) = text.rsplit_once('/') {
            return Err(Fault::new("is a path, not a name").help(format!("write `{name}`")));
        }
        length(text, 1, 63)?;
        characters(text, |c| lower_or_digit(c) || c == '-')?;
        require(text.starts_with(|c: char| c.is_ascii_lowercase()), "begins with no letter")?;
        require(!text.ends_with('-'), "ends with a hyphen")
    },
};

/// Google takes more than the private ranges; what is not private there is
/// somebody else's on the internet.
pub const SUBNET_RANGE: Rule = Rule {
    allowed: "a private IPv4 network of /8 to /29 such as `10.42.0.0/24`",
    check: |text| {
        (CIDR.check)(text)?;
        let Ok(IpNet::V4(network)) = text.parse::<IpNet>() else {
            return Err(Fault::new("is not an IPv4 network"));
        };
        require((8..=29).contains(&network.prefix_len()), "is wider than /8 or narrower than /29")?;
        require(network.addr().is_private() && network.broadcast().is_private(), "is not private")
    },
};

pub const ENDPOINT: Rule = Rule {
    allowed: "a host and a port such as `localhost:9009` or `10.0.0.7:9009`",
    check: |text| {
        if text.contains("://") {
            return Err(Fault::new("is a URL").help("write host and port only, as in `localhost:9009`"));
        }
        if text.parse::<std::net::SocketAddr>().is_ok() {
            return Ok(());
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(Fault::new("has no port").help(format!("write `{text}:9009`")));
        };
        require(port.parse::<u16>().is_ok_and(|port| port > 0), "has a port that is none")?;
        length(host, 1, 253)?;
        characters(host, |c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
    },
};

/// Whether a network is so wide that it means the internet.
pub fn is_public(network: &str) -> bool {
    match network.parse::<IpNet>() {
        Ok(IpNet::V4(network)) => network.prefix_len() < 8,
        Ok(IpNet::V6(network)) => network.prefix_len() < 16,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdicts;
    use super::*;

    #[test]
    fn networks() {
        insta::assert_snapshot!(verdicts(
            CIDR,
            &[
                "caller",
                "203.0.113.0/24",
                "203.0.113.7/32",
                "2001:db8::/32",
                "0.0.0.0/0",
                "203.0.113.7/24",
                "2001:db8::1/64",
                "203.0.113.7",
                "2001:db8::1",
                "203.0.113.0/33",
                "203.0.113/24",
                "anyone",
                ""
            ]
        ));
        insta::assert_snapshot!(verdicts(
            SUBNET_RANGE,
            &[
                "10.42.0.0/24",
                "172.16.0.0/12",
                "10.0.0.0/7",
                "8.8.8.0/24",
                "10.42.0.0/30",
                "caller",
                "fd00::/20"
            ]
        ));
        insta::assert_snapshot!(verdicts(
            NETWORK,
            &["default", "projects/p/global/networks/shared", "Prod", "1net", "net-", ""]
        ));
        insta::assert_snapshot!(verdicts(
            ENDPOINT,
            &[
                "localhost:9009",
                "10.0.0.7:9009",
                "[fd00::1]:9009",
                "localhost",
                "https://mimir:9009",
                "localhost:0",
                ":9009",
                "a b:9009"
            ]
        ));
        for (network, public) in [
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("128.0.0.0/1", true),
            ("10.0.0.0/8", false),
            ("2000::/3", true),
            ("2001:db8::/32", false),
            ("caller", false),
        ] {
            assert_eq!(is_public(network), public, "{network}");
        }
    }
}
