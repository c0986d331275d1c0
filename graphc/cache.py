"""Compiled objects on disk, so that a second process need not compile: a private directory of files named by their key.

    store = open_store()                 # by the environment, now; store.off says why it is not used, "" if it is
    entry = store.load(key)              # None where there is none, or where it is not whole
    store.save(key, Entry(manifest, packed, data))

The directory is `objects` in $GRAPHC_CACHE_DIR, else in graphc's place in the user's cache directory. GRAPHC_CACHE=0 turns it
off. Machine code is loaded from it, so it must belong to this user and be closed to all others; where it cannot be, nothing is
read or written.

A file is MAGIC, the SHA-256 of all that follows, the key, three lengths, and three parts. One that is torn, changed, of another
format or under another's name fails a comparison, is removed, and is compiled again. A new file is written aside and renamed,
so processes, threads and forks need no lock: whoever comes last wins, with the same bytes. Beyond MAX_BYTES the files that were
not used for longest go.

No failure here is an error: without the cache, everything is compiled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BYTES = 512 << 20
_MAGIC = b"graphc-object-1\n"
_LENGTHS = struct.Struct("<QQQ")
_DIGEST, _KEY = 32, 64
_STALE_SECONDS = 3600.0  # a temporary file older than this belongs to nobody


@dataclass(frozen=True, slots=True)
class Entry:
    """What compilation found out, in three parts: plain data, a compressed text, and the object file."""

    manifest: dict[str, Any]
    packed: bytes
    object: bytes


@dataclass(frozen=True, slots=True)
class Store:
    """`path` is the private directory; `off` says why there is none."""

    path: Path | None
    off: str = ""

    def load(self, key: str) -> Entry | None:
        """The entry of a key, if there is a whole one."""
        with self._opened() as folder:
            if folder is None:
                return None
            try:
                with open(os.open(key, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
                    entry = _unpack(file.read(), key)
                    if entry is not None:
                        os.utime(file.fileno())  # last used now
            except OSError:
                return None
            if entry is None:
                with contextlib.suppress(OSError):
                    os.unlink(key, dir_fd=folder)
            return entry

    def save(self, key: str, entry: Entry) -> bool:
        """Keep an entry; False where that failed (no space left, say)."""
        with self._opened() as folder:
            if folder is None:
                return False
            aside = f".{key}.{os.getpid()}.{os.urandom(4).hex()}"
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with open(os.open(aside, flags, 0o600, dir_fd=folder), "wb") as file:
                    file.write(_pack(entry, key))
                os.replace(aside, key, src_dir_fd=folder, dst_dir_fd=folder)
                _evict(folder, MAX_BYTES)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(aside, dir_fd=folder)
                return False
            return True

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int | None]:
        """The directory's descriptor, once it is certain that it is private. What is opened through it cannot be moved away."""
        folder = None
        try:
            if self.path is not None:
                with contextlib.suppress(OSError):
                    folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            yield folder if folder is not None and not _public(folder) else None
        finally:
            if folder is not None:
                os.close(folder)


def open_store() -> Store:
    """The store that the environment asks for, its directory made."""
    if os.environ.get("GRAPHC_CACHE") == "0":
        return Store(None, "GRAPHC_CACHE=0")
    base = _base()
    if base is None:
        return Store(None, "there is no home directory")
    path = base / "objects"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return Store(None, f"{path} cannot be used: {error.strerror}")
    try:
        public = _public(folder)
    finally:
        os.close(folder)
    if public:
        return Store(None, f"{path} {public}")
    return Store(path) if os.access(path, os.W_OK) else Store(path, f"{path} cannot be written")


def _base() -> Path | None:
    named = os.environ.get("GRAPHC_CACHE_DIR")
    if named:
        return Path(named).absolute()
    shared = os.environ.get("XDG_CACHE_HOME")
    if shared and os.path.isabs(shared):  # a relative one is to be ignored, says the specification
        return Path(shared) / "graphc"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "graphc"


def _public(folder: int) -> str:
    """How others could have put something here; "" if they could not."""
    found = os.fstat(folder)
    if found.st_uid != os.geteuid():
        return "belongs to another user"
    if stat.S_IMODE(found.st_mode) & 0o077:
        return "is open to others"
    return ""


# --- files ---


def _pack(entry: Entry, key: str) -> bytes:
    manifest = json.dumps(entry.manifest).encode()
    lengths = _LENGTHS.pack(len(manifest), len(entry.packed), len(entry.object))
    rest = b"".join((key.encode(), lengths, manifest, entry.packed, entry.object))
    return _MAGIC + hashlib.sha256(rest).digest() + rest


def _unpack(data: bytes, key: str) -> Entry | None:
    """The entry in a file; None where any of it is not as it was written under this key."""
    start = len(_MAGIC) + _DIGEST
    rest = data[start:]
    if data[:start] != _MAGIC + hashlib.sha256(rest).digest() or rest[:_KEY] != key.encode():
        return None
    first, second, third = _LENGTHS.unpack_from(rest, _KEY)
    at = _KEY + _LENGTHS.size
    if at + first + second + third != len(rest):
        return None
    return Entry(json.loads(rest[at : at + first]), rest[at + first : at + first + second], rest[at + first + second :])


def _evict(folder: int, limit: int) -> None:
    """Remove what was not used for longest until the rest fits; and what interrupted processes left."""
    files = []
    with os.scandir(folder) as found:
        for file in found:
            with contextlib.suppress(OSError):  # another process removed it
                status = file.stat(follow_symlinks=False)
                if file.name.startswith(".") and status.st_mtime < time.time() - _STALE_SECONDS:
                    os.unlink(file.name, dir_fd=folder)
                else:
                    files.append((status.st_mtime_ns, status.st_size, file.name))
    total = sum(size for _, size, _ in files)
    for _, size, name in sorted(files):
        if total <= limit:
            return
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
        total -= size
