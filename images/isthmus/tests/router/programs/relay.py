"""CPython's tests whose client and server are in one process, with another virtual router between the two.

Client and server of asyncio's tests share one event loop, and the ends of the pairs of `test_selectors` one selector: they
cannot be played in two processes. Here each of their connections goes to a process in another VR, which goes on to the
server with one of its own, and takes bytes, ends and resets from each to the other; so do datagrams. Both ends that a test
looks at are then ends of channels to the other VR. What a test calls its loopback addresses are addresses of its VR, and
the pairs that it makes itself are connections.

    relay.py HOST HOST6 RELAY RELAY6      the process in the other VR, started by `patch`: addresses of the two VRs
"""

import os
import pickle
import resource
import selectors
import socket
import struct
import subprocess
import sys
import threading

# As `isthmus run --preload` says it.
VR = "ISTHMUS_PRELOAD_VR"

# The longest datagram.
MOST = 65536

# Of a connection the relay takes so many bytes at once, and its sockets' send buffers are as long: what is on the way to
# one that does not read is to be little, as between two sockets.
BUFFER = 8192

# A port where nobody listens: a connect that the server refuses is refused there.
NOBODY = 1

# So many descriptors has a test that takes all there are, more than select(2) knows: each pair is two of the relay's, too.
DESCRIPTORS = 1200

FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Line:
    """Questions to the relay and its answers, one at a time."""

    def __init__(self, end):
        self.stream, self.lock = end.makefile("rwb"), threading.Lock()
        # How many connections and targets of datagrams went to the relay.
        self.crossings = 0
        # Addresses of the relay, and who stands behind them.
        self.behind = {}

    def ask(self, *question):
        """The address of the relay that stands for a target."""
        with self.lock:
            pickle.dump(question, self.stream)
            self.stream.flush()
            there, behind = pickle.load(self.stream)
            self.behind.update(behind)
            self.crossings += 1
            return there

    def who(self, address):
        with self.lock:
            return self.behind.get(address[:2], address)


def patch(vr, hosts):
    """Test's side: the line to a relay in VR `vr`. Before a test's module is read."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-W", "ignore", __file__, *hosts]
        environment = {**os.environ, VR: vr, "LINE": str(theirs.fileno())}
        subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
    line = Line(ours)
    patch_names(line, hosts)
    patch_ways(line, hosts)
    patch_pairs(hosts)
    patch_limits()
    return line


def patch_names(line, hosts):
    """A socket says the addresses that the test has said."""
    loopbacks = {"127.0.0.1": hosts[0], "localhost": hosts[0], "::1": hosts[1]}
    names = {hosts[0]: "127.0.0.1", hosts[1]: "::1"}

    def inward(address):
        if not isinstance(address, tuple):
            return address
        host, port = line.who(address)[:2]
        return (names.get(host, host), port, *address[2:])

    def outward(address):
        if not isinstance(address, tuple) or not address:
            return address
        return (loopbacks.get(address[0], address[0]), *address[1:])

    def told(original):
        return lambda self: inward(original(self))

    def accept(self, original=socket.socket.accept):
        accepted, address = original(self)
        return accepted, inward(address)

    def recvfrom(self, *arguments, original=socket.socket.recvfrom):
        data, address = original(self, *arguments)
        return data, inward(address)

    def recvfrom_into(self, *arguments, original=socket.socket.recvfrom_into):
        count, address = original(self, *arguments)
        return count, inward(address)

    def bind(self, address, original=socket.socket.bind):
        return original(self, outward(address))

    Ways.name = socket.socket.getsockname
    socket.socket.getsockname = told(socket.socket.getsockname)
    socket.socket.getpeername = told(socket.socket.getpeername)
    socket.socket.accept = accept
    socket.socket.recvfrom, socket.socket.recvfrom_into = recvfrom, recvfrom_into
    Ways.bind = socket.socket.bind
    socket.socket.bind = bind
    Ways.outward = staticmethod(outward)


class Ways:
    """What was there before it was patched."""


def patch_ways(line, hosts):
    """What a socket connects or sends to is the relay."""
    own = {socket.AF_INET: hosts[0], socket.AF_INET6: hosts[1]}
    wildcards = {"": 0, "0.0.0.0": 0, "::": 1}
    targets = {}

    def way(self, address):
        if self.family not in FAMILIES or not isinstance(address, tuple) or len(address) < 2:
            return address
        host, port = Ways.outward(address)[:2]
        if host in wildcards:
            host = own[self.family]
        if host not in hosts[:2] or not isinstance(port, int):
            return address
        if self.type == socket.SOCK_DGRAM:
            if (host, port) not in targets:
                targets[host, port] = line.ask("datagram", self.family, (host, port))
            return targets[host, port]
        if Ways.name(self)[1] == 0:
            # So that it has a name before it has connected.
            Ways.bind(self, (own[self.family], 0))
        return line.ask("stream", self.family, (host, port), Ways.name(self)[:2])

    def connect(self, address, original=socket.socket.connect):
        return original(self, way(self, address))

    def connect_ex(self, address, original=socket.socket.connect_ex):
        return original(self, way(self, address))

    def sendto(self, data, *arguments, original=socket.socket.sendto):
        *flags, address = arguments
        return original(self, data, *flags, way(self, address))

    socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto = connect, connect_ex, sendto


def patch_pairs(hosts):
    """A pair that a test makes is a connection; one of asyncio's own stays what it is."""
    original = socket.socketpair

    def socketpair(*arguments):
        if arguments or not sys._getframe(1).f_globals["__name__"].startswith("test."):
            return original(*arguments)
        with socket.create_server((hosts[0], 0)) as listener:
            one = socket.create_connection(listener.getsockname())
            other, _ = listener.accept()
        for end in (one, other):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return one, other

    socket.socketpair = socketpair


