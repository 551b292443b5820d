"""Configs over bare HTTP: publish, read, remove, compare-and-set, search, long polls."""

import hashlib
import threading
import time

from harness import alone, case, check, equal, eventually, restart_server, unique
from wire import FORM, changed, form, listen, query, raw, encode

GROUP = "DEFAULT_GROUP"


def publish(data_id, content, **more):
    answer = form("POST", "cs/configs", dataId=data_id, group=GROUP, content=content, **more)
    equal((answer.status, answer.text), (200, "true"), "publish")


def read(data_id, **more):
    return query("GET", "cs/configs", dataId=data_id, group=GROUP, **more)


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


@case
def publish_read_and_remove():
    data_id = unique("plain")
    publish(data_id, "a: 1\n", type="yaml")
    answer = read(data_id)
    equal((answer.status, answer.body), (200, b"a: 1\n"), "read")
    equal(answer.headers["Content-MD5"], md5("a: 1\n"), "Content-MD5")
    equal(answer.headers["Config-Type"], "yaml", "Config-Type")
    check(answer.headers["Last-Modified"].endswith("GMT"), "Last-Modified is an HTTP date")
    check("utf-8" in answer.headers["Content-Type"].lower(), "Content-Type names UTF-8")
    answer = query("DELETE", "cs/configs", dataId=data_id, group=GROUP)
    equal((answer.status, answer.text), (200, "true"), "remove")
    answer = read(data_id)
    equal((answer.status, answer.text.strip()), (404, "config data not exist"), "read after remove")
    answer = query("DELETE", "cs/configs", dataId=data_id, group=GROUP)
    equal((answer.status, answer.text), (200, "true"), "remove what is absent")


@case
def content_type_follows_config_type():
    for kind, expected in [
        ("json", "application/json"),
        ("xml", "application/xml"),
        # What users publish is never served as a page.
        ("html", "text/plain"),
        ("properties", "text/plain"),
        ("no-such-type", "text/plain"),
    ]:
        data_id = unique(kind)
        publish(data_id, "{}", type=kind)
        equal(read(data_id).headers["Content-Type"].split(";")[0], expected, kind)


@case
def publish_in_the_query_without_a_body():
    data_id, content = unique("query"), "x" * 20 * 1024
    target = "/nacos/v1/cs/configs?" + encode(
        {"dataId": data_id, "group": GROUP, "content": content, "tenant": ""}
    )
    answer = raw("POST", target)
    equal((answer.status, answer.text), (200, "true"), "publish of 20 KiB in the URL")
    equal(read(data_id).text, content, "content")


@case
def remove_with_a_form_body_and_odd_queries():
    data_id = unique("odd")
    text = encode({"dataId": data_id, "group": GROUP, "content": "1"})
    answer = raw("POST", "/nacos/v1/cs/configs?", text, {"Content-Type": FORM})
    equal(answer.text, "true", "publish with a bare question mark")
    answer = raw("GET", "/nacos/v1/cs/configs?&" + encode({"dataId": data_id, "group": GROUP}))
    equal((answer.status, answer.text), (200, "1"), "read with `?&`")
    answer = form("DELETE", "cs/configs", dataId=data_id, group=GROUP)
    equal((answer.status, answer.text), (200, "true"), "remove with a form")
    equal(read(data_id).status, 404, "read after remove")


@case
def utf8_whatever_charset_is_claimed():
    data_id, content = unique("charset"), "naïve 配置 ключ 🦀\n"
    gbk = FORM + "; charset=GBK"
    answer = form("POST", "cs/configs", None, 40, gbk, dataId=data_id, group=GROUP, content=content)
    equal((answer.status, answer.text), (200, "true"), "publish")
    answer = read(data_id)
    equal(answer.body, content.encode(), "content")
    equal(answer.headers["Content-MD5"], md5(content), "Content-MD5")
    check("gbk" not in answer.headers["Content-Type"].lower(), "never answers GBK")


