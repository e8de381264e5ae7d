"""CPython's tests that have a server half and a client half, each half in a virtual router of its own.

`test_socket.ThreadableTest` plays the client half (`_testX`) in a thread beside the server half (`testX`). Here that thread
only speaks with another process, which plays the client half of the same, unmodified test in another VR. What the two
halves share in one process crosses a Unix socket: that one is ready, done or failed, events, and plain attributes.

    halves.py CLIENT-ADDRESS CLIENT-ADDRESS6      the client's side, started by `patch`
"""

import os
import pickle
import socket
import subprocess
import sys
import threading

# Not of IP, or of no protocol of ours; or a test that looks at both halves' descriptors.
OTHERS = ("Unix", "CAN", "RDS", "TIPC", "VSOCK", "UDPLITE", "SocketPair", "Hyperv", "Sharing", "SCMRightsStream")

# As `isthmus run --preload` says it.
VR = "ISTHMUS_PRELOAD_VR"


class Line:
    """Messages between the two processes, handled by a thread of its own."""

    def __init__(self, end, handle):
        self.stream, self.handle, self.lock = end.makefile("rwb"), handle, threading.Lock()
        threading.Thread(target=self.listen, daemon=True).start()

    def send(self, *message):
        with self.lock:
            pickle.dump(message, self.stream)
            self.stream.flush()

    def listen(self):
        while True:
            try:
                self.handle(*pickle.load(self.stream))
            except (EOFError, ConnectionError):
                # Without its server there is nothing to play.
                os._exit(0)


class Event(threading.Event):
    """One that both halves have: a number is its name in both."""

    known, line = {}, None

    def __init__(self, number=None):
        super().__init__()
        self.number = len(Event.known) if number is None else number
        Event.known[self.number] = self

    def set(self):
        Event.line.send("set", self.number)
        super().set()

    def clear(self):
        Event.line.send("clear", self.number)
        super().clear()

    def __reduce__(self):
        return event, (self.number,)


def event(number):
    return Event.known.get(number) or Event(number)


def changed(known, what, number):
    one = event(number)
    getattr(threading.Event, what)(one)


class Threading:
    """`threading`, but for events."""

    Event = Event

    def __getattr__(self, name):
        return getattr(threading, name)


class Elsewhere:
    """The server's socket, as its client sees it."""

    def __init__(self, address):
        self.address = address

    def getsockname(self):
        return self.address


def plain(test):
    """What can be told of a test's attributes."""
    found = {}
    for name, value in vars(test).items():
        if name.startswith("_") or name in ("queue", "server_ready", "client_ready", "done", "setUp"):
            continue
        if name == "serv":
            value = Elsewhere(value.getsockname())
        try:
            found[name] = pickle.dumps(value)
        except Exception:
            # Sockets, threads, methods: of one process.
            continue
    return found


def take(test, told):
    for name, value in told.items():
        setattr(test, name, pickle.loads(value))


def has_halves(test, module):
    """Whether a test is one of two halves that speak IP."""
    name = type(test).__name__
    return isinstance(test, module.ThreadableTest) and not any(other in name for other in OTHERS)


def patch(module, vr, hosts):
    """Server's side: client halves are played in VR `vr`. `hosts`: addresses of the server and of the client, each of IPv4
    and of IPv6."""
    from test.support import os_helper, socket_helper

    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-W", "ignore", __file__, *hosts]
        # The file that a test sends is named after the process that writes it.
        environment = {**os.environ, VR: vr, "LINE": str(theirs.fileno()), "TESTFN": os_helper.TESTFN}
        subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
    playing = {}

    def handle(what, *more):
        test = playing.get("test")
        if what in ("set", "clear"):
            changed(None, what, *more)
        elif what == "ready":
            take(test, more[0])
            threading.Event.set(test.client_ready)
        elif what == "failed":
            test.queue.put(AssertionError("the client's half: " + more[0]))
        elif what == "done":
            threading.Event.set(test.done)

    line = Event.line = Line(ours, handle)
    module.threading = Threading()
    set_hosts(module, socket_helper, hosts[0], hosts[1])

    def client_run(test, _):
        """In the thread that would have played the client's half."""
        playing["test"] = test
        test.server_ready.wait()
        line.send("play", test.id(), test.server_crashed, plain(test))
        test.done.wait()

    module.ThreadableTest.clientRun = client_run


def set_hosts(module, helper, host, host6):
    module.HOST = helper.HOST = host
    module.HOSTv6 = helper.HOSTv6 = host6
    helper.bind_port.__defaults__ = (host,)
    # What was made of it when the module was read.
    for one in vars(module).values():
        if isinstance(one, type) and one.__dict__.get("host") in ("localhost", "127.0.0.1"):
            one.host = host
        elif isinstance(one, type) and one.__dict__.get("host") == "::1":
            one.host = host6


def serve(server, server6, client, client6):
    """Client's side: plays one half after the other."""
    import unittest

    from test import support
    from test.support import os_helper, socket_helper

    support.use_resources = []
    os_helper.TESTFN = os.environ["TESTFN"]
    import test.test_socket as module

    own = {server: client, server6: client6}
    original = socket.socket.bind

    def bind(self, address):
        """A client is at home in its own VR."""
        if isinstance(address, tuple):
            address = (own.get(address[0], address[0]), *address[1:])
        return original(self, address)

    socket.socket.bind = bind
    set_hosts(module, socket_helper, server, server6)
    module.threading = Threading()
    over = threading.Event()
    waiting, wake = [], threading.Condition()

    def handle(what, *more):
        if what in ("set", "clear"):
            changed(None, what, *more)
        else:
            with wake:
                waiting.append(more)
                wake.notify()

    line = Event.line = Line(socket.socket(fileno=int(os.environ["LINE"])), handle)
    while not over.is_set():
        with wake:
            wake.wait_for(lambda: waiting)
            name, crashed, told = waiting.pop(0)
        [test] = unittest.defaultTestLoader.loadTestsFromName(name)
        take(test, told)
        player = threading.Thread(target=play, args=(test, name, crashed, line))
        player.start()
        player.join()


def play(test, name, crashed, line):
    try:
        try:
            test.clientSetUp()
        finally:
            line.send("ready", {name: value for name, value in plain(test).items() if name.startswith("cli")})
        if not crashed:
            getattr(test, "_" + name.rpartition(".")[2])()
    except BaseException as error:
        line.send("failed", f"{type(error).__name__}: {error}")
    finally:
        test.done = threading.Event()
        try:
            test.clientTearDown()
        except SystemExit:
            pass
        except BaseException as error:
            line.send("failed", f"clientTearDown: {type(error).__name__}: {error}")
        line.send("done")


if __name__ == "__main__":
    # Pickled names are those of the module.
    import halves

    halves.serve(*sys.argv[1:])
