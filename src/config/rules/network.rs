//! Networks that may reach the machine.

use ipnet::IpNet;

use super::{Fault, Rule};

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
