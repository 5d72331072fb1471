//! The hosts that the service answers for.
//!
//! A page of a name that its owner lets resolve to this machine (DNS rebinding) has that name in `Host` and in `Origin`: the two agree,
//! so that comparing them tells nothing. **Invariant:** what a request is for is a host that the operator knows, whatever its method.

use std::net::IpAddr;

use actix_web::{
    dev::RequestHead,
    http::{Version, header::HOST, uri::Authority},
};

use crate::{Code, Problem, problem::printable};

/// The longest name of the domain name system, in characters.
const NAME_LENGTH_MAX: usize = 253;

/// A host as requests name it, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name, in lower case and without the dot of the root.
    Name(String),
}

impl Host {
    /// Takes an address (IPv6 with or without brackets) or a name of letters, digits, `-`, `_` and `.`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_name = (1..=NAME_LENGTH_MAX).contains(&name.len()) && name.bytes().all(is_letter);
        is_name.then(|| Self::Name(name.to_ascii_lowercase()))
    }
}

/// The hosts that the service answers for: loopback, the address it listens on, and those that its operator names.
///
/// No port is compared: a forwarded port is another one outside, and a page of a foreign name is refused by its name.
#[derive(Debug, Clone)]
pub struct Hosts {
    listen: IpAddr,
    named: Vec<Host>,
}

impl Hosts {
    /// The hosts of a service that listens on `listen`; of one that listens on all addresses, every address.
    pub fn new(listen: IpAddr, named: Vec<Host>) -> Self {
        Self { listen: listen.to_canonical(), named }
    }

    /// Says whether the service answers for a host. A page whose host is an address was loaded from that address, which nobody can let
    /// resolve to another.
    fn has(&self, host: &Host) -> bool {
        let is_own = match host {
            Host::Address(address) => address.is_loopback() || self.listen.is_unspecified() || *address == self.listen,
            Host::Name(name) => name == "localhost",
        };
        is_own || self.named.contains(host)
    }

    /// The authority that a request is for, as far as it says: that of its target, else its `Host`. Both must be for this service.
    ///
    /// No browser leaves out `Host`; HTTP/1.0 may.
    ///
    /// # Errors
    /// 400 where `Host` is missing or there several times (RFC 9112, section 3.2), 421 for a host that is not this service's.
    pub fn authority(&self, head: &RequestHead) -> Result<String, Problem> {
        let mut given = head.headers.get_all(HOST);
        let (host, others) = (given.next(), given.next());
        if others.is_some() {
            return Err(Problem::new(Code::BadRequest, "`Host` is there several times"));
        }
        let target = head.uri.authority().map(Authority::as_str);
        let host = host.map(|host| String::from_utf8_lossy(host.as_bytes()));
        for authority in target.into_iter().chain(host.as_deref()) {
            if !host_of(authority).is_some_and(|host| self.has(&host)) {
                return Err(foreign(authority));
            }
        }
        match target.map(str::to_owned).or(host.map(|host| host.into_owned())) {
            Some(authority) => Ok(authority),
            None if head.version < Version::HTTP_11 => Ok(String::new()),
            None => Err(Problem::new(Code::BadRequest, "`Host` is missing")),
        }
    }
}

fn foreign(authority: &str) -> Problem {
    let detail = format!(
        "this hub does not answer for host `{}`; if that is its name, its operator lists it in `http.hosts`",
        printable(authority)
    );
    Problem::new(Code::Misdirected, detail)
}

/// The host of `host[:port]`; `None` for anything else, such as a user before the host.
fn host_of(authority: &str) -> Option<Host> {
    let (host, port) = match authority.rfind(':') {
        // The colons within brackets belong to an address.
        Some(colon) if !authority[colon..].contains(']') => (&authority[..colon], &authority[colon + 1..]),
        _ => (authority, ""),
    };
    let is_address = host.starts_with('[') || !host.contains(':');
    (is_address && port.bytes().all(|byte| byte.is_ascii_digit())).then(|| Host::parse(host)).flatten()
}

#[cfg(test)]
mod tests {
    use actix_web::{http::header::HeaderValue, test::TestRequest};

    use super::*;

    fn hosts(listen: &str) -> Hosts {
        let named = ["hub.example.org", "10.0.0.7"].map(|host| Host::parse(host).expect("a host"));
        Hosts::new(listen.parse().expect("an address"), named.to_vec())
    }

    #[track_caller]
    fn check(listen: &str, host: &str, expected: bool) {
        let is_own = host_of(host).is_some_and(|host| hosts(listen).has(&host));
        assert_eq!(is_own, expected, "{host} at {listen}");
    }

    #[test]
    fn loopback_the_bound_address_and_named_hosts_are_answered_for() {
        for host in ["localhost", "LocalHost:8080", "localhost.", "127.0.0.1", "127.0.0.1:9", "127.8.8.8", "[::1]:8080"]
        {
            check("127.0.0.1", host, true);
        }
        for host in
            ["[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]:80", "hub.example.org", "HUB.example.org.:443", "10.0.0.7:1"]
        {
            check("127.0.0.1", host, true);
        }
        check("192.168.1.5", "192.168.1.5:8080", true);
        check("192.168.1.5", "192.168.1.6:8080", false);
        check("::", "192.168.1.6:8080", true);
        check("0.0.0.0", "[2001:db8::1]:8080", true);
        check("2001:db8::1", "[2001:0db8::0001]:8080", true);
    }

    #[test]
    fn foreign_and_odd_hosts_are_not() {
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "evil.localhost",
            "hub.example.org.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "127.0.0.1.evil.example",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "::1",
            "[::1",
            "[::1]evil.example",
            "localhost:80:80",
            "localhost:http",
            "[fe80::1%25eth0]",
            "localhost/",
            "löcalhost",
            ":8080",
            "",
        ] {
            check("0.0.0.0", host, false);
        }
    }

    #[track_caller]
    fn check_request(request: TestRequest, expected: Result<&str, u16>) {
        let request = request.to_srv_request();
        let authority = hosts("127.0.0.1").authority(request.head());
        let outcome = authority.as_deref().map_err(|problem| problem.code().status().as_u16());
        assert_eq!(outcome, expected);
    }

    #[test]
    fn a_request_is_for_one_host() {
        let request = |target: &str| TestRequest::with_uri(target);
        let evil = (HOST, HeaderValue::from_static("evil.example"));
        let local = (HOST, HeaderValue::from_static("localhost:8080"));
        check_request(request("/").append_header(local.clone()), Ok("localhost:8080"));
        check_request(request("/").append_header(evil.clone()), Err(421));
        check_request(request("/"), Err(400));
        check_request(request("/").version(Version::HTTP_10), Ok(""));
        check_request(request("/").append_header(local.clone()).append_header(local.clone()), Err(400));
        check_request(request("http://127.0.0.1:1/").append_header(local.clone()), Ok("127.0.0.1:1"));
        check_request(request("http://127.0.0.1:1/").append_header(evil.clone()), Err(421));
        check_request(request("http://evil.example/").append_header(local), Err(421));
        check_request(request("http://evil.example/").version(Version::HTTP_10), Err(421));
        check_request(request("http://localhost/").version(Version::HTTP_2), Ok("localhost"));
        check_request(request("/").append_header((HOST, HeaderValue::from_bytes(b"\xff").expect("a value"))), Err(421));
    }
}
