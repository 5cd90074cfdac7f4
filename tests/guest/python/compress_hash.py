"""Compression and digests: zlib, gzip, bz2, lzma, zipfile, tarfile, hashlib, hmac, binascii."""

import binascii
import bz2
import gzip
import hashlib
import hmac
import io
import lzma
import tarfile
import zipfile
import zlib

data = b"".join(b"%d,%d\n" % (n, n * n % 977) for n in range(20000))
print("crc32", zlib.crc32(data), "adler32", zlib.adler32(data), binascii.crc_hqx(data[:1000], 0))
for name, module in (("zlib", zlib), ("gzip", gzip), ("bz2", bz2), ("lzma", lzma)):
    packed = module.compress(data)
    assert module.decompress(packed) == data
    print(name, "smaller", len(packed) < len(data) // 2)
stream = zlib.compressobj(9)
parts = [stream.compress(data[i : i + 777]) for i in range(0, len(data), 777)] + [stream.flush()]
print("stream", zlib.decompress(b"".join(parts)) == data)

for name in ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b", "blake2s", "shake_128"):
    digest = hashlib.new(name, data)
    print(name, digest.hexdigest(20) if name.startswith("shake") else digest.hexdigest()[:40])
print("hmac", hmac.new(b"key", data, "sha256").hexdigest())
print("pbkdf2", hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2000).hex())
print("scrypt", hashlib.scrypt(b"password", salt=b"salt", n=256, r=8, p=1).hex()[:40])

archive = io.BytesIO()
with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
    zipped.writestr("a.txt", data)
    zipped.writestr("d/b.txt", b"b")
with zipfile.ZipFile(archive) as zipped:
    print("zip", zipped.namelist(), zipped.testzip(), zipped.read("a.txt") == data)
with tarfile.open("t.tar.gz", "w:gz") as tar:
    info = tarfile.TarInfo("file")
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
with tarfile.open("t.tar.gz") as tar:
    print("tar", tar.getnames(), tar.extractfile("file").read() == data)
