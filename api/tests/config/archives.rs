//! Export, import and clone.

use serde_json::{Value, json};
use tide::http;

use crate::world::{Reply, World, request};

fn import(world: &World, query: &str, file: &[u8]) -> Value {
    let reply = sent(world, &format!("/nacos/v1/cs/configs?import=true{query}"), file);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// The answer to a body of parts with this file.
fn sent(world: &World, target: &str, file: &[u8]) -> Reply {
    let mut request = request("POST", target);
    let mut body = b"--xx\r\nContent-Disposition: form-data; name=\"policy\"\r\n\r\n\r\n--xx\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\n\r\n"
        .to_vec();
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--xx--\r\n");
    request.set_body(http::Body::from_bytes(body));
    request.insert_header("content-type", "multipart/form-data; boundary=xx");
    world.send(request)
}

fn exported(world: &World, query: &str) -> Vec<u8> {
    let reply = world.call("GET", &format!("/nacos/v1/cs/configs?{query}"));
    assert_eq!(reply.status, 200);
    let disposition = reply.header("content-disposition");
    assert!(
        disposition.starts_with("attachment;filename=nacos_config_export_2023"),
        "{disposition}"
    );
    reply.body
}

#[test]
fn what_one_server_exports_another_imports() {
    let world = World::new();
    world.publish("a.yml", "one");
    world.form(
        "POST",
        "/nacos/v1/cs/configs",
        "dataId=b&group=h&content=two&type=json&desc=two%3A",
    );
    for query in ["exportV2=true&tenant=&group=&appName=&ids=", "export=true"] {
        let file = exported(&world, query);
        let other = World::new();
        let reply = import(&other, "", &file);
        let expected = json!({"code": 200, "message": "import success",
            "data": {"succCount": 2, "skipCount": 0}});
        assert_eq!(reply, expected);
        assert_eq!(other.call("GET", "/nacos/v1/cs/configs?dataId=b&group=h").text(), "two");
    }
}

#[test]
fn a_policy_decides_about_what_is_there_already() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.publish(name, "old");
    }
    let file = exported(&world, "exportV2=true");
    world.call("DELETE", "/nacos/v1/cs/configs?dataId=a&group=g");
    world.publish("b", "new");
    let content = |name: &str| {
        let target = format!("/nacos/v1/cs/configs?dataId={name}&group=g");
        world.call("GET", &target).text().to_owned()
    };
    let data = import(&world, "&policy=ABORT", &file)["data"].clone();
    assert_eq!(data["succCount"], json!(1), "what stands before the conflict");
    assert_eq!(data["failData"], json!([{"dataId": "b", "group": "g"}]));
    assert_eq!(data["skipData"], json!([{"dataId": "c", "group": "g"}]));
    assert_eq!((content("a"), content("b")), ("old".into(), "new".into()));
    let data = import(&world, "&policy=SKIP", &file)["data"].clone();
    assert_eq!((data["succCount"].clone(), data["skipCount"].clone()), (json!(0), json!(3)));
    let data = import(&world, "&policy=OVERWRITE", &file)["data"].clone();
    assert_eq!(data["succCount"], json!(3));
    assert_eq!(content("b"), "old");
}

#[test]
fn an_import_that_brings_nothing_says_why() {
    let world = World::new();
    let file = exported(&world, "exportV2=true");
    assert_eq!(import(&world, "", b"no zip")["code"], json!(100_004));
    assert_eq!(import(&world, "&namespace=nope", &file)["code"], json!(100_001));
    let reply = world.call("POST", "/nacos/v1/cs/configs?import=true").json();
    assert_eq!((&reply["code"], &reply["data"]), (&json!(100_005), &json!({})), "no file");
    for path in ["/nacos/v3/admin/cs/config/import", "/nacos/v3/console/cs/config/import"] {
        let reply = world.call("POST", path).json();
        assert_eq!((&reply["code"], &reply["data"]), (&json!(100_005), &json!({})), "{path}");
    }
}

/// An archive of these files.
fn zipped(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).expect("starts");
        std::io::Write::write_all(&mut archive, content.as_bytes()).expect("writes");
    }
    archive.finish().expect("finishes").into_inner()
}