def patch_limits():
    raise_limit()
    resource.getrlimit = lambda _: (DESCRIPTORS, DESCRIPTORS)
    resource.setrlimit = lambda _, limits: None


def raise_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Relay:
    """The process in the other VR: one loop."""

    def __init__(self, line, hosts):
        self.line, self.selector = line.makefile("rwb"), selectors.DefaultSelector()
        self.own = {socket.AF_INET: hosts[2], socket.AF_INET6: hosts[3]}
        self.selector.register(line, selectors.EVENT_READ, lambda _: self.answer())

    def run(self):
        while True:
            for key, _ in self.selector.select():
                # One before it may have closed it.
                if self.selector.get_map().get(key.fd) is key:
                    key.data(key.fileobj)

    def answer(self):
        try:
            what, family, target, *name = pickle.load(self.line)
        except EOFError:
            # Without its test there is nothing to relay.
            os._exit(0)
        there, behind = getattr(self, what)(family, target, *name)
        pickle.dump((there, behind), self.line)
        self.line.flush()

    def stream(self, family, target, name):
        """A connection to the server, and a listener for its client alone."""
        server = socket.socket(family)
        keep_little(server)
        server.settimeout(10)
        try:
            server.connect(target)
        except OSError:
            server.close()
            return (self.own[family], NOBODY), {}
        with_client = socket.socket(family)
        keep_little(with_client)
        with_client.bind((self.own[family], 0))
        with_client.listen(1)

        def come(listener):
            client, address = listener.accept()
            if address[:2] != name:
                return client.close()
            self.selector.unregister(listener)
            listener.close()
            Couple(self.selector, client, server)

        self.selector.register(with_client, selectors.EVENT_READ, come)
        here = with_client.getsockname()[:2]
        return here, {here: target, server.getsockname()[:2]: name}

    def datagram(self, family, target):
        """A socket that stands for the target, and for each that sends to it one that stands for the sender."""
        door = socket.socket(family, socket.SOCK_DGRAM)
        door.bind((self.own[family], 0))
        senders = {}

        def there(door):
            data, sender = door.recvfrom(MOST)
            if sender not in senders:
                senders[sender] = socket.socket(family, socket.SOCK_DGRAM)
                senders[sender].connect(target)
                self.selector.register(senders[sender], selectors.EVENT_READ, lambda end: back(end, sender))
            try:
                senders[sender].send(data)
            except OSError as error:
                # Of an earlier one that nobody received.
                print(error, file=sys.stderr)

        def back(end, sender):
            try:
                door.sendto(end.recv(MOST), sender)
            except OSError as error:
                print(error, file=sys.stderr)

        self.selector.register(door, selectors.EVENT_READ, there)
        return door.getsockname()[:2], {door.getsockname()[:2]: target}


def keep_little(end):
    # What it receives into stays as it is: a writer that finds little room before it begins TLS meets an assertion of
    # asyncio's own (SSLProtocol.resume_writing).
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)


class Couple:
    """Two connections that are to be as one."""

    def __init__(self, selector, one, other):
        self.selector = selector
        self.others = {one: other, other: one}
        # What was read from each for the other, and which have said that this was all.
        self.unsent = {one: b"", other: b""}
        self.ended = set()
        for end in self.others:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(end, selectors.EVENT_READ, self.move)

    def move(self, _):
        try:
            for end, other in self.others.items():
                self.carry(end, other)
        except OSError:
            # Reset on one side is reset on the other.
            for end in self.others:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return self.close()
        if len(self.ended) == 2 and not any(self.unsent.values()):
            return self.close()
        for end, other in self.others.items():
            reads = selectors.EVENT_READ if end not in self.ended and not self.unsent[end] else 0
            writes = selectors.EVENT_WRITE if self.unsent[other] else 0
            self.watch(end, reads | writes)

    def watch(self, end, events):
        is_watched = end in self.selector.get_map()
        if events and is_watched:
            self.selector.modify(end, events, self.move)
        elif events:
            self.selector.register(end, events, self.move)
        elif is_watched:
            self.selector.unregister(end)

    def carry(self, end, other):
        """What there is from one end to the other."""
        try:
            while True:
                if not self.unsent[end] and end not in self.ended:
                    self.unsent[end] = end.recv(BUFFER)
                    if not self.unsent[end]:
                        self.ended.add(end)
                        other.shutdown(socket.SHUT_WR)
                if not self.unsent[end]:
                    return
                self.unsent[end] = self.unsent[end][other.send(self.unsent[end]):]
        except BlockingIOError:
            pass

    def close(self):
        for end in self.others:
            self.watch(end, 0)
            end.close()


if __name__ == "__main__":
    raise_limit()
    Relay(socket.socket(fileno=int(os.environ["LINE"])), sys.argv[1:]).run()
