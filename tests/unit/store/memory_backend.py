"""A backend as unlike a directory as an object store is: whole objects under keys, no names, no holes, nothing left of a cut write.

It shows that the interface asks for no files, and the store's own tests run on it. It lasts as long as it is referred to.
"""

from snapshotd.store.errors import DiskFullError, ObjectMissingError, StoreAccessError


class MemoryBackend:
    def __init__(self):
        self.objects = {}
        self.room = None
        self.refused = False

    def name(self, kind, object_id):
        return f"memory:{kind}/{object_id.hex()}"

    def begin(self, kind, object_id):
        self.check()
        return MemoryUpload(self, (kind, object_id), self.name(kind, object_id))

    def open(self, kind, object_id):
        self.check()
        name = self.name(kind, object_id)
        if (kind, object_id) not in self.objects:
            raise ObjectMissingError(f"{name}: there is no such object")
        return MemoryObject(self, (kind, object_id), name)

    def ids(self, kind):
        self.check()
        return [object_id for found, object_id in list(self.objects) if found == kind]

    def remove(self, kind, object_id):
        self.check()
        self.objects.pop((kind, object_id), None)

    def punch(self, kind, object_id, holes):
        del holes
        self.open(kind, object_id)
        return False

    def leftovers(self):
        self.check()
        return []

    def discard(self, leftover):
        del leftover

    def check(self):
        if self.refused:
            raise StoreAccessError("memory: access refused")


class MemoryObject:
    def __init__(self, backend, key, name):
        self.name = name
        self._backend = backend
        self._key = key

    def read(self, offset, size):
        try:
            return self._backend.objects[self._key][offset : offset + size]
        except KeyError:
            raise ObjectMissingError(f"{self.name}: removed") from None

    def size(self):
        return len(self._backend.objects[self._key])

    def close(self):
        pass


class MemoryUpload:
    def __init__(self, backend, key, name):
        self.name = name
        self._backend = backend
        self._key = key
        self._content = bytearray()

    def append(self, buffers):
        more = b"".join(buffers)
        if self._backend.room is not None and len(self._content) + len(more) > self._backend.room:
            raise DiskFullError("memory: no room")
        self._content += more

    def read(self, offset, size):
        return bytes(self._content[offset : offset + size])

    def publish(self):
        self._backend.check()
        self._backend.objects[self._key] = bytes(self._content)

    def abandon(self):
        pass
