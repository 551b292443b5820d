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
    let (_, users) = admin.ask("GET", "/v3/auth/user/list?username=*aco*&search=blur", "");
    assert_eq!(users["data"]["pageItems"][0]["username"], "nacos");
    let (_, names) = admin.ask("GET", "/v3/auth/user/search?username=an", "");
    assert_eq!(names["data"], json!(["ann"]));
    let (_, roles) = admin.ask("GET", "/v3/auth/role/list?username=ann", "");
    assert_eq!(roles["data"]["pageItems"], json!([{"role": "dev", "username": "ann"}]));
    let (_, roles) = admin.ask("GET", "/v3/auth/role/search?role=", "");
    assert_eq!(roles["data"], json!(["ROLE_ADMIN", "dev"]));
    let (_, permissions) = admin.ask("GET", "/v3/auth/permission/list?role=dev", "");
    let expected = json!([{"role": "dev", "resource": "a:*:*", "action": "rw"}]);
    assert_eq!(permissions["data"]["pageItems"], expected);

    let gone = admin.ask("DELETE", &format!("/v3/auth/permission?{permission}"), "");
    assert_eq!(gone, ok("delete permission ok!"));
    let gone = admin.ask("DELETE", &format!("/v3/auth/role?{role}"), "");
    assert_eq!(gone, ok("delete role of user ann ok!"));
    assert_eq!(admin.ask("DELETE", "/v3/auth/user?username=ann", ""), ok("delete user ok!"));
    let (status, body) = admin.ask("DELETE", "/v3/auth/user?username=ann", "");
    assert_eq!((status, &body["code"]), (404, &json!(20_004)));
}

#[test]
fn v1_answers_in_its_own_shapes() {
    let mut admin = Admin::new();
    let user = "username=ann&password=battery+staple";
    let expected = json!({"code": 200, "message": "create user ok!", "data": null});
    assert_eq!(admin.ask("POST", "/v1/auth/users", user), (200, expected));
    admin.done("POST", "/v1/auth/roles", "role=dev&username=ann");
    admin.done("POST", "/v1/auth/permissions", "role=dev&resource=:*:*&action=r");
    let (_, users) = admin.ask("GET", "/v1/auth/users?pageNo=1&pageSize=9", "");
    assert_eq!(users["totalCount"], 2);
    let (_, names) = admin.ask("GET", "/v1/auth/users/search?username=a", "");
    assert_eq!(names, json!(["ann", "nacos"]));
    let (_, permissions) = admin.ask("GET", "/v1/auth/permissions?role=dev", "");
    assert_eq!(permissions["pageItems"][0]["resource"], "public:*:*");
    admin.done("PUT", "/v1/auth/users", "username=ann&newPassword=another+one");
    admin.done("DELETE", "/v1/auth/roles?role=dev", "");
    admin.done("DELETE", "/v1/auth/users?username=ann", "");
}

#[test]
fn what_does_not_fit_is_refused_with_a_reason() {
    let mut admin = Admin::new();
    let cases = [
        ("POST", "/v3/auth/user", "username=ann", 400, "password"),
        ("POST", "/v3/auth/user", "username=ann&password=short", 400, "8 to 72 bytes"),
        ("POST", "/v3/auth/user", "username=a+b&password=battery+staple", 400, "no blanks"),
        ("POST", "/v3/auth/user", "username=nacos&password=battery+staple", 409, "exists"),
        ("PUT", "/v3/auth/user", "username=x&newPassword=battery+staple", 404, "no such user"),
        ("DELETE", "/v3/auth/user?username=nacos", "", 409, "last administrator"),
        ("POST", "/v3/auth/role", "role=dev&username=x", 404, "no such user"),
        ("POST", "/v3/auth/permission", "role=x&resource=a:*:*&action=r", 404, "no such role"),
        ("POST", "/v3/auth/permission", "role=x&resource=a&action=r", 400, "NAMESPACE:GROUP"),
        ("POST", "/v3/auth/permission", "role=x&resource=a:*:*&action=x", 400, "r, w or rw"),
        ("DELETE", "/v3/auth/role?role=ROLE_ADMIN", "", 409, "last administrator"),
    ];
    for (method, target, form, status, words) in cases {
        let (found, body) = admin.ask(method, target, form);
        let told = body["data"].as_str().unwrap_or_default();
        assert!(found == status && told.contains(words), "{method} {target} {form}: {body}");
    }
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
        ("GET", "/nacos/v3/auth/user/list", ""),
        ("POST", "/nacos/v1/auth/roles", "role=ROLE_ADMIN&username=u"),
        ("POST", "/nacos/v1/auth/permissions", "role=us&resource=x:*:*&action=rw"),
        ("POST", "/nacos/v1/console/namespaces", "namespaceName=n&customNamespaceId=n"),
        ("GET", "/nacos/v2/ns/client/list", ""),
    ] {
        let answer = world.form(method, target, form, &headers);
        assert_eq!(answer.status, 403, "{method} {target}: {}", text(&answer));
    }
}