# A server takes some 64 MiB of large bodies at once and refuses more with 503; the largest content
# is three times as long where it is escaped. So large ones come one after the other.
ONE_LARGE = threading.Lock()


@case
def one_mebibyte_of_content():
    data_id, content = unique("large"), "0123456789abcde\n" * 65536
    with ONE_LARGE:
        publish(data_id, content)
        equal(hashlib.md5(read(data_id).body).hexdigest(), md5(content), "md5 of 1 MiB")


@case
def the_largest_content_comes_back_whole():
    data_id, content = unique("largest"), "é" * (5 * 1024 * 1024)
    with ONE_LARGE:
        publish(data_id, content)
        equal(hashlib.md5(read(data_id).body).hexdigest(), md5(content), "md5 of 10 MiB")
    query("DELETE", "cs/configs", dataId=data_id, group=GROUP)


@case
def too_much_content_is_refused():
    content = "a" * (10 * 1024 * 1024 + 1)
    with ONE_LARGE:
        answer = form("POST", "cs/configs", dataId=unique("huge"), group=GROUP, content=content)
    check(400 <= answer.status < 500, f"more than 10 MiB: {answer}")


@case
def bad_publishes_are_refused():
    good = {"dataId": unique("bad"), "group": GROUP, "content": "1"}
    for name, value in [
        ("dataId", None),
        ("group", None),
        ("content", None),
        ("content", ""),
        ("dataId", "a b"),
        ("dataId", "../../etc"),
        ("group", "g" * 129),
    ]:
        answer = form("POST", "cs/configs", **{**good, name: value})
        equal(answer.status, 400, f"publish with {name}={value!r}")
    equal(read(good["dataId"]).status, 404, "nothing was stored")


@case
def empty_and_public_name_the_same_namespace():
    data_id = unique("namespace")
    publish(data_id, "1", tenant="public")
    for tenant in [None, "", "public"]:
        equal(read(data_id, tenant=tenant).text, "1", f"tenant {tenant!r}")
    equal(read(data_id, tenant="other").status, 404, "another namespace")


@case
def compare_and_set_by_header():
    data_id = unique("cas")

    def attempt(content, expected_md5):
        headers = {"casMd5": expected_md5}
        return form("POST", "cs/configs", headers, dataId=data_id, group=GROUP, content=content)

    equal(attempt("1", md5("0")).text, "true", "an absent config is inserted whatever the md5")
    equal(read(data_id).text, "1", "content")
    check(attempt("2", md5("0")).status != 200, "a wrong md5 fails")
    equal(read(data_id).text, "1", "content after a refused publish")
    answer = attempt("2", md5("1"))
    equal((answer.status, answer.text), (200, "true"), "the right md5 wins")
    equal(read(data_id).text, "2", "content")


@case
def search_accurate_and_blur():
    word = unique("search")
    for index in range(3):
        publish(f"{word}.{index}", f"content {index}")
    page = {"group": "", "pageNo": 1, "pageSize": 2}
    found = query("GET", "cs/configs", search="blur", dataId=f"{word}*", **page).json
    equal((found["totalCount"], found["pagesAvailable"], found["pageNumber"]), (3, 2, 1), "page")
    equal(len(found["pageItems"]), 2, "items on the page")
    found = query("GET", "cs/configs", search="accurate", dataId=f"{word}.1", **page).json
    equal(found["totalCount"], 1, "accurate")
    item = found["pageItems"][0]
    equal((item["dataId"], item["group"], item["content"]), (f"{word}.1", GROUP, "content 1"), "item")


@case
def history_keeps_what_was_published():
    data_id = unique("history")
    publish(data_id, "1")
    publish(data_id, "2")
    found = query(
        "GET", "cs/history", search="accurate", dataId=data_id, group=GROUP, pageNo=1, pageSize=10
    ).json
    kinds = [item["opType"].strip() for item in found["pageItems"]]
    check(found["totalCount"] >= 1 and "U" in kinds, f"history: {kinds}")