fn all_of(world: &World, data_id: &str) -> Value {
    world.call("GET", &format!("/nacos/v1/cs/configs?show=all&dataId={data_id}&group=g")).json()
}

#[test]
fn an_archive_without_metadata_says_its_types_by_the_ends_of_names() {
    let world = World::new();
    let files = ["a.yml", "a.yaml", "a.b.json", "a.properties", "a.xml", "a.htm", "a.toml", "a"]
        .map(|name| (format!("g/{name}"), "x"));
    let mut files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (&**name, *text)).collect();
    files.extend([("g/.DS_Store", "\u{1}"), ("__MACOSX/g/._a", "x"), ("g/blank.txt", " \n")]);
    let reply = import(&world, "", &zipped(&files));
    assert_eq!(reply["data"]["succCount"], json!(8), "{reply}");
    let blank = json!([{"itemName": "nothing in it: g/blank.txt"}]);
    assert_eq!(reply["data"]["unrecognizedData"], blank);
    assert_eq!(reply["data"]["unrecognizedCount"], json!(1));
    for (name, kind) in [
        ("a.yml", "yaml"),
        ("a.yaml", "yaml"),
        ("a.b.json", "json"),
        ("a.properties", "properties"),
        ("a.xml", "xml"),
        ("a.htm", "html"),
        ("a.toml", "toml"),
        ("a", "text"),
    ] {
        assert_eq!(all_of(&world, name)["type"], json!(kind), "{name}");
    }
}

#[test]
fn the_metadata_of_both_formats_is_read_as_nacos_writes_it() {
    let world = World::new();
    let metadata = "metadata:\n- appName: ma\n  dataId: m1\n  desc: |-\n    first\n    type: no\n  \
                    group: g\n  type: yaml\n";
    let reply = import(&world, "", &zipped(&[("g/m1", "x: 1"), (".metadata.yml", metadata)]));
    assert_eq!(reply["data"], json!({"succCount": 1, "skipCount": 0}));
    let config = all_of(&world, "m1");
    assert_eq!(config["desc"], json!("first\ntype: no"));
    assert_eq!((&config["type"], &config["appName"]), (&json!("yaml"), &json!("ma")));
    let lines = "g.m9~yml.app=legacy\rg.m8.app=other";
    import(&world, "", &zipped(&[("g/m9.yml", "x"), ("g/m8", "x"), (".meta.yml", lines)]));
    assert_eq!(all_of(&world, "m9.yml")["appName"], json!("legacy"));
    assert_eq!(all_of(&world, "m8")["appName"], json!("other"));
    // A file that the metadata does not name, and nothing else.
    let reply = import(&world, "", &zipped(&[("g/m2", "x"), (".metadata.yml", metadata)]));
    assert_eq!(reply["code"], json!(100_005));
    assert_eq!(reply["data"], json!({"succCount": 0}));
}

#[test]
fn whatever_is_exported_is_imported_however_well_it_packs() {
    let world = World::new();
    let form = format!("dataId=flat&group=g&content={}", "a".repeat(4 << 20));
    assert_eq!(world.form("POST", "/nacos/v1/cs/configs", &form).text(), "true");
    let other = World::new();
    let reply = import(&other, "", &exported(&world, "exportV2=true"));
    assert_eq!(reply["data"]["succCount"], json!(1), "{reply}");
    let content = other.call("GET", "/nacos/v1/cs/configs?dataId=flat&group=g");
    assert_eq!(content.body.len(), 4 << 20);
}

