"""What a process sees of calls on its own sockets: run on Linux and in a VR, it prints the same.

    linux.py ports | high
"""

import ctypes
import errno
import fcntl
import resource
import select
import socket
import subprocess
import sys

LOCAL = "127.0.0.1"


def said(call, *arguments):
    try:
        result = call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok" if result is None else result


def tcp(family=socket.AF_INET, reuse=False):
    made = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
    return made


def try_ports(port):
    """In another process: what there is to have of a port."""
    for what, family, reuse, address in [
        ("plain", socket.AF_INET, False, LOCAL),
        ("reuse", socket.AF_INET, True, LOCAL),
        ("all", socket.AF_INET, False, ""),
        ("IPv6", socket.AF_INET6, False, "::1"),
        ("foreign", socket.AF_INET, False, "192.0.2.99"),
    ]:
        with tcp(family, reuse) as mine:
            bound = said(mine.bind, (address, port))
            listened = said(mine.listen) if bound == "ok" else ""
            print("  ", what, bound, listened)
    with tcp(reuse=True) as udp_too, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        print("   UDP", said(mine.bind, (LOCAL, port)))


def ports():
    """A port that one process has, and what another one gets of it."""
    def tried(what):
        print(what)
        sys.stdout.flush()
        subprocess.run([sys.executable, __file__, "try", str(port)], check=True)

    with tcp() as chooser:
        chooser.bind((LOCAL, 0))
        port = chooser.getsockname()[1]
        tried("bound")
    tried("closed")
    with tcp(reuse=True) as mine:
        mine.bind((LOCAL, port))
        tried("bound, reuse")
        mine.listen()
        tried("listening, reuse")
    tried("over")
    with tcp() as listener, tcp() as mine:
        listener.bind((LOCAL, 0))
        listener.listen()
        mine.bind((LOCAL, port))
        mine.connect(listener.getsockname())
        tried("connected from there")
        accepted, _ = listener.accept()
        accepted.close()
        mine.recv(1)


def high():
    """Descriptors above FD_SETSIZE, with sets of the program's own."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    libc = ctypes.CDLL(None, use_errno=True)
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind((LOCAL, 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    number = fcntl.fcntl(receiver, fcntl.F_DUPFD, 2500)
    pipe = [fcntl.fcntl(end, fcntl.F_DUPFD, 3000) for end in pipes()]

    class Time(ctypes.Structure):
        _fields_ = [("seconds", ctypes.c_long), ("microseconds", ctypes.c_long)]

    def selected(readers, writers, count=4096):
        sets = [(ctypes.c_uint64 * 64)(), (ctypes.c_uint64 * 64)()]
        for bits, numbers in zip(sets, [readers, writers]):
            for one in numbers:
                bits[one // 64] |= 1 << one % 64
        found = libc.select(count, sets[0], sets[1], None, ctypes.byref(Time(0, 0)))
        left = [[n for n in range(4096) if bits[n // 64] & 1 << n % 64] for bits in sets]
        return found if found >= 0 else errno.errorcode[ctypes.get_errno()], *left

    def polled():
        poll = select.poll()
        poll.register(number, select.POLLIN)
        poll.register(pipe[0], select.POLLIN)
        return poll.poll(0)

    print(number, pipe)
    print(selected([number, pipe[0]], []), polled())
    print(selected([number], [number, pipe[1]]))
    sender.sendto(b"x", receiver.getsockname())
    select.select([receiver], [], [], 10)
    print(selected([number, pipe[0]], [pipe[1]]), polled())
    # Numbers from the count on are not looked at.
    print(selected([number, pipe[0]], [], number), selected([number, pipe[0]], [], number + 1))
    print(selected([number], [4000]), selected([number], [], -1))
    try:
        select.select([number], [], [], 0)
    except ValueError as error:
        print(error)


def pipes():
    import os
    return os.pipe()


if sys.argv[1] == "try":
    try_ports(int(sys.argv[2]))
else:
    {"ports": ports, "high": high}[sys.argv[1]]()