@case
def listen_answers_a_difference_at_once():
    data_id, other = unique("listen"), unique("listen")
    publish(data_id, "1")
    key, start = (data_id, GROUP), time.monotonic()
    equal(listen([(*key, "")]).body, changed(key), "three words")
    equal(listen([(*key, md5("0"), "")]).body, changed(key), "four words, empty namespace")
    named = (data_id, GROUP, "public")
    equal(listen([(*key, "", "public")]).body, changed(named), "four words, named namespace")
    absent = (other, GROUP)
    equal(listen([(*absent, md5("0"))]).body, changed(absent), "a config that is gone")
    both = listen([(*key, ""), (*absent, "")]).body
    equal(both, changed(key), "only the changed one of two")
    equal(listen([(*key, md5("0"))], hold_ms=None).status, 200, "short poll")
    check(time.monotonic() - start < 5, "differences are answered at once")


@case
def listen_without_hangup_answers_at_once():
    data_id = unique("hangup")
    start = time.monotonic()
    answer = listen([(data_id, GROUP, "")], no_hangup=True)
    equal((answer.status, answer.body), (200, b""), "nothing changed")
    check(time.monotonic() - start < 5, "it is answered at once")


@case
def listen_holds_for_29_and_a_half_seconds():
    data_id = unique("hold")
    publish(data_id, "1")
    start = time.monotonic()
    answer = listen([(data_id, GROUP, md5("1"), "")])
    held = time.monotonic() - start
    equal((answer.status, answer.body), (200, b""), "nothing changed")
    check(28.5 <= held <= 30.5, f"held for {held:.1f} s")


@case
def listen_hears_of_publish_and_remove():
    data_id = unique("hear")
    key = (data_id, GROUP)

    def heard(md5_now, change):
        answers = []
        thread = threading.Thread(target=lambda: answers.append(listen([(*key, md5_now)])))
        thread.start()
        time.sleep(0.5)
        check(not answers, "answered before there was a change")
        start = time.monotonic()
        change()
        thread.join(10)
        check(answers, "not answered within 10 s of the change")
        equal(answers[0].body, changed(key), "answer")
        return time.monotonic() - start

    took = heard("", lambda: publish(data_id, "1"))
    check(took < 2, f"first publish was heard of after {took:.1f} s")
    took = heard(md5("1"), lambda: publish(data_id, "2"))
    check(took < 2, f"second publish was heard of after {took:.1f} s")
    took = heard(md5("2"), lambda: query("DELETE", "cs/configs", dataId=data_id, group=GROUP))
    check(took < 2, f"removal was heard of after {took:.1f} s")


@case
def listen_to_ten_thousand_keys():
    word = unique("many")
    publish(f"{word}.9999", "1")
    entries = [(f"{word}.{index}", GROUP, "", "") for index in range(10000)]
    answer = listen(entries)
    equal(answer.body, changed((f"{word}.9999", GROUP)), "the one that exists")


@case
def bad_listens_are_refused():
    for body in ["", "Listening-Configs=", "Listening-Configs=+"]:
        headers = {"Content-Type": FORM, "Long-Pulling-Timeout": "30000"}
        answer = raw("POST", "/nacos/v1/cs/configs/listener", body, headers)
        equal(answer.status, 400, repr(body))


@alone
def configs_survive_a_killed_server():
    kept, removed = unique("kept"), unique("removed")
    publish(kept, "kept")
    publish(removed, "gone")
    query("DELETE", "cs/configs", dataId=removed, group=GROUP)
    restart_server()
    eventually(lambda: read(kept).text == "kept", 5, "the config is back")
    equal(read(removed).status, 404, "the removed one")
    publish(kept, "again")
    equal(read(kept).text, "again", "publish after the restart")
