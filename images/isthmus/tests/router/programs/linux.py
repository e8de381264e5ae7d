"""What a process sees of calls on its own sockets: run on Linux and in a VR, it prints the same.

    linux.py ports | high | nested | late | options | canceled | limits
"""

import ctypes
import errno
import fcntl
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading

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
    return os.pipe()


IN, EDGE, ONCE = select.EPOLLIN, select.EPOLLET, select.EPOLLONESHOT


def pair():
    with tcp() as listener:
        listener.bind((LOCAL, 0))
        listener.listen()
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return one, other


def arrived(*readers):
    """Waits for each of them without an epoll instance."""
    for reader in readers:
        select.select([reader], [], [], 10)


def nested():
    """Epoll instances in epoll instances, and among what poll and select wait for."""
    for kind in ("level", "edge"):
        print(kind)
        flag = EDGE if kind == "edge" else 0
        outer, inner = select.epoll(), select.epoll()
        # Before it has anything of ours.
        outer.register(inner, IN | flag)
        one, other = pair()
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((LOCAL, 0))
        listener = tcp()
        listener.bind((LOCAL, 0))
        listener.listen()
        tail, head = os.pipe()
        for watched in (other, udp, listener, tail):
            inner.register(watched, IN)
        number = {inner.fileno(): "inner", other.fileno(): "tcp", udp.fileno(): "udp", listener.fileno(): "listener",
                  tail: "pipe"}

        def seen(of, timeout=0):
            return sorted((number[fd], events) for fd, events in of.poll(timeout))

        def ready():
            poll = select.poll()
            poll.register(inner, select.POLLIN | select.POLLOUT)
            return [events for _, events in poll.poll(0)], len(select.select([inner], [inner], [inner], 0)[0])

        print("nothing", seen(outer), seen(inner), ready())
        one.send(b"a")
        arrived(other)
        print("tcp", seen(outer, 5), seen(outer), ready(), seen(inner))
        one.send(b"b")
        while other.recv(9, socket.MSG_PEEK) != b"ab":
            pass
        print("more", seen(outer), seen(outer))
        print("read", other.recv(100), seen(outer), seen(inner), ready())
        udp.sendto(b"c", udp.getsockname())
        arrived(udp)
        print("udp", seen(outer, 5), seen(outer), seen(inner), udp.recv(100), seen(outer), ready())
        udp.sendto(b"d", udp.getsockname())
        arrived(udp)
        print("once more", seen(outer, 5), seen(inner), udp.recv(100), seen(outer))
        third = socket.create_connection(listener.getsockname())
        arrived(listener)
        print("listener", seen(outer, 5), seen(outer), seen(inner))
        listener.accept()[0].close()
        print("accepted", seen(outer), ready())
        os.write(head, b"e")
        print("pipe", seen(outer, 5), seen(outer), ready(), seen(inner))
        os.write(head, b"e")
        print("pipe again", seen(outer), seen(outer))
        os.read(tail, 10)
        print("emptied", seen(outer), seen(outer))
        # One that sleeps is woken, whatever it sleeps for.
        for wake in (lambda: one.send(b"f"), lambda: udp.sendto(b"g", udp.getsockname()), lambda: os.write(head, b"h")):
            for sleep in (lambda: seen(outer, 10), lambda: select.select([inner], [], [], 10)[0] == [inner]):
                waker = threading.Timer(0.05, wake)
                waker.start()
                print("woken", sleep())
                waker.join()
                seen(outer)
                for reader, read in ((other, lambda: other.recv(9)), (udp, lambda: udp.recv(9)),
                                     (tail, lambda: os.read(tail, 9))):
                    if select.select([reader], [], [], 0)[0]:
                        read()
                seen(outer)
        outer.modify(inner, IN | ONCE)
        one.send(b"i")
        arrived(other)
        print("once", seen(outer, 5), seen(outer), said(outer.modify, inner, IN), seen(outer, 5))
        print("gone", said(outer.unregister, inner), seen(outer), said(outer.unregister, inner),
              said(outer.modify, inner, IN))
        outer.register(inner, IN)
        inner.close()
        print("closed", seen(outer))
        third.close()

    first, second, third = select.epoll(), select.epoll(), select.epoll()
    held, _ = pair()
    first.register(held, IN)
    print(said(first.register, first), said(first.register, second), said(first.register, second))
    print(said(second.register, first), said(second.register, third), said(third.register, first))
    print(said(second.modify, first, IN), said(third.register, held, select.EPOLLIN | 1 << 28))
    print(said(third.register, select.epoll(), IN | 1 << 28), said(third.register, 999))
    # Three deep; another number of one; and a child's.
    one, other = pair()
    third.register(other, IN)
    copy = os.dup(second.fileno())
    print(said(first.register, copy, IN), one.send(b"x"), arrived(other))
    print(len(first.poll(5)), said(first.unregister, copy), len(first.poll(5)))
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        print("child", [events for _, events in first.poll(5)], other.recv(1), first.poll(0))
        one.send(b"y")
        print("child", [events for _, events in first.poll(5)])
        sys.stdout.flush()
        os._exit(0)
    print(os.waitpid(child, 0)[1])


