"""CPython's own tests of a module, one line of result each: `name result`.

    cpython.py MODULE...

A test that stands still is killed and said to hang; those after it go on in another process. Nothing here needs the
Internet: CPython's resource "network" is off. Environment: ONLY names a test to be played alone, TRACEBACK has the
tracebacks of those that fail on standard error; CLIENT_VR has the client halves of `test_socket` played in another VR
(`halves.py`), and no other tests; RELAY_VR has each connection of a test go by way of another VR (`relay.py`), and a test
that makes none is said to stand `apart`. HOSTS are then addresses of the two VRs.
"""

import importlib
import os
import select
import subprocess
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor

# How long one test may take. The longest of those that are well take 5 s.
PATIENCE = 30


class Lines(unittest.TestResult):
    """Says each result as it comes. `line`: to the relay, if there is one."""

    def __init__(self, line=None):
        super().__init__()
        self.line = line

    def startTest(self, test):
        super().startTest(test)
        self.said = {}
        self.crossings = self.line and self.line.crossings
        say("begin", test.id())

    def note(self, test, word, why=""):
        self.said.setdefault(word, why)

    def addSuccess(self, test):
        self.note(test, "ok")

    def addError(self, test, error):
        self.failed(test, error)

    def addFailure(self, test, error):
        self.failed(test, error)

    def failed(self, test, error):
        if not hasattr(test, "_testMethodName"):
            # A class or module that could not be set up.
            say("begin", test.id())
            say("end", "failed", f"{error[0].__name__}: {error[1]}")
            return
        self.note(test, "failed", f"{error[0].__name__}: {error[1]}")
        if os.environ.get("TRACEBACK"):
            print(self._exc_info_to_string(error, test), file=sys.stderr)

    def addSkip(self, test, reason):
        # A whole class has no test that could be named.
        if hasattr(test, "_testMethodName"):
            self.note(test, "skipped", reason)

    def addExpectedFailure(self, test, error):
        self.note(test, "ok")

    def addUnexpectedSuccess(self, test):
        self.note(test, "failed", "it was expected to")

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.failed(test, error)

    def stopTest(self, test):
        word = next((word for word in ("failed", "skipped", "ok") if word in self.said), "ok")
        if word == "ok" and self.line and self.line.crossings == self.crossings:
            word = "apart"
        say("end", word, self.said.get(word, ""))
        super().stopTest(test)


def say(*words):
    print("\t".join(word.replace("\n", " ").replace("\t", " ") for word in words), flush=True, file=OUT)


def tests_of(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_of(test)
        else:
            yield test


def play(module, after):
    """Runs the tests of a module, those that follow one if that is named."""
    from test import support

    support.use_resources = []
    support.verbose = 0
    client_vr, relay_vr = os.environ.get("CLIENT_VR"), os.environ.get("RELAY_VR")
    line = None
    if relay_vr:
        import relay

        line = relay.patch(relay_vr, os.environ["HOSTS"].split())
    if client_vr:
        import halves

        loaded = importlib.import_module("test." + module)
        # Before any test is made, which may have events.
        halves.patch(loaded, client_vr, os.environ["HOSTS"].split())
    tests = list(tests_of(unittest.defaultTestLoader.loadTestsFromName("test." + module)))
    names = [test.id() for test in tests]
    rest = tests[names.index(after) + 1 if after else 0:]
    rest = [test for test in rest if os.environ.get("ONLY", "") in test.id()]
    if client_vr:
        rest = [test for test in rest if halves.has_halves(test, loaded)]
    unittest.TestSuite(rest).run(Lines(line))
    say("over")
    # Threads that a test left behind are not waited for.
    os._exit(0)


def watch(module):
    """Has a module's tests run, by as many processes as it takes."""
    last = ""
    while True:
        told, out = os.pipe()
        environment = dict(os.environ, CPYTHON_OUT=str(out))
        line = [sys.executable, "-W", "ignore", __file__, "--play", module, last]
        child = subprocess.Popen(line, pass_fds=[out], env=environment, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, start_new_session=True,
                                 stderr=None if os.environ.get("TRACEBACK") else subprocess.DEVNULL)
        os.close(out)
        unread, name = b"", None
        while True:
            ready = select.select([told], [], [], PATIENCE)[0]
            more = os.read(told, 65536) if ready else b""
            if not more:
                break
            *lines, unread = (unread + more).split(b"\n")
            for words in (line.decode(errors="replace").split("\t") for line in lines):
                if words[0] == "begin":
                    name = words[1]
                elif words[0] == "end":
                    tell(name, *words[1:])
                    last, name = name, None
                elif words[0] == "over":
                    kill(child)
                    os.close(told)
                    return
        kill(child)
        os.close(told)
        if name is None:
            # Between two tests: there is nobody to go on after.
            tell(f"test.{module}", "failed", f"after {last or 'nothing'}")
            return
        tell(name, "dies" if ready else "hangs")
        last = name


def tell(*words):
    # In one piece: two modules are played at once.
    sys.stdout.write(" ".join(words).rstrip() + "\n")
    sys.stdout.flush()


def kill(child):
    try:
        os.killpg(child.pid, 9)
    except ProcessLookupError:
        pass
    child.wait()


if sys.argv[1] == "--play":
    OUT = os.fdopen(int(os.environ["CPYTHON_OUT"]), "w")
    play(sys.argv[2], sys.argv[3])
else:
    # Most tests wait for something.
    with ThreadPoolExecutor(2) as players:
        list(players.map(watch, sys.argv[1:]))
