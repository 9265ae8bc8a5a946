//! The proxy by which Google is reached, as the environment says it: named, without its
//! password, where something on the way fails; and told at once where it can't be used,
//! which would be waited for otherwise, or passed over.

use std::collections::BTreeMap;

use http::Uri;

use super::error::InputError;

/// For people: `http://proxy:3128 (HTTPS_PROXY)`; `None`: `url` is reached directly.
///
/// # Errors
/// What the variable says is no proxy that can be used.
pub(super) fn of(variables: &BTreeMap<String, String>, url: &str) -> Result<Option<String>, InputError> {
    let Ok(url) = url.parse::<Uri>() else { return Ok(None) };
    let host = url.host().unwrap_or_default();
    let names = match url.scheme_str() {
        Some("http") => ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
        _ => ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
    };
    let found = names.into_iter().find_map(|name| Some((name, get(variables, name)?)));
    let Some((variable, value)) = found else { return Ok(None) };
    // In what a web server starts, the first of these is a header of its caller's.
    if host.starts_with("127.") || is_excepted(variables, host) || get(variables, "REQUEST_METHOD").is_some()
    {
        return Ok(None);
    }
    match usable(value) {
        Ok(shown) => Ok(Some(format!("{shown} ({variable})"))),
        Err(why) => Err(InputError::Proxy { variable, why }),
    }
}

/// A variable that is set and not empty.
fn get<'a>(variables: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// The proxy without who it is used as, or what is wrong with it. A password in it is not
/// shown, wherever it stands.
fn usable(value: &str) -> Result<String, String> {
    let shown = value.rsplit('@').next().unwrap_or_default();
    let uri: Uri = value.parse().map_err(|_| format!("`{shown}` is not an address"))?;
    let authority = uri.authority().ok_or_else(|| format!("`{shown}` names no host"))?;
    let place = authority.as_str().rsplit('@').next().unwrap_or_default();
    let host = uri.host().unwrap_or_default();
    let port = place.strip_prefix(host).unwrap_or_default();
    if host.is_empty() || (!port.is_empty() && authority.port_u16().is_none()) {
        return Err(format!("`{place}` names no host and port"));
    }
    match uri.scheme_str().unwrap_or("http") {
        scheme @ ("http" | "https") => Ok(format!("{scheme}://{place}")),
        scheme => Err(format!("{place} is one for {scheme}, and only those for HTTP are supported")),
    }
}

/// Whether `NO_PROXY` has the host, or a domain that it is in.
fn is_excepted(variables: &BTreeMap<String, String>, host: &str) -> bool {
    let list = get(variables, "NO_PROXY").or(get(variables, "no_proxy")).unwrap_or_default();
    list.split(',').map(|entry| entry.trim().trim_start_matches('.')).any(|entry| {
        let within = |rest: &str| rest.is_empty() || rest.ends_with('.');
        entry == "*" || (!entry.is_empty() && host.strip_suffix(entry).is_some_and(within))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOGLE: &str = "https://compute.googleapis.com/compute/v1/";

    fn proxy(variables: &[(&str, &str)], url: &str) -> Result<Option<String>, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        of(&variables, url).map_err(|error| format!("{error}; {}", error.hint().unwrap()))
    }

    #[test]
    fn the_proxy_of_an_address_is_named_without_its_password() {
        let named = |variables: &[(&str, &str)]| proxy(variables, GOOGLE).unwrap();
        assert_eq!(named(&[]), None);
        for value in
            ["http://proxy:3128", "http://me:s3same@proxy:3128/", "proxy:3128", "me:s3same@proxy:3128"]
        {
            assert_eq!(
                named(&[("https_proxy", value)]).as_deref(),
                Some("http://proxy:3128 (https_proxy)"),
                "{value}"
            );
        }
        assert_eq!(named(&[("ALL_PROXY", "https://proxy")]).as_deref(), Some("https://proxy (ALL_PROXY)"));
        assert_eq!(named(&[("HTTP_PROXY", "http://proxy:3128")]), None, "of another scheme");
        for excepted in ["*", "googleapis.com", ".googleapis.com", "example.com, compute.googleapis.com"] {
            assert_eq!(
                named(&[("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", excepted)]),
                None,
                "{excepted}"
            );
        }
        assert!(named(&[("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", "apis.com,.corp")]).is_some());
        // The sandbox, or what stands in for Google on this machine.
        assert_eq!(proxy(&[("HTTP_PROXY", "socks5://proxy")], "http://127.0.0.1:8080/compute/v1/"), Ok(None));
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_told_at_once() {
        for (value, words) in [
            ("http://me:s3same@proxy:port", "`proxy:port`"),
            ("http://me:s3same@", "no proxy that can be used"),
            ("http://", "no proxy that can be used"),
            ("http://proxy:", "no host and port"),
            ("me:s3same@", "no proxy that can be used"),
            ("/var/run/proxy", "no host"),
            ("socks5://me:s3same@proxy:1080", "one for socks5"),
            ("ftp://proxy:21", "one for ftp"),
        ] {
            let told = proxy(&[("HTTPS_PROXY", value)], GOOGLE).unwrap_err();
            for words in [words, "HTTPS_PROXY", "http://HOST:PORT"] {
                assert!(told.contains(words), "{value}: `{words}` is not in {told}");
            }
            assert!(!told.contains("s3same"), "{told}");
        }
    }
}
