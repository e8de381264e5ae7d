"""Standard I/O of C over sockets: `fdopen`, lines to and fro, `fileno`, and the end. The same on any system."""

import ctypes
import os
import socket
import sys

libc = ctypes.CDLL(None)
for name in ("fdopen", "fgets"):
    getattr(libc, name).restype = ctypes.c_void_p


def stream(of, mode):
    made = libc.fdopen(of.detach() if mode == b"w" else os.dup(of.fileno()), mode)
    return ctypes.c_void_p(made)


def line(of):
    buffer = ctypes.create_string_buffer(100)
    return buffer.value if libc.fgets(buffer, 100, of) else None


listener = socket.create_server((sys.argv[1], 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
expected = client.fileno()
reads, writes = stream(server, b"r"), stream(client, b"w")
print("fileno", libc.fileno(writes) == expected)
print("puts", libc.fputs(b"one\ntwo\n", writes) >= 0, libc.fprintf(writes, b"%d\n", 3) == 2, libc.fflush(writes))
print([line(reads) for _ in range(3)])
print("seek", libc.fseek(writes, 0, 0))
print("closed", libc.fclose(writes), line(reads), libc.feof(reads) != 0, libc.ferror(reads))
server.close()
print("closed", libc.fclose(reads))