#[test]
fn the_key_of_an_encryption_is_kept_on_the_way_and_through_edits() {
    let world = World::new();
    let form = "dataId=cipher-aes-d&group=g&content=secret&encryptedDataKey=the-key";
    world.form("POST", "/nacos/v1/cs/configs", form);
    let key = |world: &World| all_of(world, "cipher-aes-d")["encryptedDataKey"].clone();
    let other = World::new();
    import(&other, "", &exported(&world, "exportV2=true"));
    assert_eq!(key(&other), json!("the-key"));
    for (path, group) in [
        ("/nacos/v1/cs/configs", "group"),
        ("/nacos/v2/cs/config", "group"),
        ("/nacos/v3/admin/cs/config", "groupName"),
        ("/nacos/v3/console/cs/config", "groupName"),
    ] {
        let form = format!("dataId=cipher-aes-d&{group}=g&content=edited");
        assert_eq!(other.form("POST", path, &form).status, 200);
        assert_eq!(key(&other), json!("the-key"), "{path}");
    }
    let form = "dataId=cipher-aes-d&group=g&content=again&encryptedDataKey=new-key";
    other.form("POST", "/nacos/v1/cs/configs", form);
    assert_eq!(key(&other), json!("new-key"));
}

#[test]
fn v3_exports_imports_and_clones_in_its_own_words() {
    let world = World::new();
    world.publish("a.yml", "one");
    for (export, import, clone) in [
        ("admin/cs/config/export", "admin/cs/config/import", "admin/cs/config/clone"),
        ("console/cs/config/export2", "console/cs/config/import", "console/cs/config/clone"),
    ] {
        let target = format!("/nacos/v3/{export}?groupName=g&namespaceId=&dataId=&ids=");
        let file = world.call("GET", &target).body;
        let other = World::new();
        let form = "customNamespaceId=dev&namespaceName=Dev";
        other.form("POST", "/nacos/v1/console/namespaces", form);
        let target = format!("/nacos/v3/{import}?namespaceId=dev&policy=OVERWRITE");
        let reply = sent(&other, &target, &file).json();
        assert_eq!(reply["code"], json!(0), "{reply}");
        assert_eq!(reply["data"], json!({"succCount": 1, "skipCount": 0}));
        let read = "/nacos/v3/admin/cs/config?dataId=a.yml&groupName=g&namespaceId=dev";
        let id = other.call("GET", read).json()["data"]["id"].clone();
        let (body, target) = if clone.starts_with("admin") {
            let body = json!([{"configId": id, "targetDataId": "b", "targetGroupName": "h"}]);
            (body, format!("/nacos/v3/{clone}?namespaceId=public"))
        } else {
            let body = json!([{"cfgId": id, "dataId": "b", "group": "h"}]);
            (body, format!("/nacos/v3/{clone}?targetNamespaceId=public"))
        };
        let mut call = request("POST", &target);
        call.set_body(body.to_string());
        call.insert_header("content-type", "application/json");
        let reply = other.send(call).json();
        assert_eq!(reply["data"], json!({"succCount": 1, "skipCount": 0}), "{reply}");
        let copy = other.call("GET", "/nacos/v1/cs/configs?dataId=b&group=h");
        assert_eq!(copy.text(), "one");
        let reply = other.call("POST", &format!("/nacos/v3/{clone}"));
        assert_eq!((reply.status, reply.json()["code"].clone()), (400, json!(10_000)));
    }
}

#[test]
fn configs_are_cloned_to_another_namespace_under_other_names() {
    let world = World::new();
    world.publish("a", "one");
    world.form("POST", "/nacos/v1/console/namespaces", "customNamespaceId=dev&namespaceName=Dev");
    let all = world.call("GET", "/nacos/v1/cs/configs?show=all&dataId=a&group=g").json();
    let body = json!([{"cfgId": all["id"], "dataId": "b", "group": ""}]).to_string();
    let clone = |tenant: &str| {
        let target = format!("/nacos/v1/cs/configs?clone=true&tenant={tenant}&policy=SKIP");
        let mut request = request("POST", &target);
        request.set_body(body.as_str());
        request.insert_header("content-type", "application/json");
        world.send(request).json()
    };
    assert_eq!(clone("nope")["code"], json!(100_001));
    let reply = clone("dev");
    assert_eq!(reply["message"], json!("Clone Completed Successfully"));
    assert_eq!(reply["data"]["succCount"], json!(1));
    let copy = world.call("GET", "/nacos/v1/cs/configs?dataId=b&group=g&tenant=dev");
    assert_eq!(copy.text(), "one");
    assert_eq!(clone("dev")["data"]["skipCount"], json!(1));
}
