//! One spelling of each path. Tomcat serves a path whatever letters of it are percent-escaped, and
//! Nacos 2 serves one with a slash at its end: both are rewritten before anything looks at the
//! path, so that a route, its permission and the bound of its body are found for every spelling
//! alike.

use hyper::Uri;
use hyper::http::uri::PathAndQuery;

use crate::http::call::at_home;
use crate::route::CONTEXT;

/// The target as routes have it, whoever wrote it: to be asked once, where a call begins.
pub(crate) fn settled(uri: Uri) -> Uri {
    at_home(plainly(uri))
}

/// The target in the spelling that routes have: letters, digits and `-`, `_`, `.`, `~` of its path
/// stand for themselves, and no slash is at its end. What else is escaped stays so.
fn plainly(uri: Uri) -> Uri {
    let path = uri.path();
    let shorter = path.strip_suffix('/').filter(|shorter| shorter.len() > CONTEXT.len());
    if shorter.is_none() && !path.contains('%') {
        return uri;
    }
    let plain = unescaped(shorter.unwrap_or(path));
    // What would be another path when it is looked at again is left as it is, and is no route.
    if plain.ends_with('/') && shorter.is_some() || unescaped(&plain) != plain {
        return uri;
    }
    let target = match uri.query() {
        Some(query) => format!("{plain}?{query}"),
        None => plain,
    };
    let Ok(target) = PathAndQuery::try_from(target) else { return uri };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).unwrap_or(uri)
}

fn unescaped(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.map(char::from).filter(|c| c.is_ascii_alphanumeric() || "-_.~".contains(*c)) {
            // Two digits were read, so there are two.
            Some(c) if !after.starts_with('+') => {
                plain.push(c);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                plain.push('%');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_path_becomes_one() {
        for (said, plain) in [
            ("/nacos/v1/cs/configs", "/nacos/v1/cs/configs"),
            ("/nacos/v1/cs/configs/", "/nacos/v1/cs/configs"),
            ("/nacos/v1/cs/configs/?a=%63", "/nacos/v1/cs/configs?a=%63"),
            ("/%6Eacos/v1/%63onfigs", "/nacos/v1/configs"),
            ("/nacos/v1/cs/%63onfigs/", "/nacos/v1/cs/configs"),
            ("/nacos/v1/cs/%2563onfigs", "/nacos/v1/cs/%2563onfigs"),
            ("/nacos/a%2Fb", "/nacos/a%2Fb"),
            ("/nacos/%2e%2E/b", "/nacos/../b"),
            ("/nacos/a%", "/nacos/a%"),
            ("/nacos/%+1", "/nacos/%+1"),
            ("/nacos/a//", "/nacos/a//"),
            ("/nacos/v1/cs/%%36%33onfigs", "/nacos/v1/cs/%%36%33onfigs"),
            ("/nacos/%2%35", "/nacos/%25"),
            ("/nacos/", "/nacos/"),
            ("/", "/"),
        ] {
            assert_eq!(plainly(said.parse().expect("a target")), plain, "{said}");
        }
        let absolute = plainly("http://h:1/nacos/%61/".parse().expect("a target"));
        assert_eq!(absolute, "http://h:1/nacos/a");
    }
}
