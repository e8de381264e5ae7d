"""A parent and its forked child on one raw socket: a line of each step, the same on any system.

    forked_raw.py serve OWN-ADDRESS
    forked_raw.py ask OWN-ADDRESS ADDRESS
"""

import os
import socket
import sys

# OSPF, which no kernel answers.
PROTOCOL = 89


def say(*what):
    print(*what, flush=True)


def raw(address):
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOL)
    made.bind((address, 0))
    made.settimeout(20)
    return made


def hear(mine, wanted):
    """The packet with such data behind its header, which has no options."""
    while True:
        packet, sender = mine.recvfrom(99)
        if packet[20:] == wanted:
            return packet, sender


def counted(mine):
    """All that is numbered, until nothing more comes: each packet once."""
    found = []
    while True:
        # The first may take as long as anything, the last are there by then.
        mine.settimeout(1 if b"n9" in found else 20)
        try:
            packet = mine.recv(99)[20:]
        except TimeoutError:
            mine.settimeout(20)
            return found
        if packet.startswith(b"n"):
            found.append(packet)


def receive(who, mine, wanted):
    packet, sender = hear(mine, wanted)
    say(who, packet[20:], packet[9], packet[0])
    mine.sendto(packet[20:].upper(), sender)
    return sender


def forked(what):
    child = os.fork()
    if child == 0:
        try:
            what()
        except BaseException as error:
            say("child", repr(error))
            os._exit(1)
        os._exit(0)
    return child


def ended(child):
    say("child ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def serve(own):
    mine = raw(own)
    say("ready")
    first = receive("parent", mine, b"first")

    def known_and_new():
        receive("child", mine, b"second")
        receive("child", mine, b"third")
        mine.sendto(b"from the child", first)
        say("child", *counted(mine))
        mine.sendto(b"counted", first)
        # With a socket of its own, too, which hears a copy of the next.
        with raw(own) as second:
            mine.sendto(b"both?", first)
            say("child", hear(second, b"to both")[0][20:], hear(mine, b"to both")[0][20:])
            second.sendto(b"both", first)
        mine.close()
    ended(forked(known_and_new))
    # What is sent, or comes, as the child ends may be lost.
    mine.settimeout(2)
    for _ in range(10):
        mine.sendto(b"go on", first)
        try:
            receive("parent", mine, b"fourth")
            break
        except TimeoutError:
            pass
    mine.settimeout(20)

    # The parent closes its own, and the child goes on.
    ends = os.pipe()

    def alone():
        os.read(ends[0], 1)
        receive("child alone", mine, b"fifth")
        mine.close()
    child = forked(alone)
    mine.close()
    os.write(ends[1], b"x")
    ended(child)


def ask(own, address):
    mine = raw(own)

    def say_to(data, answer=None):
        mine.settimeout(2)
        for _ in range(10):
            # What went to a process that is about to end may be lost, as packets may be.
            mine.sendto(data, (address, 0))
            try:
                while mine.recv(99)[20:] != (answer or data.upper()):
                    pass
                return say(answer or data.upper())
            except TimeoutError:
                pass

    def told(data):
        mine.settimeout(20)
        say(hear(mine, data)[0][20:])
    say_to(b"first")
    say_to(b"second")
    # Of another process.
    child = os.fork()
    if child == 0:
        with raw(own) as other:
            other.sendto(b"third", (address, 0))
            hear(other, b"THIRD")
        os._exit(0)
    say("other", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    told(b"from the child")
    for number in range(10):
        mine.sendto(b"n%d" % number, (address, 0))
    told(b"counted")
    told(b"both?")
    mine.sendto(b"to both", (address, 0))
    told(b"both")
    told(b"go on")
    say_to(b"fourth")
    say_to(b"fifth")


if sys.argv[1] == "serve":
    serve(sys.argv[2])
else:
    ask(*sys.argv[2:])
