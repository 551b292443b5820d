//! Configs by number: permission is asked of the keys behind the numbers, and a number behind
//! which there is none looks as one of another namespace does.

use nacolet_api::HttpAnswer;
use nacolet_auth::Actions;

use crate::world::{World, json, text};

/// Three namespaces with a config each, an administrator and a user of `dev`.
struct Site {
    world: World,
    admin: String,
    token: String,
    /// Of the configs in `dev`, twice, and in `other`.
    ids: [u64; 3],
}

const NOBODY: u64 = 999_999;

impl Site {
    fn new() -> Self {
        let mut world = World::new();
        world.user("u", &[("dev:*:*", Actions::Both)]);
        let (admin, token) = (world.token("nacos"), world.token("u"));
        let headers = [("accesstoken", admin.as_str())];
        for id in ["dev", "other"] {
            let form = format!("namespaceName=n{id}&customNamespaceId={id}");
            let answer = world.form("POST", "/nacos/v1/console/namespaces", &form, &headers);
            assert_eq!(answer.status, 200, "{}", text(&answer));
        }
        let ids = [("dev", "x"), ("dev", "y"), ("other", "x")].map(|(namespace, data_id)| {
            let key = format!("tenant={namespace}&group=g&dataId={data_id}");
            let form = format!("{key}&content=secret-{namespace}");
            assert_eq!(world.form("POST", "/nacos/v1/cs/configs", &form, &headers).status, 200);
            let configs = world.port.configs.read().expect("no panic before");
            configs.get(namespace, "g", data_id).expect("published").id
        });
        Self { world, admin, token, ids }
    }

    fn ask(&mut self, method: &str, target: &str, is_admin: bool) -> HttpAnswer {
        let token = if is_admin { &self.admin } else { &self.token };
        self.world.call(method, target, &[("accesstoken", token)])
    }

    fn clone(&mut self, ids: &[u64], into: &str) -> HttpAnswer {
        let wanted: Vec<_> =
            ids.iter().map(|id| format!("{{\"cfgId\":\"{id}\",\"dataId\":\"c{id}\"}}")).collect();
        let target = format!("/nacos/v1/cs/configs?clone=true&tenant={into}&policy=ABORT");
        let mut call = nacolet_api::Call {
            method: hyper::Method::POST,
            uri: target.parse().expect("a target"),
            body: format!("[{}]", wanted.join(",")).into(),
            ..nacolet_api::Call::default()
        };
        call.headers.insert("content-type", "application/json".parse().expect("a value"));
        call.headers.insert("accesstoken", self.token.parse().expect("a value"));
        self.world.serve(call)
    }

    fn count(&self) -> usize {
        self.world.port.configs.read().expect("no panic before").configs().count()
    }
}