def options():
    """What options take, and what they tell."""
    tcp_level, sol, ip, ip6 = socket.IPPROTO_TCP, socket.SOL_SOCKET, socket.IPPROTO_IP, socket.IPPROTO_IPV6
    probes = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT]

    def told(made):
        return [made.getsockopt(tcp_level, probe) for probe in probes], made.getsockopt(sol, socket.SO_KEEPALIVE)

    # Before probing is on, while, and after: they are what they were set to.
    with tcp() as made:
        print("usual", told(made))
        print([said(made.setsockopt, tcp_level, probe, value) for probe, value in zip(probes, (77, 11, 5))], told(made))
        print(said(made.setsockopt, sol, socket.SO_KEEPALIVE, 1), told(made))
        print([said(made.setsockopt, tcp_level, probe, value) for probe, value in zip(probes, (78, 12, 6))], told(made))
        print(said(made.setsockopt, sol, socket.SO_KEEPALIVE, 0), told(made))
        made.bind((LOCAL, 0))
        made.listen()
        made.setsockopt(sol, socket.SO_KEEPALIVE, 1)
        made.setsockopt(sol, socket.SO_LINGER, struct.pack("ii", 1, 3))
        with tcp() as one:
            one.connect(made.getsockname())
            other, _ = made.accept()
            with other:
                print("accepted", told(other), struct.unpack("ii", other.getsockopt(sol, socket.SO_LINGER, 8)))
                print(said(other.setsockopt, tcp_level, probes[0], 99), told(other), told(made))
    for value in (-1, 0, 1, 127, 128, 32767, 32768):
        with tcp() as made:
            print("bounds", value, [said(made.setsockopt, tcp_level, probe, value) for probe in probes], told(made)[0])
            print("      ", [(said(made.setsockopt, level, name, value), said(made.getsockopt, level, name))
                             for level, name in ((tcp_level, socket.TCP_USER_TIMEOUT), (ip, 21), (ip, socket.IP_TTL))])
    with tcp(socket.AF_INET6) as made:
        print("hops", [(said(made.setsockopt, ip6, 73, value), made.getsockopt(ip6, 73)) for value in (255, 0, 256, -1)])
    with tcp() as made:
        print("short", [said(made.setsockopt, level, name, b"") for level, name in
                        ((sol, socket.SO_KEEPALIVE), (sol, socket.SO_LINGER), (tcp_level, probes[0]), (ip, 21))],
              said(made.setsockopt, sol, socket.SO_LINGER, b"abcd"), said(made.setsockopt, tcp_level, probes[0], b"abc"))
        for on, time in ((1, 0), (1, 5), (0, 9), (7, 2)):
            print("linger", said(made.setsockopt, sol, socket.SO_LINGER, struct.pack("ii", on, time)),
                  struct.unpack("ii", made.getsockopt(sol, socket.SO_LINGER, 8)))
        device = socket.SO_BINDTODEVICE
        print("device", said(made.setsockopt, sol, device, b"nowhere0"), made.getsockopt(sol, device, 16),
              said(made.setsockopt, sol, device, b""), said(made.setsockopt, sol, device, b"x" * 40))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        print("UDP", [said(made.setsockopt, tcp_level, probe, 7) for probe in probes],
              said(made.setsockopt, sol, socket.SO_KEEPALIVE, 1), made.getsockopt(sol, socket.SO_KEEPALIVE))


def late():
    """A thread sleeps at an epoll instance that gets its first socket then."""
    loop, found = select.epoll(), []
    tail, head = os.pipe()
    loop.register(tail, IN)
    sleeper = threading.Thread(target=lambda: found.extend(loop.poll(10)))
    sleeper.start()
    select.select([], [], [], 0.1)
    one, other = pair()
    loop.register(other, IN)
    one.send(b"x")
    sleeper.join()
    print([(fd == other.fileno(), events) for fd, events in found])
    os.write(head, b"x")
    # Not all of them need to be told at once.
    print(sorted({event for _ in range(16) for event in loop.poll(10)}) == sorted([(other.fileno(), IN), (tail, IN)]))
    other.recv(1)
    print([fd == tail for fd, _ in loop.poll(0)])
    os.read(tail, 1)
    print(loop.poll(0))


def asleep_in(task, *calls):
    """Whether a thread sleeps in one of these system calls."""
    try:
        with open(f"/proc/self/task/{task}/syscall") as file:
            return file.read().split()[0] in map(str, calls)
    except FileNotFoundError:
        return False


