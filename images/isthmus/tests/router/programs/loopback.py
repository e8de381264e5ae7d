"""What a program sees that speaks with itself over loopback addresses: a line of each step, the same on any system.

    loopback.py            speaks with itself
    loopback.py serve      listens at 127.0.0.1, says the port, and waits for the end of its input
"""

import socket
import sys


def error(what, *arguments):
    try:
        what(*arguments)
        return "ok"
    except OSError as why:
        return type(why).__name__ + str(why.errno)


def speak(family, address):
    listener = socket.socket(family)
    listener.bind((address, 0))
    listener.listen()
    client = socket.socket(family)
    client.settimeout(10)
    client.connect(listener.getsockname())
    server, peer = listener.accept()
    client.sendall(b"hello")
    print(address, "TCP", server.recv(9), peer[0], peer == client.getsockname(), server.getsockname()[0])

    receiver = socket.socket(family, socket.SOCK_DGRAM)
    receiver.bind((address, 0))
    receiver.settimeout(10)
    # Bound by its first send, and of IPv6 to a port of both families.
    sender = socket.socket(family, socket.SOCK_DGRAM)
    sender.sendto(b"datagram", receiver.getsockname())
    said, source = receiver.recvfrom(99)
    print(address, "UDP", said, source[0], source[1] == sender.getsockname()[1])

    port = listener.getsockname()[1]
    for closed in (listener, client, server):
        closed.close()
    lonely = socket.socket(family)
    lonely.settimeout(10)
    print(address, "nobody listens", error(lonely.connect, (address, port)))
    lonely = socket.socket(family, socket.SOCK_DGRAM)
    lonely.connect((address, 9))
    lonely.settimeout(10)
    lonely.send(b"is anybody there?")
    print(address, "nobody is bound", error(lonely.recv, 9))


if sys.argv[1:] == ["serve"]:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
else:
    speak(socket.AF_INET, "127.0.0.1")
    speak(socket.AF_INET6, "::1")
    if socket.if_nameindex():
        number, name = socket.if_nameindex()[0]
        print("interfaces", number == socket.if_nametoindex(name), name == socket.if_indextoname(number))
