"""Programs that are executed with a connection: a line of each step, the same on any system.

    exec.py serve PORT
    exec.py ask ADDRESS PORT
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys
import time

from children import ended, forked, say

libc = ctypes.CDLL(None, use_errno=True)
libc.popen.restype = ctypes.c_void_p

# What a program finds out about the connection that it was executed with.
LOOKS = """
import fcntl, os, socket, struct, sys
with socket.socket(fileno=os.dup(0)) as mine:
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    print(mine.family.name, mine.type.name, mine.getsockname()[1] == int(sys.argv[1]), mine.getpeername()[1] > 1023)
    print("nodelay", mine.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
    print("keepalive", mine.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
    print("timeout", struct.unpack("ll", mine.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)))
    print("nonblocking", flags & os.O_NONBLOCK != 0, sys.stdin.isatty())
"""

# Reads all, and says how much.
COUNTS = "import sys; data = sys.stdin.buffer.read(); print(len(data), sum(data))"

# Goes on with a listener, whose number is its argument, for so many connections.
ACCEPTS = """
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as listener:
    for _ in range(int(sys.argv[2])):
        connection, _ = listener.accept()
        connection.sendall(b"accepted: " + connection.recv(99))
        connection.close()
"""


def standard(connection):
    """As inetd: standard input and output."""
    os.dup2(connection.fileno(), 0)
    os.dup2(connection.fileno(), 1)
    connection.close()


def executes(listener, name, *line, parent_closes=True, **more):
    """A child executes a program with the next connection."""
    connection, _ = listener.accept()

    def child():
        standard(connection)
        listener.close()
        os.execvpe(line[0], line, more.get("environment", os.environ))
    pid = forked(child)
    if parent_closes:
        connection.close()
    ended(name, pid)
    return connection


def fails(name, what):
    try:
        what()
    except OSError as error:
        say(name, errno.errorcode[error.errno])


def serve(port):
    listener = socket.create_server(("", port))
    say("ready")
    executes(listener, "cat", "cat")
    executes(listener, "by standard I/O", "tr", "a-z", "A-Z")
    executes(listener, "without an environment", "/bin/cat", environment={})
    executes(listener, "a shell and its children", "sh", "-c", "read line; echo $line; (cat); echo end")
    executes(listener, "much", sys.executable, "-c", COUNTS)

    # The parent has the connection, too, and goes on when the program has ended.
    connection = executes(listener, "shared", "head", "-n1", parent_closes=False)
    connection.sendall(b"from the parent\n")
    connection.close()

    # Nobody else has it: the process that accepted it executes.
    def alone():
        connection, _ = listener.accept()
        standard(connection)
        os.execv("/bin/cat", ["cat"])
    ended("alone", forked(alone))

    # What is set before, and what was read before.
    connection, _ = listener.accept()
    say("before", connection.recv(4))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 7, 0))

    def looks():
        standard(connection)
        os.execv(sys.executable, ["python3", "-c", f"{LOOKS}\nprint(sys.stdin.read())", str(port)])
    pid = forked(looks)
    connection.close()
    ended("as it was", pid)

    # Close-on-exec, and a program that is not there.
    connection, _ = listener.accept()
    number = connection.fileno()
    line = f"import os, sys\ntry: os.fstat({number})\nexcept OSError as error: sys.exit(error.errno)"
    ended("close-on-exec", forked(lambda: os.execv(sys.executable, ["python3", "-c", line])))
    fails("not there", lambda: os.execv("/nonexistent", ["nonexistent"]))
    os.set_inheritable(number, True)
    fails("a folder", lambda: os.execv("/", ["/"]))
    connection.sendall(connection.recv(99))
    connection.close()

    # Children that share their parent's memory.
    connection, _ = listener.accept()
    with subprocess.Popen(["cat"], stdin=connection, stdout=connection) as child:
        connection.close()
    say("subprocess", child.wait())
    connection, _ = listener.accept()
    both = [(os.POSIX_SPAWN_DUP2, connection.fileno(), fd) for fd in (0, 1)]
    pid = os.posix_spawn("/bin/cat", ["cat"], os.environ, file_actions=both)
    connection.close()
    ended("posix_spawn", pid)
    connection, _ = listener.accept()
    fails("spawned, and not there", lambda: os.posix_spawn("/nonexistent", ["x"], os.environ, file_actions=both))
    connection.sendall(connection.recv(99))
    connection.close()

    # What C has beside.
    connection, _ = listener.accept()
    os.set_inheritable(connection.fileno(), True)
    say("system", libc.system(b"head -n1 <&%d >&%d" % (connection.fileno(), connection.fileno())))
    stream = libc.popen(b"cat <&%d >&%d" % (connection.fileno(), connection.fileno()), b"r")
    connection.close()
    say("popen", libc.pclose(ctypes.c_void_p(stream)))
    connection, _ = listener.accept()

    def lists():
        standard(connection)
        words = [b"%d" % n for n in range(10)]
        libc.execl(b"/bin/sh", b"sh", b"-c", b'cat; echo "$0 $@"', *words, None)
    pid = forked(lists)
    connection.close()
    ended("execl", pid)

    # Who listens: both, then the program that is executed alone.
    line = ["python3", "-c", ACCEPTS, str(listener.fileno()), "1"]
    os.set_inheritable(listener.fileno(), True)
    ended("a listener", forked(lambda: os.execv(sys.executable, line)))
    pid = os.posix_spawn(sys.executable, line, os.environ)
    listener.close()
    ended("a listener, spawned", pid)

    # Nobody else has it: the second that comes, at the latest, comes to the program that was executed.
    def listens():
        mine = socket.create_server(("", port))
        os.set_inheritable(mine.fileno(), True)
        os.execv(sys.executable, ["python3", "-c", ACCEPTS, str(mine.fileno()), "2"])
    ended("a listener, alone", forked(listens))


def ask(address, port):
    def exchange(*parts, half=True):
        with socket.create_connection((address, port)) as mine:
            mine.settimeout(20)
            for part in parts:
                mine.sendall(part)
            if half:
                mine.shutdown(socket.SHUT_WR)
            answer = b""
            while data := mine.recv(65536):
                answer += data
            say(answer)

    def exchange_at_last(part):
        """With who listens alone from now on, and has yet to say so."""
        while True:
            try:
                return exchange(part)
            except OSError as error:
                # Refused, or reset before it was asked.
                if error.errno not in (errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE):
                    raise
                time.sleep(0.01)
    exchange(b"to cat\n")
    exchange(b"to tr\n")
    exchange(b"without\n")
    exchange(b"first\nsecond\n")
    exchange(b"many " * 1_000_000)
    exchange(b"shared\n", half=False)
    exchange(b"alone\n")
    exchange(b"readleft")
    exchange(b"still there\n")
    exchange(b"vfork\n")
    exchange(b"spawn\n")
    exchange(b"still there, too\n")
    exchange(b"system\n")
    exchange(b"execl\n")
    exchange(b"both\n")
    for part in (b"one\n", b"first\n", b"second\n"):
        exchange_at_last(part)


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    ask(sys.argv[2], int(sys.argv[3]))
