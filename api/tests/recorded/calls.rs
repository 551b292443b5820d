//! Calls that only one route understands.

use crate::{FORM, JSON};

/// A word for the call, its method, target, header and body.
pub(crate) struct Special(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) (&'static str, &'static str),
    pub(crate) &'static str,
);

const MULTIPART: (&str, &str) = ("content-type", "multipart/form-data; boundary=X");
const NO_ARCHIVE: &str = "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\n\
                          \r\nno archive\r\n--X--\r\n";

pub(crate) const SPECIAL: &[Special] = &[
    Special(
        "a search that blurs",
        "GET",
        "/v1/cs/configs?search=blur&dataId=*&group=&pageNo=1&pageSize=5&tenant=a",
        FORM,
        "",
    ),
    Special(
        "a search for words",
        "GET",
        "/v3/admin/cs/config/list?search=blur&dataId=&groupName=&configDetail=one&pageNo=1&pageSize=5&namespaceId=a",
        FORM,
        "",
    ),
    Special(
        "all of a config",
        "GET",
        "/v1/cs/configs?show=all&dataId=d&group=g&tenant=a",
        FORM,
        "",
    ),
    Special(
        "an import of no archive",
        "POST",
        "/v1/cs/configs?import=true&namespace=a",
        MULTIPART,
        NO_ARCHIVE,
    ),
    Special(
        "an import of nothing",
        "POST",
        "/v1/cs/configs?import=true&namespace=a",
        MULTIPART,
        "--X--\r\n",
    ),
    Special(
        "a copy into another namespace",
        "POST",
        "/v1/cs/configs?clone=true&tenant=&policy=SKIP",
        JSON,
        r#"[{"cfgId":"7","dataId":"copy","group":"g"}]"#,
    ),
    Special("a copy of nothing", "POST", "/v1/cs/configs?clone=true&tenant=a", JSON, "[]"),
    Special("a copy of nonsense", "POST", "/v1/cs/configs?clone=true&tenant=a", JSON, "{"),
    Special(
        "a beta publish",
        "POST",
        "/v1/cs/configs?dataId=d&group=g&tenant=a&content=beta",
        ("betaips", "10.0.0.7"),
        "",
    ),
    Special(
        "a publish that compares",
        "POST",
        "/v1/cs/configs?dataId=d&group=g&tenant=a&content=x",
        ("casmd5", "0123456789abcdef0123456789abcdef"),
        "",
    ),
    Special(
        "several removed by their ids",
        "DELETE",
        "/v1/cs/configs?delType=ids&ids=7,8&tenant=a",
        FORM,
        "",
    ),
    Special(
        "a poll with news",
        "POST",
        "/v1/cs/configs/listener",
        FORM,
        "Listening-Configs=d%02g%02%02a%01",
    ),
    Special(
        "a poll without news",
        "POST",
        "/v1/cs/configs/listener?Listening-Configs=absent%02g%02%02a%01",
        ("long-pulling-timeout", "10000"),
        "",
    ),
    Special(
        "a poll for nonsense",
        "POST",
        "/v1/cs/configs/listener",
        FORM,
        "Listening-Configs=d%02g",
    ),
    Special(
        "a beat",
        "PUT",
        "/v1/ns/instance/beat?namespaceId=a&serviceName=g@@s",
        FORM,
        "beat=%7B%22ip%22%3A%2210.0.0.1%22%2C%22port%22%3A80%2C%22serviceName%22%3A%22g%40%40s%22%2C%22cluster%22%3A%22DEFAULT%22%7D",
    ),
    Special(
        "a light beat",
        "PUT",
        "/v1/ns/instance/beat?namespaceId=a&serviceName=g@@s&ip=10.0.0.1&port=80&clusterName=DEFAULT",
        FORM,
        "",
    ),
    Special(
        "a beat of nonsense",
        "PUT",
        "/v1/ns/instance/beat?namespaceId=a&serviceName=g@@s&beat=%7B",
        FORM,
        "",
    ),
    Special("the wrong password", "POST", "/v1/auth/login?username=nacos&password=wrong", FORM, ""),
    Special("no method of it", "PATCH", "/v1/cs/configs", FORM, ""),
    Special("no path", "GET", "/v1/nothing", FORM, ""),
    Special("no context", "GET", "/../v1/cs/configs", FORM, ""),
    Special("the root", "GET", "/", FORM, ""),
];