def canceled():
    """A thread is canceled in standard I/O over a socket, also while another process has its turn with the connection."""
    signal.alarm(60)
    libc = ctypes.CDLL(None)
    libc.fdopen.restype = ctypes.c_void_p
    one, other = pair()
    stream = ctypes.c_void_p(libc.fdopen(other.fileno(), b"r"))

    def canceled_in(calls, then):
        # It begins in a function of libc, without a frame of Python.
        thread, before, result = ctypes.c_void_p(), set(os.listdir("/proc/self/task")), ctypes.c_void_p()
        libc.pthread_create(ctypes.byref(thread), None, libc.fgetc, stream)
        [task] = set(os.listdir("/proc/self/task")) - before
        while not asleep_in(task, *calls):
            pass
        libc.pthread_cancel(thread)
        then()
        libc.pthread_join(thread, ctypes.byref(result))
        one.send(b"xy")
        # PTHREAD_CANCELED, and the next one gets the lock of the stream and that of the connection.
        print("canceled", result.value == 2**64 - 1, chr(libc.fgetc(stream)), chr(libc.fgetc(stream)))

    read, recvfrom, poll, ppoll, fcntl_ = 0, 45, 7, 271, 72
    canceled_in((read, recvfrom, poll, ppoll), lambda: None)
    ends = os.pipe()
    told = os.pipe()
    child = os.fork()
    if child == 0:
        parent = os.getppid()
        files = [f"/proc/{parent}/fd/{fd}" for fd in os.listdir(f"/proc/{parent}/fd")]
        turns = [file for file in files if "isthmus-turns" in os.readlink(file)]
        for turn in turns[:1]:
            file = open(turn, "r+b")
            inode = f":{os.fstat(file.fileno()).st_ino}"
            with open("/proc/locks") as table:
                held = [line.split() for line in table if inode in line and f" {parent} " in line]
            # Who uses an end is there 64 bytes behind its turn.
            for line in held:
                fcntl.lockf(file, fcntl.LOCK_EX, 1, int(line[6]) - 64)
        os.write(told[1], b"x")
        os.read(ends[0], 1)
        os._exit(len(turns) > 1)
    os.read(told[0], 1)
    canceled_in((read, recvfrom, poll, ppoll, fcntl_), lambda: os.write(ends[1], b"x"))
    print("child", os.waitpid(child, 0)[1])


def limits():
    """What is left of a limit of descriptors, and what is said where nothing is."""
    which, hard = resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def told(what):
        with open("/proc/self/limits") as file:
            row = next(line for line in file if line.startswith("Max open files")).split()[3:5]
        soft, known = resource.getrlimit(which)
        both = resource.prlimit(0, which)
        print(what, soft, row[0], both[0] == soft, {known, both[1], int(row[1])} == {hard})

    def child(what):
        print(what, flush=True)
        subprocess.run(["sh", "-c", "ulimit -n"], check=True, close_fds=False)

    def all_of(open_one, close):
        """How many there are to have, and what the next one says."""
        held = []
        while True:
            try:
                held.append(open_one())
            except OSError as error:
                said_last = errno.errorcode[error.errno]
                break
        for one in held:
            close(one)
        return len(held), said_last

    told("before")
    resource.setrlimit(which, (64, hard))
    told("set")
    with tcp() as listener:
        listener.bind((LOCAL, 0))
        listener.listen(64)
        told("a socket")
        child("a child")
        print("files", all_of(lambda: os.open("/dev/null", os.O_RDONLY), os.close))
        print("pipes", all_of(os.pipe, lambda ends: [os.close(end) for end in ends]))
        print("sockets", all_of(tcp, socket.socket.close))
        print("UDP", all_of(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket.close))
        print("copies", all_of(lambda: os.dup(listener.fileno()), os.close))
        print("epoll", all_of(select.epoll, select.epoll.close))
        print("numbers", [said(os.dup2, listener.fileno(), number) for number in (63, 64, 65, 2000)],
              [said(fcntl.fcntl, listener.fileno(), fcntl.F_DUPFD, number) for number in (64, 2000)])
        os.close(63)
        # Connections until there is no number for the next one: what has come waits until there is one.
        held = []
        while True:
            try:
                held.append(socket.create_connection(listener.getsockname()))
                held.append(listener.accept()[0])
            except OSError as error:
                print("connections", len(held), errno.errorcode[error.errno])
                break
        print("none left", resource.getrlimit(which)[0])
        print(said(listener.accept) if len(held) % 2 else said(tcp), said(os.pipe))
        held[0].send(b"x")
        print(held[1].recv(1), [events for _, events in polled(held)] == [select.POLLOUT] * len(held))
        resource.setrlimit(which, (80, hard))
        told("more")
        print("sockets", all_of(tcp, socket.socket.close))
        for one in held:
            one.close()
        resource.setrlimit(which, (32, hard))
        told("less")
        print("sockets", all_of(tcp, socket.socket.close))
        print("child", flush=True)
        forked = os.fork()
        if forked == 0:
            told("child")
            print("sockets", all_of(tcp, socket.socket.close), flush=True)
            os._exit(0)
        os.waitpid(forked, 0)
        resource.setrlimit(which, (32, 4096))
        hard = 4096
        told("less for ever")
        one, other = pair()
        print(one.send(b"y"), other.recv(1))
        told("over")
        child("a child")


def polled(all_of_them):
    poll = select.poll()
    for one in all_of_them:
        poll.register(one, select.POLLIN | select.POLLOUT)
    return poll.poll(10)


if sys.argv[1] == "try":
    try_ports(int(sys.argv[2]))
else:
    {"ports": ports, "high": high, "nested": nested, "late": late, "options": options,
     "canceled": canceled, "limits": limits}[sys.argv[1]]()
