"""Files as people and attackers send them, and what a person reads about each."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from comp.serving.upload import MAX_BYTES

SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='document.title=\"hacked\"'></svg>"
HTML = b"<!doctype html><script>document.title = 'hacked'</script>"
NOT_AN_IMAGE = "This is not an image, whatever its name; choose a JPEG, PNG, TIFF, WebP or another image file."


def encode(kind: str, width: int = 40, height: int = 30) -> bytes:
    """Return a drawn image as a file of a format."""
    pixels = np.add.outer(np.arange(height) * 3, np.arange(width) * 4) % 256
    stream = io.BytesIO()
    Image.fromarray(np.stack([pixels, 255 - pixels, pixels // 2], 2).astype(np.uint8)).save(stream, kind)
    return stream.getvalue()


def encode_16_bit() -> bytes:
    stream = io.BytesIO()
    values = np.add.outer(np.arange(30) * 900, np.arange(40) * 700)
    Image.fromarray(values.astype(np.uint16)).save(stream, "PNG")
    return stream.getvalue()


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that declares many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    )


TOO_MANY = "The image has more than 50 million pixels; make it smaller."
# name -> (content, the sentence that a person reads; None: it is answered)
FILES: dict[str, tuple[bytes, str | None]] = {
    "good.jpg": (encode("JPEG"), None),
    "good.webp": (encode("WEBP"), None),
    "16-bit.png": (encode_16_bit(), None),
    "<img src=x onerror=alert(1)>.png": (encode("PNG"), None),
    "vector.png": (SVG, NOT_AN_IMAGE),
    "page.jpg": (HTML, NOT_AN_IMAGE),
    "cut.jpg": (encode("JPEG", 400, 300)[:2000], "The image is damaged or incomplete; copy it again."),
    "bomb.png": (bomb(8000, 7000), TOO_MANY),
    "larger bomb.png": (bomb(60_000, 60_000), TOO_MANY),
    "empty.png": (b"", "The file is empty; choose another one."),
}
LARGE = encode("JPEG") + bytes(MAX_BYTES)
TOO_LARGE = "The file has more than 20 MB; make the image smaller."
