"""Nacos' own command line, as its package brings it: what it can do with configs, and what it is
told of skills, which are not there. `NACOS_CLI` in the environment is its program.
"""

import os
import subprocess
import sys
from urllib.parse import urlsplit

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from harness import USER, case, check, equal, main, unique

# Without an address it would ask a server of its makers.
SERVER = urlsplit(sys.argv[1].split(",")[0])
GROUP = unique("G")


def cli(*words, text=""):
    """Runs it once; its exit code, and everything that it said."""
    command = [os.environ.get("NACOS_CLI", "nacos-cli"), "--host", SERVER.hostname,
               "--port", str(SERVER.port)]
    if USER:
        command += ["-u", USER["username"], "-p", USER["password"]]
    done = subprocess.run([*command, *words], input=text, capture_output=True, text=True,
                          timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def works(*words, text=""):
    code, said = cli(*words, text=text)
    equal(code, 0, f"{words}: {said}")
    return said


def fails(*words):
    code, said = cli(*words)
    equal(code, 1, f"{words}: {said}")
    return said


@case
def a_config_is_set_and_got():
    name = unique("set") + ".yaml"
    works("config-set", name, GROUP, text="first: 1\nsecond: é\n")
    said = works("config-get", name, GROUP)
    check("first: 1\nsecond: é" in said, said)
    works("config-set", name, GROUP, text="third: 3\n")
    said = works("config-get", name, GROUP)
    check("third: 3" in said and "first" not in said, said)


@case
def a_config_is_set_from_a_file():
    name = unique("file")
    path = os.path.join(os.getcwd(), name)
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"from": "a file"}')
    try:
        works("config-set", name, GROUP, "--file", path)
    finally:
        os.remove(path)
    check('{"from": "a file"}' in works("config-get", name, GROUP), name)


@case
def an_absent_config_is_told():
    said = fails("config-get", unique("absent"), GROUP)
    check("20004" in said or "not found" in said, said)


@case
def configs_are_listed_and_searched():
    stem, group = unique("listed"), unique("L")
    for number in range(3):
        works("config-set", f"{stem}-{number}", group, text=str(number))
    works("config-set", f"{stem}-0", unique("M"), text="another group")

    def names(*options):
        said = works("config-list", "--size", "50", *options)
        return [word for word in said.replace("│", " ").split() if word.startswith(stem)]

    equal(sorted(names("--group", group)), [f"{stem}-{n}" for n in range(3)], "by group")
    equal(len(names("--data-id", f"{stem}*")), 4, "by the start of the name")
    equal(names("--data-id", f"{stem}-1"), [f"{stem}-1"], "by name")
    equal(names("--group", unique("nobody")), [], "by a group of nobody")
    said = works("config-list", "--group", group, "--page", "2", "--size", "2")
    check(f"{stem}-2" in said and f"{stem}-0" not in said, f"the second page: {said}")


@case
def a_namespace_has_configs_of_its_own():
    name, space = unique("spaced"), unique("space")
    works("-n", space, "config-set", name, GROUP, text="of the namespace")
    check(name in works("-n", space, "config-list"), "list")
    # It reads without a namespace, as nacos-cli of any version does with `config-get` alone.
    check(name not in works("config-list", "--data-id", name).split("Fetching")[0], "elsewhere")


@case
def the_interactive_terminal_works():
    name = unique("terminal")
    works("config-set", name, GROUP, text="from outside")
    said = works("interactive", text=f"config-get {name} {GROUP}\nserver\nquit\n")
    check("from outside" in said, said[-500:])


@case
def a_wrong_password_is_refused():
    if not USER:
        said = works("config-list", "--size", "1", "-u", "stranger", "-p", "whatever it is")
        check("rror" not in said, said)
        return
    said = fails("config-list", "-p", "not the password")
    check("403" in said or "login" in said or "password" in said.lower(), said)


@case
def skills_are_told_to_be_not_there():
    for words in (["skill-list"], ["agentspec-list"], ["skill-get", "one"]):
        said = fails(*words)
        check("501" in said, f"{words}: {said}")


main()
