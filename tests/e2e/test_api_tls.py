"""The API on TCP: with mutual TLS only, and the domain by the certificate's name."""

import datetime as dt
import ipaddress
import socket

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from quark.snapshot.v1 import sandboxes_pb2 as sb

DAY = dt.timedelta(days=1)


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )  # fmt: skip


class Authority:
    """A certificate authority."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = self.sign(self.name, self.key, [(constraints, True)])

    def sign(self, name, key, extensions, days=1):
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + days * DAY)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, common_name, usage, names=(), days=1):
        """(key, certificate) as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        extensions = [(x509.ExtendedKeyUsage([usage]), False)]
        if names:
            extensions.append((x509.SubjectAlternativeName(names), False))
        return pem(key), self.sign(subject, key, extensions, days)

    def client(self, *args, **kwargs):
        return self.issue(*args, usage=ExtendedKeyUsageOID.CLIENT_AUTH, **kwargs)


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def tcp(make_daemon, authority, tmp_path):
    """Address of a daemon that listens on TCP as well."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    key, certificate = authority.issue("daemon", ExtendedKeyUsageOID.SERVER_AUTH, names)
    for name, data in (("key", key), ("certificate", certificate), ("ca", authority.certificate)):
        (tmp_path / name).write_bytes(data)
    config = f"""
        [tcp]
        listen = "{address}"
        certificate = "{tmp_path}/certificate"
        key = "{tmp_path}/key"
        client_ca = "{tmp_path}/ca"
        [[domains]]
        name = "one"
        certificates = ["alice", "agent.example"]
        paths = ["/usr"]
        [[domains]]
        name = "two"
        certificates = ["bob", "alice"]
        paths = ["/usr"]
    """
    return address, make_daemon(config)


@pytest.fixture
def client(connect, authority, tcp):
    """Makes clients with a key and a certificate."""

    def make(key=None, certificate=None, ca=authority.certificate):
        return connect(tcp[0], tcp[1], grpc.ssl_channel_credentials(ca, key, certificate))

    return make


def test_the_domain_is_that_of_the_certificate(client, authority, tcp, connect):
    by_name = client(*authority.client("alice"))
    by_alternative = client(*authority.client("somebody", names=[x509.DNSName("agent.example")]))
    other = client(*authority.client("bob"))
    numbers = [api.numbers().domain for api in (by_name, by_alternative, other)]
    assert numbers == ["one", "one", "two"]
    assert by_name.numbers(metadata=(("quark-domain", "two"),)).domain == "two"
    spec = {"rootfs": "/usr"}
    by_name.create("s", spec=spec)
    sandbox = by_name.start(clone="s")
    attached = by_alternative.attach(sandbox)
    attached.send(stdin=b"x\n")
    attached.until(b"1:x\n")
    assert other.names() == []
    with other.failure("NOT_FOUND"):
        other.kill(sandbox)
    # Nobody from there is the daemon's user.
    for domain in ("default", "one", "none"):
        with other.failure("PERMISSION_DENIED") as f:
            other.numbers(metadata=(("quark-domain", domain),))
        assert f.reason == "AccessError"
    with by_name.failure("PERMISSION_DENIED") as f:
        by_name.run("true")
    assert f.reason == "PathDeniedError"
    # Who it is on this host is not known, so whose files it may have made is not for it to say.
    spec["volumes"] = [sb.Volume(source="/usr/share", target="/v")]
    for access in (sb.VolumeAccess(user="root"), sb.VolumeAccess(user="1:1"), sb.VolumeAccess(allow_set_id=True)):
        with by_name.failure("PERMISSION_DENIED") as f:
            by_name.run("true", spec=spec, volume_access=access)
        assert f.reason == "AccessError"
    assert by_name.kill(sandbox).exit_status == 137
    assert connect(f"unix:{tcp[1].socket}").numbers().domain == "default"


def test_a_certificate_that_no_domain_names(client, authority):
    for name in ("mallory", "Alice", "alice.example", "default"):
        stranger = client(*authority.client(name))
        for call in (stranger.numbers, stranger.names, lambda s=stranger: s.run("true")):
            with stranger.failure("PERMISSION_DENIED") as f:
                call()
            assert f.reason == "AccessError"


def test_an_address_of_a_person_is_no_name_of_a_host(client, authority):
    for name in (
        x509.RFC822Name("alice"),
        x509.UniformResourceIdentifier("alice"),
        x509.RFC822Name("bob@agent.example"),
    ):
        stranger = client(*authority.client("somebody", names=[name]))
        with stranger.failure("PERMISSION_DENIED") as f:
            stranger.numbers()
        assert f.reason == "AccessError"


def test_who_does_not_get_in(client, authority, tcp, connect):
    good = client(*authority.client("alice"))
    assert good.numbers().domain == "one"
    other = Authority()
    refused = {
        "no certificate": client(),
        "another authority": client(*other.client("alice")),
        "expired": client(*authority.client("alice", days=-1)),
        "a server's": client(*authority.issue("alice", ExtendedKeyUsageOID.SERVER_AUTH)),
        "no TLS": connect(tcp[0]),
        "a daemon that the client does not know": client(*authority.client("alice"), ca=other.certificate),
    }
    for what, api in refused.items():
        with api.failure() as f:
            api.numbers()
        assert f.code == "UNAVAILABLE", what
        assert not f.reason, what
    assert good.numbers().domain == "one"
