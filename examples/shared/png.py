"""What the examples that make digits share: writing them to a PNG.

An example takes it from the file, `runpy.run_path(...)["write_png"]`, and so runs as a file and as a module, from any folder.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np


def write_png(path: str | Path, images: np.ndarray, columns: int) -> None:
    """Grey images (count, 8, 8) with values in [0, 1] as one PNG, white on black, in rows of `columns`, four times as large."""
    cells = np.pad(images, ((0, 0), (1, 1), (1, 1))).reshape(-1, columns, 10, 10)
    pixels = (255 * np.clip(cells.swapaxes(1, 2).reshape(-1, 10 * columns), 0, 1)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # each after the number of its filter: none
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 0, 0, 0, 0)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
