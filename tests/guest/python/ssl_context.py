"""ssl: contexts, cipher lists, a handshake in memory that fails as it must, random bytes; secrets and uuid."""

import secrets
import ssl
import uuid

context = ssl.create_default_context()
print("verify", context.verify_mode.name, context.check_hostname, context.minimum_version.name)
print("ciphers", len(context.get_ciphers()) > 5, any("AES" in cipher["name"] for cipher in context.get_ciphers()))
context.set_alpn_protocols(["h2", "http/1.1"])
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
client = context.wrap_bio(incoming, outgoing, server_hostname="example.org")
try:
    client.do_handshake()
except ssl.SSLWantReadError:
    hello = outgoing.read()
    print("hello", hello[0], hello[1], len(hello) > 200, b"example.org" in hello)
incoming.write(b"this is no TLS record at all, " * 4)
try:
    client.do_handshake()
except ssl.SSLError as error:
    print("refused", type(error).__name__, error.reason)

server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
no_certificate = server.wrap_bio(a, b, server_side=True)
a.write(hello)
try:
    no_certificate.do_handshake()
except ssl.SSLError as error:
    print("server", error.reason)
try:
    context.load_verify_locations("/absent.pem")
except FileNotFoundError as error:
    print("absent", error.errno)
print("random", len(ssl.RAND_bytes(32)), ssl.RAND_status(), ssl.RAND_bytes(16) != ssl.RAND_bytes(16))
print("secrets", len({secrets.token_hex(16) for _ in range(100)}), len({uuid.uuid4() for _ in range(100)}))
