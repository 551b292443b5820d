"""What both Python programs share: cases, how they are told, and the word with `cargo ci interop`.

A case is a function marked with `case`. Cases run side by side, because most of them wait; those
marked `alone` run afterwards, one by one.
"""

import os
import secrets
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

# Set where the server asks for users.
USER = {
    name: os.environ[f"NACOS_{name.upper()}"]
    for name in ("username", "password")
    if f"NACOS_{name.upper()}" in os.environ
}
CASES = []
CLEANUPS = []
_print_lock = threading.Lock()


class Skip(Exception):
    """A case that cannot be tried here."""


def case(function):
    CASES.append((function, False))
    return function


def alone(function):
    CASES.append((function, True))
    return function


def say(line):
    with _print_lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def unique(word):
    """A name no earlier run has used, so that a server may be tried twice."""
    return f"{word}-{os.getpid()}-{secrets.token_hex(3)}"


def equal(found, expected, what="value"):
    if found != expected:
        raise AssertionError(f"{what}: {short(found)} instead of {short(expected)}")


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def short(value):
    text = repr(value)
    return text if len(text) <= 300 else text[:300] + "..."


def eventually(look, within, what):
    """Calls `look` until it returns something true; returns that and the seconds it took."""
    start = time.monotonic()
    while True:
        value = look()
        if value:
            return value, time.monotonic() - start
        if time.monotonic() - start > within:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.05)


def restart_server():
    """Has the server killed and started again on the same data."""
    say("RESTART")
    if sys.stdin.readline().strip() != "RESTARTED":
        raise Skip("the server is not ours to restart")


def _run(function):
    name = function.__name__.replace("_", "-")
    start = time.monotonic()
    try:
        function()
    except Skip as reason:
        say(f"skip {name} {reason}")
        return True
    except Exception as error:
        ours = os.path.dirname(os.path.abspath(__file__))
        frames = traceback.extract_tb(error.__traceback__)
        frames = [f for f in frames if f.filename.startswith(ours) and f.filename != __file__]
        line = frames[-1].lineno if frames else 0
        why = " ".join(f"{type(error).__name__}: {error}".split())
        say(f"FAIL {name} line {line}: {why}")
        return False
    say(f"ok {name} ({time.monotonic() - start:.1f} s)")
    return True


def main():
    """Runs the cases, or only those named after the server's address, and exits."""
    wanted = sys.argv[2:]
    def named(function):
        return not wanted or function.__name__.replace("_", "-") in wanted
    together = [function for function, is_alone in CASES if not is_alone and named(function)]
    one_by_one = [function for function, is_alone in CASES if is_alone and named(function)]
    with ThreadPoolExecutor(max_workers=12) as pool:
        passed = list(pool.map(_run, together))
    passed += [_run(function) for function in one_by_one]
    # What still waits for the server now loses its footing, and has nothing left to tell.
    threading.excepthook = lambda _: None
    for cleanup in CLEANUPS:
        cleanup()
    # Client libraries leave threads behind that would keep the program alive.
    sys.stdout.flush()
    os._exit(0 if passed and all(passed) else 1)
