"""Keys of a domain, and what is sealed with them (docs/store-format.md, section 7)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import xxhash

from snapshotd.store.errors import KeyMissingError, KeyWrongError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE = 12
OVERHEAD = _NONCE + 16


class UnsealError(Exception):
    """Sealed bytes are not what was sealed. Callers turn this into the corruption error of the file."""


class Cipher:
    """What a domain without encryption does: nothing. Encrypted ones override it.

    Attributes:
        sealed: whether stored bytes differ from the plain ones.
        overhead: bytes that sealing adds.
    """

    sealed = False
    overhead = 0

    def seal_chunk(self, plain: bytes, about: bytes) -> bytes:
        """Seal the payload of a chunk, bound to `about`."""
        del about
        return plain

    def unseal_chunk(self, stored: bytes, about: bytes) -> bytes:
        """Undo seal_chunk.

        Raises:
            UnsealError: the bytes or `about` differ from what was sealed.
        """
        del about
        return stored

    def seal_blob(self, plain: bytes, about: bytes) -> bytes:
        """Seal a document or working set, bound to `about`."""
        return self.seal_chunk(plain, about)

    def unseal_blob(self, stored: bytes, about: bytes) -> bytes:
        """Undo seal_blob."""
        return self.unseal_chunk(stored, about)

    def mask(self, digests: Sequence[bytes]) -> list[bytes]:
        """What the catalogue holds in place of these 16-byte page digests."""
        return list(digests)

    def map_tag(self, content: bytes | memoryview) -> bytes:
        """16 bytes that tell a damaged map."""
        return xxhash.xxh3_128_digest(content)


PLAIN = Cipher()


class DomainCipher(Cipher):
    """AES-256-GCM with keys derived from a domain's key and salt."""

    sealed = True
    overhead = OVERHEAD

    def __init__(self, key: bytes, salt: bytes) -> None:
        # Only encrypted domains pay for these imports.
        from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
        from cryptography.hazmat.primitives.ciphers import algorithms, modes
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._chunk = AESGCM(derive(key, salt, b"quark chunk"))
        self._blob = AESGCM(derive(key, salt, b"quark blob"))
        self._map = derive(key, salt, b"quark map")
        self._digest = BlockCipher(algorithms.AES(derive(key, salt, b"quark digest")), modes.ECB())  # noqa: S305 - one block each

    def seal_chunk(self, plain: bytes, about: bytes) -> bytes:
        """A fresh nonce, the ciphertext and the tag."""
        return seal(self._chunk, plain, about)

    def unseal_chunk(self, stored: bytes, about: bytes) -> bytes:
        """Undo seal_chunk."""
        return unseal(self._chunk, stored, about)

    def seal_blob(self, plain: bytes, about: bytes) -> bytes:
        """As seal_chunk, with the key of documents."""
        return seal(self._blob, plain, about)

    def unseal_blob(self, stored: bytes, about: bytes) -> bytes:
        """Undo seal_blob."""
        return unseal(self._blob, stored, about)

    def mask(self, digests: Sequence[bytes]) -> list[bytes]:
        """Each digest through the block cipher: equal ones stay equal, and tell nothing without the key."""
        masked = self._digest.encryptor().update(b"".join(digests))
        return [masked[i : i + 16] for i in range(0, len(masked), 16)]

    def map_tag(self, content: bytes | memoryview) -> bytes:
        """A keyed tag: a map that somebody else wrote is not taken."""
        from hashlib import blake2b

        return blake2b(content, key=self._map, digest_size=16).digest()


class LockedCipher(Cipher):
    """An encrypted domain that was opened with no key: what needs the key says so."""

    sealed = True
    overhead = OVERHEAD

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def _refuse(self) -> NoReturn:
        raise KeyMissingError(f"{self._directory}: the domain is encrypted and no key was given; give its key file")

    def seal_chunk(self, plain: bytes, about: bytes) -> bytes:
        """Needs the key."""
        self._refuse()

    def unseal_chunk(self, stored: bytes, about: bytes) -> bytes:
        """Needs the key."""
        self._refuse()

    def mask(self, digests: Sequence[bytes]) -> list[bytes]:
        """Needs the key."""
        self._refuse()

    def map_tag(self, content: bytes | memoryview) -> bytes:
        """Needs the key."""
        self._refuse()


def derive(key: bytes, salt: bytes, purpose: bytes, size: int = KEY_BYTES) -> bytes:
    """The key for one purpose: keyed BLAKE2b (RFC 7693) with salt and personalisation."""
    from hashlib import blake2b

    return blake2b(key=key, salt=salt, person=purpose, digest_size=size).digest()


def seal(aead: AESGCM, plain: bytes, about: bytes) -> bytes:
    """Nonce, ciphertext, tag. Random nonces are safe for 2^32 messages a key (NIST SP 800-38D, section 8.3): 256 TiB of new pages."""
    nonce = os.urandom(_NONCE)
    return nonce + aead.encrypt(nonce, plain, about)


def unseal(aead: AESGCM, stored: bytes, about: bytes) -> bytes:
    """Undo seal.

    Raises:
        UnsealError: the bytes or `about` differ from what was sealed.
    """
    from cryptography.exceptions import InvalidTag

    if len(stored) < OVERHEAD:
        raise UnsealError
    try:
        return aead.decrypt(stored[:_NONCE], stored[_NONCE:], about)
    except InvalidTag:
        raise UnsealError from None


def key_check(key: bytes, salt: bytes) -> bytes:
    """What the catalogue keeps to tell a wrong key."""
    return derive(key, salt, b"quark check", 16)


def open_cipher(key: bytes | None, salt: bytes | None, check: bytes | None, directory: str) -> Cipher:
    """The cipher of the domain in `directory` for whoever has `key`.

    Raises:
        KeyWrongError: the key is not that of the domain, or the domain is not encrypted.
    """
    if key is not None and len(key) != KEY_BYTES:
        raise KeyWrongError(
            f"{directory}: a key has {KEY_BYTES} bytes, this one {len(key)}; make one with `head -c {KEY_BYTES} /dev/urandom`"
        )
    if salt is None:
        if key is not None:
            raise KeyWrongError(
                f"{directory}: the domain is not encrypted, but a key was given; leave it out or use a new domain"
            )
        return PLAIN
    if key is None:
        return LockedCipher(directory)
    if check is None or key_check(key, salt) != check:
        raise KeyWrongError(f"{directory}: this is not the key of the domain; give the one that it was created with")
    return DomainCipher(key, salt)
