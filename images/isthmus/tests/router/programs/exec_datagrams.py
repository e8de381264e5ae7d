"""Programs that are executed with a UDP socket, as inetd's do that `wait`: a line of each step, the same on any system.

    exec_datagrams.py serve PORT
    exec_datagrams.py ask ADDRESS PORT
"""

import errno
import os
import select
import socket
import struct
import sys

from children import ended, forked, say

# Answers datagrams at the descriptor that it is told, and the last one with what it finds out about it.
ANSWERS = """
import errno, os, socket, struct, sys
mine = socket.socket(fileno=os.dup(int(sys.argv[1])))
try:
    peer = mine.getpeername()[1] > 1023
except OSError as error:
    peer = errno.errorcode[error.errno]
told = (mine.family.name, mine.type.name, mine.getsockname()[1] == int(sys.argv[2]), peer,
        struct.unpack("ll", mine.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)))
data = b""
while data != b"end":
    data, sender = mine.recvfrom(2000)
    answer = data.upper() + (str(told).encode() if data == b"end" else b"")
    mine.send(answer) if peer is True else mine.sendto(answer, sender)
"""

# Sends from a descriptor that was bound to nothing before.
SENDS = """
import os, socket, sys
mine = socket.socket(fileno=os.dup(0))
mine.settimeout(20)
mine.sendto(b"unbound", ("127.0.0.1", int(sys.argv[1])))
print(mine.recv(99), flush=True)
"""


def bound(port):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("", port))
    return made


def answers(fd, port):
    return [sys.executable, "-c", ANSWERS, str(fd), str(port)]


def serve(port):
    mine = bound(port)
    say("ready")

    # As inetd: the program that is executed reads what came before, and the parent goes on when it has ended.
    def wait():
        os.dup2(mine.fileno(), 0)
        os.execv(sys.executable, answers(0, port))
    select.select([mine], [], [])
    _, client = mine.recvfrom(99, socket.MSG_PEEK)

    def done():
        """The client waits for a word before it goes on with the parent."""
        mine.sendto(b"go on", client)
    ended("wait", forked(wait))
    done()
    data, sender = mine.recvfrom(99)
    say("the parent", data)
    mine.sendto(data, sender)

    # A descriptor that a child has under another number.
    both = [(os.POSIX_SPAWN_DUP2, mine.fileno(), 7)]
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 17, 0))
    line = answers(7, port)
    ended("posix_spawn", os.posix_spawn(line[0], line, os.environ, file_actions=both))
    done()

    # Close-on-exec, and a program that is not there.
    number = mine.fileno()
    line = f"import os, sys\ntry: os.fstat({number})\nexcept OSError as error: sys.exit(error.errno)"
    ended("close-on-exec", forked(lambda: os.execv(sys.executable, ["python3", "-c", line])))
    os.set_inheritable(number, True)
    try:
        os.execv("/", ["/"])
    except OSError as error:
        say("a folder", errno.errorcode[error.errno])
    data, sender = mine.recvfrom(99)
    say("still there", data)
    mine.sendto(data, sender)
    mine.close()

    # Nobody else has it.
    def alone():
        own = bound(port)
        os.dup2(own.fileno(), 0)
        own.close()
        os.execv(sys.executable, answers(0, port))
    ended("alone", forked(alone))

    # With a peer, whose datagram has come already.
    def with_peer():
        own = bound(port)
        _, sender = own.recvfrom(99, socket.MSG_PEEK)
        own.connect(sender)
        os.dup2(own.fileno(), 0)
        own.close()
        os.execv(sys.executable, answers(0, port))
    ended("a peer", forked(with_peer))

    # Bound to nothing yet.
    local = bound(port)

    def unbound():
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        os.dup2(own.fileno(), 0)
        own.close()
        os.execv(sys.executable, [sys.executable, "-c", SENDS, str(port)])
    child = forked(unbound)
    data, sender = local.recvfrom(99)
    local.sendto(data, sender)
    ended("unbound", child)


def ask(address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        def exchange(data):
            """Says it once more where it was lost, as what comes while one of several processes ends may be."""
            mine.settimeout(5)
            for _ in range(4):
                mine.sendto(data, (address, port))
                try:
                    return say(mine.recv(2000))
                except TimeoutError:
                    pass

        def exchange_at_last():
            """With who has the port from now on, and may not have it yet."""
            mine.settimeout(0.3)
            answer = b""
            while answer != b"HELLO":
                try:
                    mine.sendto(b"hello", (address, port))
                    answer = mine.recv(2000)
                except (TimeoutError, ConnectionRefusedError):
                    pass
            mine.settimeout(20)
            mine.sendto(b"end", (address, port))
            while answer == b"HELLO":
                answer = mine.recv(2000)
            say(answer)

        for some in ((b"one", b"two", b"end"), (b"parent", b"four", b"end")):
            for data in some:
                exchange(data)
            say(mine.recv(99))
        exchange(b"still")
        exchange_at_last()
        exchange_at_last()


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    ask(sys.argv[2], int(sys.argv[3]))