fn listed(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn an_export_by_numbers_is_of_what_may_be_read() {
    let mut site = Site::new();
    let [x, y, other] = site.ids;
    for path in [
        "/nacos/v1/cs/configs?export=true&ids=",
        "/nacos/v1/cs/configs?exportV2=true&tenant=dev&ids=",
        "/nacos/v3/console/cs/config/export2?ids=",
    ] {
        let mut of = |ids: &[u64], is_admin| {
            let answer = site.ask("GET", &format!("{path}{}", listed(ids)), is_admin);
            (answer.status.as_u16(), answer.body.starts_with(b"PK"))
        };
        assert_eq!(of(&[x, y], false), (200, true), "{path}");
        assert_eq!(of(&[other], false), (403, false), "{path}");
        assert_eq!(of(&[x, other], false), (403, false), "{path}");
        assert_eq!(of(&[NOBODY], false), (403, false), "a number tells nothing: {path}");
        assert_eq!(of(&[x, NOBODY], false), (403, false), "{path}");
        assert_eq!(of(&[y, other, NOBODY], true), (200, true), "{path}");
        assert_eq!(of(&[x, other], true), (400, false), "an archive has each name once: {path}");
    }
}

#[test]
fn many_are_removed_where_each_may_be_or_none_is() {
    for path in
        ["/nacos/v1/cs/configs?delType=ids&ids=", "/nacos/v3/console/cs/config/batchDelete?ids="]
    {
        let mut site = Site::new();
        let [x, y, other] = site.ids;
        for ids in [&[other][..], &[x, other], &[NOBODY], &[x, NOBODY]] {
            let answer = site.ask("DELETE", &format!("{path}{}", listed(ids)), false);
            assert_eq!((answer.status.as_u16(), site.count()), (403, 3), "{path} {ids:?}");
        }
        let answer = site.ask("DELETE", &format!("{path}{}", listed(&[x, y])), false);
        assert_eq!((answer.status.as_u16(), site.count()), (200, 1), "{path}: {}", text(&answer));
        let answer = site.ask("DELETE", &format!("{path}{}", listed(&[other, NOBODY])), true);
        assert_eq!((answer.status.as_u16(), site.count()), (200, 0), "{path}: {}", text(&answer));
    }
}

#[test]
fn a_clone_is_of_what_may_be_read_into_where_may_be_written() {
    let mut site = Site::new();
    let [x, y, other] = site.ids;
    for (ids, into) in [
        (&[other][..], "dev"),
        (&[x, other], "dev"),
        (&[NOBODY], "dev"),
        (&[x], "other"),
        (&[x], ""),
    ] {
        let answer = site.clone(ids, into);
        assert_eq!((answer.status.as_u16(), site.count()), (403, 3), "{ids:?} {into}");
    }
    let answer = site.clone(&[x, y], "dev");
    assert_eq!(json(&answer)["data"]["succCount"], 2, "{}", text(&answer));
    assert_eq!(site.count(), 5);
}

const BOUNDARY: &str = "X";

/// A body of `multipart/form-data` with an archive and with fields.
fn parts(archive: &[u8], fields: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part = format!("content-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(format!("--{BOUNDARY}\r\n{part}").as_bytes());
    }
    let head = "content-disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\n\
                content-type: application/zip";
    body.extend_from_slice(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").as_bytes());
    body.extend_from_slice(archive);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    body
}

#[test]
fn an_import_goes_where_may_be_written_and_nowhere_else() {
    for (path, word) in [
        ("/nacos/v1/cs/configs?import=true", "namespace"),
        ("/nacos/v3/console/cs/config/import?policy=OVERWRITE", "namespaceId"),
        ("/nacos/v3/admin/cs/config/import?policy=OVERWRITE", "namespaceId"),
    ] {
        let mut site = Site::new();
        let exported = format!("/nacos/v1/cs/configs?exportV2=true&tenant=dev&ids={}", site.ids[0]);
        let archive = site.ask("GET", &exported, true).body;
        let answer = site.ask("DELETE", "/nacos/v1/cs/configs?tenant=dev&group=g&dataId=x", true);
        assert_eq!((answer.status.as_u16(), site.count()), (200, 2));
        let mut import = |target: &str, fields: &[(&str, &str)]| {
            let mut call = nacolet_api::Call {
                method: hyper::Method::POST,
                uri: target.parse().expect("a target"),
                body: parts(&archive, fields).into(),
                ..nacolet_api::Call::default()
            };
            let kind = format!("multipart/form-data; boundary={BOUNDARY}");
            call.headers.insert("content-type", kind.parse().expect("a value"));
            call.headers.insert("accesstoken", site.token.parse().expect("a value"));
            let answer = site.world.serve(call);
            (answer.status.as_u16(), site.count(), text(&answer).to_owned())
        };
        for (namespace, status) in [("other", 403), ("", 403), ("public", 403)] {
            let refused = import(&format!("{path}&{word}={namespace}"), &[]);
            assert_eq!((refused.0, refused.1), (status, 2), "{path} {namespace} {}", refused.2);
            let refused = import(path, &[(word, namespace)]);
            assert_eq!((refused.0, refused.1), (status, 2), "{path} {namespace} {}", refused.2);
        }
        let torn = import(&format!("{path}&{word}=dev"), &[(word, "other")]);
        assert_eq!((torn.0, torn.1), (400, 2), "{path} {}", torn.2);
        let done = import(&format!("{path}&{word}=dev"), &[]);
        assert_eq!((done.0, done.1), (200, 3), "{path} {}", done.2);
        assert!(done.2.contains("\"succCount\":1"), "{}", done.2);
    }
}
