//! Users, roles and permissions over the paths of Nacos 1, 2 and 3.

use nacolet_auth::Actions;
use serde_json::{Value, json};

use crate::world::{World, json, text};

struct Admin {
    world: World,
    token: String,
}

impl Admin {
    fn new() -> Self {
        let mut world = World::new();
        let token = world.token("nacos");
        Self { world, token }
    }

    fn ask(&mut self, method: &str, target: &str, form: &str) -> (u16, Value) {
        let headers = [("accesstoken", self.token.as_str())];
        let answer = self.world.form(method, &format!("/nacos{target}"), form, &headers);
        (answer.status.as_u16(), json(&answer))
    }

    fn done(&mut self, method: &str, target: &str, form: &str) {
        let (status, body) = self.ask(method, target, form);
        assert_eq!(status, 200, "{method} {target} {form}: {body}");
    }
}

#[test]
fn users_roles_and_permissions_are_made_listed_and_removed_in_v3() {
    let mut admin = Admin::new();
    let ok = |words: &str| (200, json!({"code": 0, "message": "success", "data": words}));
    let user = "username=ann&password=battery+staple";
    assert_eq!(admin.ask("POST", "/v3/auth/user", user), ok("create user ok!"));
    let role = "role=dev&username=ann";
    assert_eq!(admin.ask("POST", "/v3/auth/role", role), ok("add role ok!"));
    let permission = "role=dev&resource=a:*:*&action=rw";
    assert_eq!(admin.ask("POST", "/v3/auth/permission", permission), ok("add permission ok!"));

    let (_, users) = admin.ask("GET", "/v3/auth/user/list?pageNo=1&pageSize=1", "");
    let expected = json!({"totalCount": 2, "pageNumber": 1, "pagesAvailable": 2,
        "pageItems": [{"username": "ann", "password": "******"}]});
    assert_eq!(users["data"], expected);
    let (_, users) =
        admin.ask("GET", "/v3/auth/user/list?username=*aco*&search=blur&pageNo=1&pageSize=9", "");
    assert_eq!(users["data"]["pageItems"][0]["username"], "nacos");
    let (_, names) = admin.ask("GET", "/v3/auth/user/search?username=an", "");
    assert_eq!(names["data"], json!(["ann"]));
    let (_, roles) = admin.ask("GET", "/v3/auth/role/list?username=ann&pageNo=1&pageSize=9", "");
    assert_eq!(roles["data"]["pageItems"], json!([{"role": "dev", "username": "ann"}]));
    let (_, roles) = admin.ask("GET", "/v3/auth/role/search?role=", "");
    assert_eq!(roles["data"], json!(["ROLE_ADMIN", "dev"]));
    let (_, permissions) =
        admin.ask("GET", "/v3/auth/permission/list?role=dev&pageNo=1&pageSize=9", "");
    let expected = json!([{"role": "dev", "resource": "a:*:*", "action": "rw"}]);
    assert_eq!(permissions["data"]["pageItems"], expected);

    let gone = admin.ask("DELETE", &format!("/v3/auth/permission?{permission}"), "");
    assert_eq!(gone, ok("delete permission ok!"));
    let gone = admin.ask("DELETE", &format!("/v3/auth/role?{role}"), "");
    assert_eq!(gone, ok("delete role of user ann ok!"));
    assert_eq!(admin.ask("DELETE", "/v3/auth/user?username=ann", ""), ok("delete user ok!"));
    // What is gone can be removed again.
    for (target, words) in [
        ("/v3/auth/user?username=ann", "delete user ok!"),
        ("/v3/auth/role?role=dev", "delete role of user  ok!"),
        ("/v3/auth/permission?role=dev&resource=a:*:*&action=rw", "delete permission ok!"),
        ("/v3/auth/permission?role=dev&resource=none&action=none", "delete permission ok!"),
    ] {
        assert_eq!(admin.ask("DELETE", target, ""), ok(words), "{target}");
    }
}

