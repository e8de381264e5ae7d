"""What a program sees of its sockets, one line each: the same over the kernel's loopback and over a channel.

sockets.py serve PORT             prints "ready", then what it sees
sockets.py ask ADDRESS PORT       prints what it sees
"""

import errno
import os
import select
import socket
import struct
import sys
import threading

say = print


def named(call):
    """The result of a call, or the name of its error."""
    try:
        return call()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def exactly(connection, count):
    return connection.recv(count, socket.MSG_WAITALL)


def serve(port):
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("::", port))
    listener.listen()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("0.0.0.0", port))
    say("ready", flush=True)

    # One connection after the other, each for one scene.
    def accept():
        connection, peer = listener.accept()
        say("mapped", peer[0].startswith("::ffff:"), peer == connection.getpeername())
        return connection

    echo = accept()
    say("echo", echo.recv(100), echo.send(b"back"), echo.recv(100))
    echo.close()

    bulk = accept()
    total = 0
    while piece := bulk.recv(65536):
        total += len(piece)
    say("bulk", total)
    bulk.sendall(struct.pack("!I", total))
    bulk.close()

    reset = accept()
    say("reset", exactly(reset, 4), named(lambda: reset.recv(1)), named(lambda: reset.recv(1)))
    reset.close()

    # An event loop, edge-triggered, that answers a large page.
    page = accept()
    page.setblocking(False)
    loop = select.epoll()
    loop.register(page, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
    left, asked, turns = b"p" * 3_000_000, False, 0
    while left:
        for _, events in loop.poll():
            turns += 1
            asked |= bool(events & select.EPOLLIN) and page.recv(100) == b"page"
            while asked and left:
                try:
                    left = left[page.send(left):]
                except BlockingIOError:
                    break
    page.close()

    # A child serves a connection while its parent goes on.
    forked = accept()
    if os.fork() == 0:
        forked.sendall(b"child of " + exactly(forked, 5))
        forked.close()
        os._exit(0)
    forked.close()
    say("child", os.wait()[1])

    while True:
        datagram, peer = datagrams.recvfrom(20)
        say("datagram", datagram)
        datagrams.sendto(datagram.upper(), peer)
        if datagram == b"last":
            break


def ask(address, port):
    to = (address, port)
    say("refused", named(lambda: socket.create_connection((address, port + 1))))

    echo = socket.socket()
    echo.setblocking(False)
    say("begun", named(lambda: echo.connect(to)))
    say("writable", len(select.select([], [echo], [], 5)[1]), echo.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    say("again", named(lambda: echo.connect(to)), echo.getpeername() == to, named(lambda: echo.recv(1)))
    echo.send(b"hello")
    poller = select.poll()
    poller.register(echo, select.POLLIN)
    say("poll", [events for _, events in poller.poll(5000)])
    copy = echo.dup()
    say("peek", copy.recv(2, socket.MSG_PEEK), copy.recv(2), echo.recv(100), named(lambda: echo.recv(1)))
    echo.close()
    copy.settimeout(0.1)
    say("timeout", named(lambda: copy.recv(1)))
    copy.shutdown(socket.SHUT_WR)
    copy.settimeout(5)
    say("end", copy.recv(1), named(lambda: copy.send(b"x")))
    copy.close()

    bulk = socket.create_connection(to)
    sender = threading.Thread(target=lambda: (bulk.sendall(b"b" * 5_000_000), bulk.shutdown(socket.SHUT_WR)))
    sender.start()
    say("bulk", struct.unpack("!I", exactly(bulk, 4)), bulk.recv(1))
    sender.join()
    bulk.close()

    reset = socket.create_connection(to)
    reset.sendall(b"gone")
    # So that all has arrived before the reset.
    select.select([], [], [], 0.1)
    reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reset.close()

    page = socket.create_connection(to)
    page.sendall(b"page")
    say("page", len(exactly(page, 3_000_000)), page.recv(1))
    page.close()

    forked = socket.create_connection(to)
    forked.sendall(b"mine!")
    say("forked", exactly(forked, 14), forked.recv(1))
    forked.close()

    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.settimeout(5)
    datagrams.sendto(b"hello", to)
    say("datagram", datagrams.recvfrom(3) == (b"HEL", to))
    datagrams.connect(to)
    datagrams.send(b"x" * 30)
    say("cut", len(datagrams.recv(100)), datagrams.getpeername() == to)
    datagrams.setblocking(False)
    say("nothing", named(lambda: datagrams.recv(1)))
    datagrams.setblocking(True)
    datagrams.send(b"last")
    say("last", datagrams.recv(100))


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    ask(sys.argv[2], int(sys.argv[3]))
