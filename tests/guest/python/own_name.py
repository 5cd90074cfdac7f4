"""The host's name resolves, in whatever file says so."""

import socket

print(socket.gethostbyname(socket.gethostname()).startswith("127."))