#[test]
fn v1_answers_in_its_own_shapes() {
    let mut admin = Admin::new();
    let user = "username=ann&password=battery+staple";
    let expected = json!({"code": 200, "message": null, "data": "create user ok!"});
    assert_eq!(admin.ask("POST", "/v1/auth/users", user), (200, expected));
    admin.done("POST", "/v1/auth/roles", "role=dev&username=ann");
    admin.done("POST", "/v1/auth/permissions", "role=dev&resource=:*:*&action=r");
    let permission = "role=dev&resource=:*:*&action=r";
    admin.done("POST", "/v1/auth/permissions", permission);
    for path in ["/v1/auth", "/v1/auth/users"] {
        let list = format!("{path}?search=accurate&pageNo=1&pageSize=9");
        assert_eq!(admin.ask("GET", &list, "").1["totalCount"], 2);
    }
    let yes = json!({"code": 0, "message": "success", "data": true});
    let (status, has) = admin.ask("GET", &format!("/v1/auth/permissions?{permission}"), "");
    assert_eq!((status, &has), (200, &yes));
    let (_, has) = admin.ask("GET", &format!("/v3/auth/permission?{permission}"), "");
    assert_eq!(has, yes);
    let other = "/v1/auth/permissions?role=dev&resource=:*:*&action=w";
    assert_eq!(admin.ask("GET", other, "").1["data"], false);
    let (_, names) = admin.ask("GET", "/v1/auth/users/search?username=a", "");
    assert_eq!(names, json!(["ann", "nacos"]));
    let (_, permissions) =
        admin.ask("GET", "/v1/auth/permissions?search=blur&role=d*&pageNo=1&pageSize=9", "");
    assert_eq!(permissions["pageItems"][0]["resource"], "public:*:*");
    admin.done("PUT", "/v1/auth/users", "username=ann&newPassword=another+one");
    admin.done("DELETE", "/v1/auth/roles?role=dev", "");
    admin.done("DELETE", "/v1/auth?username=ann", "");
}

#[test]
fn what_does_not_fit_is_refused_with_a_reason() {
    let mut admin = Admin::new();
    let cases = [
        ("POST", "/v3/auth/user", "username=ann", 400, "password"),
        ("POST", "/v3/auth/user", "username=ann&password=short", 400, "8 to 72 bytes"),
        ("POST", "/v3/auth/user", "username=a+b&password=battery+staple", 400, "no blanks"),
        ("POST", "/v3/auth/user", "username=nacos&password=battery+staple", 400, "exists"),
        ("PUT", "/v3/auth/user", "username=x&newPassword=battery+staple", 400, "no such user"),
        ("DELETE", "/v3/auth/user?username=nacos", "", 400, "cannot delete admin"),
        ("POST", "/v3/auth/role", "role=dev&username=x", 400, "no such user"),
        ("POST", "/v3/auth/permission", "role=x&resource=a:*:*&action=r", 400, "no such role"),
        ("POST", "/v3/auth/permission", "role=x&resource=a&action=r", 400, "NAMESPACE:GROUP"),
        ("POST", "/v3/auth/permission", "role=x&resource=a:*:*&action=x", 400, "r, w or rw"),
        ("DELETE", "/v3/auth/role?role=ROLE_ADMIN", "", 400, "last administrator"),
    ];
    for (method, target, form, status, words) in cases {
        let (found, body) = admin.ask(method, target, form);
        let told = body["data"].as_str().or(body["message"].as_str()).unwrap_or_default();
        assert!(found == status && told.contains(words), "{method} {target} {form}: {body}");
    }
}

/// Spring looks for the parameters of a list before it calls anything.
#[test]
fn a_list_needs_its_page_and_in_the_first_family_its_kind_of_search() {
    let mut admin = Admin::new();
    let page = "pageNo=1&pageSize=9";
    for (target, words) in [
        ("/v1/auth/users?search=accurate".to_owned(), "'pageNo'"),
        ("/v1/auth/roles?search=blur&pageNo=1".to_owned(), "'pageSize'"),
        ("/v3/auth/user/list".to_owned(), "'pageNo'"),
        ("/v3/auth/role/list?pageNo=1".to_owned(), "'pageSize'"),
        ("/v1/auth/permissions".to_owned(), "'role'"),
        ("/v3/auth/permission?role=dev".to_owned(), "'resource'"),
        ("/v1/auth/users/search".to_owned(), "'username'"),
        ("/v3/auth/role/search".to_owned(), "'role'"),
        (format!("/v1/auth/users?{page}"), "Invalid"),
        (format!("/v1/auth/roles?search=some&{page}"), "Invalid"),
    ] {
        let (status, body) = admin.ask("GET", &target, "");
        assert_eq!((status, &body["status"]), (400, &json!(400)), "{target}: {body}");
        assert!(body["message"].as_str().is_some_and(|told| told.contains(words)), "{body}");
    }
    let found = |admin: &mut Admin, kind: &str, text: &str| {
        let target = format!("/v3/auth/user/list?search={kind}&username={text}&{page}");
        admin.ask("GET", &target, "").1["data"]["totalCount"].clone()
    };
    assert_eq!(found(&mut admin, "blur", "naco"), 0, "a star is any text, and nothing else is");
    assert_eq!(found(&mut admin, "blur", "n*o*"), 1);
    assert_eq!(found(&mut admin, "accurate", "n*o*"), 0);
    assert_eq!(found(&mut admin, "accurate", ""), 1);
}

