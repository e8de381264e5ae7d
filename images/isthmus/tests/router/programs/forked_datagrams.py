"""A parent and its forked child on one UDP socket: a line of each step, the same on any system.

    forked_datagrams.py serve PORT
    forked_datagrams.py ask ADDRESS PORT
"""

import os
import select
import socket
import sys


def say(*what):
    print(*what, flush=True)


def receive(who, mine):
    data, sender = mine.recvfrom(99)
    say(who, data)
    mine.sendto(data.upper(), sender)
    return sender


def forked(what, mine):
    child = os.fork()
    if child == 0:
        try:
            what()
            # Its last words have left when this returns.
            mine.close()
        except BaseException as error:
            say("child", repr(error))
            os._exit(1)
        os._exit(0)
    return child


def ended(child):
    say("child ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def serve(port):
    mine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mine.settimeout(20)
    mine.bind(("", port))
    say("ready")
    first = receive("parent", mine)

    def known_and_new():
        # From who has sent before, and from one who has not.
        receive("child", mine)
        receive("child", mine)
        select.select([mine], [], [], 20)
        say("child peeks", mine.recv(99, socket.MSG_PEEK))
        receive("child", mine)
    ended(forked(known_and_new, mine))
    mine.sendto(b"go on", first)
    receive("parent", mine)

    # The parent closes its own, and the child has the port alone.
    ends = os.pipe()

    def alone():
        os.read(ends[0], 1)
        receive("child alone", mine)
        receive("child alone", mine)
    child = forked(alone, mine)
    mine.close()
    os.write(ends[1], b"x")
    ended(child)
    # A child gives a socket of both its peer, while the parent waits for a datagram of it.
    both = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    both.settimeout(20)
    both.bind(("", 0))

    def connects():
        # More than once, so that the parent waits in its call by then.
        for _ in range(20):
            both.connect(first)
        say("child's peer", both.getpeername() == first)
        both.send(b"from the child")
    child = forked(connects, both)
    say("parent", both.recv(99))
    ended(child)
    both.close()
    # Nobody has it.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("", port))
        say("bound again")


def ask(address, port):
    one, other, third = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]

    def say_to(who, data):
        who.settimeout(2)
        for _ in range(10):
            # What went to a process that is about to end may be lost, as datagrams may be.
            who.sendto(data, (address, port))
            try:
                return say(who.recvfrom(99)[0])
            except TimeoutError:
                pass
    say_to(one, b"first")
    say_to(one, b"second")
    say_to(other, b"third")
    say_to(one, b"fourth")
    say(one.recvfrom(99)[0])
    say_to(other, b"fourth again")
    # While the child makes the port known as its own nothing is lost.
    say_to(one, b"fifth")
    say_to(third, b"sixth")
    data, sender = one.recvfrom(99)
    say(data)
    one.sendto(b"to both", sender)


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    ask(sys.argv[2], int(sys.argv[3]))
