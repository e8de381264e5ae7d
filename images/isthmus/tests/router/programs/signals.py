"""Handlers of signals that use the very socket that they interrupt: functions of libc are the handlers, called by the
kernel with the number of the signal as the descriptor. (Those that are written in Python run behind calls, not in them.)
Usage: signals.py serve PORT, then signals.py ask ADDRESS PORT."""
import ctypes, errno, os, signal, socket, sys, threading

CLOSED, ASKED, INTERRUPTED = 30, 30, 3

if sys.argv[1] == "serve":
    def read(connection):
        try:
            while got := connection.recv(1 << 20):
                if got == b"?":
                    connection.send(b"!")
        except ConnectionError:
            pass  # It was closed before the answer was fetched.

    with socket.create_server(("", int(sys.argv[2]))) as listener:
        print("ready", flush=True)
        readers = []
        for _ in range(CLOSED + ASKED + 1 + INTERRUPTED):
            readers.append(threading.Thread(target=read, args=[listener.accept()[0]]))
            readers[-1].start()
        [reader.join() for reader in readers]
    print("all have ended")
    sys.exit()

ADDRESS = (sys.argv[2], int(sys.argv[3]))
libc = ctypes.CDLL(None, use_errno=True)
libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]


class Action(ctypes.Structure):
    """`struct sigaction`."""
    _fields_ = [("handler", ctypes.c_void_p), ("mask", ctypes.c_char * 128), ("flags", ctypes.c_int),
                ("restorer", ctypes.c_void_p)]


def handle(number, function, flags):
    action = Action(ctypes.cast(function, ctypes.c_void_p), b"", flags, None)
    assert libc.sigaction(number, ctypes.byref(action), None) == 0
    told = Action()
    assert libc.sigaction(number, None, ctypes.byref(told)) == 0
    assert (told.handler, told.flags & flags) == (action.handler, flags), "what was set is told back"


def connected(number):
    """A connection whose descriptor is `number`."""
    with socket.create_connection(ADDRESS) as connection:
        os.dup2(connection.fileno(), number)


SA_SIGINFO, SA_RESTART, SA_RESETHAND = 4, 0x10000000, 0x80000000 - (1 << 32)
MSG_NOSIGNAL, block = 0x4000, b"x" * 65536

# Closes what is being written to.
closed = 0
for _ in range(CLOSED):
    connected(signal.SIGALRM)
    handle(signal.SIGALRM, libc.close, 0)
    signal.setitimer(signal.ITIMER_REAL, 0.002)
    while libc.send(signal.SIGALRM, block, len(block), MSG_NOSIGNAL) > 0 or ctypes.get_errno() == errno.EINTR:
        pass
    closed += ctypes.get_errno() == errno.EBADF
print("closed", closed)

# Closes what is being waited at: an answer comes at once, so that the call hardly ever sleeps, but looks out for it.
closed = 0
for _ in range(ASKED):
    connected(signal.SIGALRM)
    handle(signal.SIGALRM, libc.close, 0)
    signal.setitimer(signal.ITIMER_REAL, 0.002)
    byte = ctypes.create_string_buffer(1)
    while libc.send(signal.SIGALRM, b"?", 1, MSG_NOSIGNAL) > 0:
        while libc.recv(signal.SIGALRM, byte, 1, 0) < 0 and ctypes.get_errno() == errno.EINTR:
            pass
    closed += ctypes.get_errno() == errno.EBADF
print("closed while waiting", closed)

# Asks for the name of what is asked for its name: `getsockname(number, siginfo, context)`.
connected(signal.SIGALRM)
handle(signal.SIGALRM, libc.getsockname, SA_SIGINFO | SA_RESTART)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
name, room = ctypes.create_string_buffer(16), ctypes.c_uint(16)
named = all(libc.getsockname(signal.SIGALRM, name, ctypes.byref(room)) == 0 for _ in range(100_000))
signal.setitimer(signal.ITIMER_REAL, 0)
print("named", named)
libc.close(signal.SIGALRM)

# A call goes on, or does not, as the handler wants that has interrupted it, or as its timeout does.
handle(signal.SIGUSR1, libc.abs, SA_RESTART)
handle(signal.SIGUSR2, libc.abs, 0)
main, task = threading.get_ident(), threading.get_native_id()


def in_call():
    """Whether the main thread sleeps in recvfrom, or in ppoll."""
    with open(f"/proc/self/task/{task}/syscall") as file:
        return file.read().split()[0] in ("45", "271")


for kill, timeout in [([signal.SIGUSR2], 0), ([signal.SIGUSR1], 100), ([signal.SIGUSR1] * 3 + [signal.SIGUSR2], 0)]:
    with socket.create_connection(ADDRESS) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout.to_bytes(8, "little") + bytes(8))
        sent, is_over = [], threading.Event()

        def interrupt():
            for number in kill:
                while not in_call() and not is_over.is_set():
                    pass
                sent.append(number)
                signal.pthread_kill(main, number)

        thread = threading.Thread(target=interrupt)
        thread.start()
        byte = ctypes.create_string_buffer(1)
        result = libc.recv(connection.fileno(), byte, 1, 0)
        why, at_last = errno.errorcode.get(ctypes.get_errno()), len(sent)
        is_over.set()
        thread.join()
        print("interrupted", result, why, at_last)

handle(signal.SIGUSR1, libc.abs, SA_RESETHAND)
signal.raise_signal(signal.SIGUSR1)
told = Action()
libc.sigaction(signal.SIGUSR1, None, ctypes.byref(told))
print("reset", told.handler is None)