#[test]
fn an_administrator_is_removed_when_the_role_has_gone() {
    let mut admin = Admin::new();
    admin.done("POST", "/v3/auth/user", "username=ann&password=battery+staple");
    admin.done("POST", "/v3/auth/role", "role=ROLE_ADMIN&username=ann");
    for path in ["/v1/auth", "/v1/auth/users", "/v3/auth/user"] {
        let answer = admin.world.call(
            "DELETE",
            &format!("/nacos{path}?username=ann"),
            &[("accesstoken", &admin.token)],
        );
        assert_eq!(answer.status, 400, "{}", text(&answer));
    }
    admin.done("DELETE", "/v3/auth/role?role=ROLE_ADMIN&username=ann", "");
    admin.done("DELETE", "/v3/auth/user?username=ann", "");
    assert!(admin.world.port.users.read().expect("no panic before").user("ann").is_none());
}

#[test]
fn only_administrators_administer() {
    let mut world = World::new();
    world.user("u", &[("*:*:*", Actions::Both)]);
    let token = world.token("u");
    let headers = [("accesstoken", token.as_str())];
    for (method, target, form) in [
        ("POST", "/nacos/v3/auth/user", "username=ann&password=battery+staple"),
        ("PUT", "/nacos/v3/auth/user", "username=nacos&newPassword=battery+staple"),
        ("DELETE", "/nacos/v3/auth/user?username=nacos", ""),
        ("GET", "/nacos/v3/auth/user/list?pageNo=1&pageSize=9", ""),
        ("GET", "/nacos/v1/auth?search=blur&pageNo=1&pageSize=9", ""),
        ("GET", "/nacos/v3/auth/permission?role=us&resource=x:*:*&action=rw", ""),
        ("DELETE", "/nacos/v1/auth?username=ann", ""),
        ("POST", "/nacos/v1/auth/roles", "role=ROLE_ADMIN&username=u"),
        ("POST", "/nacos/v1/auth/permissions", "role=us&resource=x:*:*&action=rw"),
        ("POST", "/nacos/v1/console/namespaces", "namespaceName=n&customNamespaceId=n"),
        ("GET", "/nacos/v2/ns/client/list", ""),
    ] {
        let answer = world.form(method, target, form, &headers);
        assert_eq!(answer.status, 403, "{method} {target}: {}", text(&answer));
    }
}

#[test]
fn a_user_sees_the_namespaces_that_he_may_do_something_in() {
    let mut admin = Admin::new();
    for id in ["a", "b", "c"] {
        let form = format!("namespaceName=n{id}&customNamespaceId={id}");
        admin.done("POST", "/v1/console/namespaces", &form);
        for data_id in ["x", "y"] {
            let form = format!("tenant={id}&group=g&dataId={data_id}&content=1");
            admin.done("POST", "/v1/cs/configs", &form);
        }
    }
    admin.done("POST", "/v1/cs/configs", "group=g&dataId=x&content=1");
    admin.world.user("nobody", &[]);
    admin.world.user("ann", &[("a:*:*", Actions::Read), ("b:g:config/x", Actions::Read)]);
    let mut see = |user: &str| {
        let token = admin.world.token(user);
        let headers = [("accesstoken", token.as_str())];
        let mut get = |target: &str| {
            let answer = admin.world.call("GET", &format!("/nacos{target}"), &headers);
            let status = answer.status.as_u16();
            (status, serde_json::from_slice::<Value>(&answer.body).unwrap_or_default())
        };
        let mut lists = Vec::new();
        for target in ["/v1/console/namespaces", "/v2/console/namespace/list"] {
            let (_, list) = get(target);
            let list = list["data"].as_array().expect("a list").clone();
            let one = |one: &Value| (one["namespace"].clone(), one["configCount"].clone());
            lists.push(list.iter().map(one).collect::<Vec<_>>());
        }
        assert_eq!(lists[0], lists[1]);
        let shown = ["a", "b", "c"].map(|id| {
            let (v1, _) = get(&format!("/v1/console/namespaces?show=all&namespaceId={id}"));
            let (v2, _) = get(&format!("/v2/console/namespace?namespaceId={id}"));
            assert_eq!(v1, v2, "{id}");
            let there =
                format!("/v1/console/namespaces?checkNamespaceIdExist=true&customNamespaceId={id}");
            assert_eq!(get(&there).1, json!(v1 == 200));
            let (used, _) = get(&format!("/v1/cs/capacity?tenant={id}"));
            (v1, used)
        });
        let (of_group, _) = get("/v1/cs/capacity?group=g");
        (lists.remove(0), shown, of_group)
    };
    let all = |list: &[(&str, u32)]| -> Vec<(Value, Value)> {
        list.iter().map(|(id, count)| (json!(id), json!(count))).collect()
    };
    let expected = (all(&[("", 0)]), [(404, 403); 3], 403);
    assert_eq!(see("nobody"), expected);
    let expected = (all(&[("", 0), ("a", 2), ("b", 0)]), [(200, 200), (200, 403), (404, 403)], 403);
    assert_eq!(see("ann"), expected);
    let expected = (all(&[("", 1), ("a", 2), ("b", 2), ("c", 2)]), [(200, 200); 3], 200);
    assert_eq!(see("nacos"), expected);
}
