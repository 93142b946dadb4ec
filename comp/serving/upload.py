"""An uploaded file as pixels, or one sentence that says why it is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

from comp.data.image_values import DecodedImage
from comp.data.images import UnreadableImageError, decode_image, read_header
from comp.errors import UserError

MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000  # 150 MB as RGB, and one image is decoded at a time
TOO_LARGE = f"The file has more than {MAX_BYTES // 10**6} MB; make the image smaller."
TOO_MANY = f"The image has more than {MAX_PIXELS // 10**6} million pixels; make it smaller."


class RefusedUploadError(Exception):
    """A file that is not answered; its text is a sentence for the person who sent it."""


def decode_upload(content: bytes) -> DecodedImage:
    """Return the pixels of a file, whose format is that of its first bytes, and the rule that made them 8 bits."""
    with tempfile.NamedTemporaryFile(prefix="comp-upload-") as file:
        file.write(content)
        file.flush()
        path = Path(file.name)
        try:
            header = read_header(path)
            if header.width * header.height > MAX_PIXELS:
                raise RefusedUploadError(TOO_MANY)
            return decode_image(path)
        except UnreadableImageError as error:
            raise RefusedUploadError(_sentence(str(error))) from None
        except UserError as error:  # a package that decodes this format is missing
            raise RefusedUploadError(f"{error}.") from None


def _sentence(reason: str) -> str:
    if reason == "not an image":
        return "This is not an image, whatever its name; choose a JPEG, PNG, TIFF, WebP or another image file."
    if reason == "empty file":
        return "The file is empty; choose another one."
    if "million pixels" in reason:  # beyond the limit of every image
        return TOO_MANY
    if "truncated" in reason or "broken" in reason:
        return "The image is damaged or incomplete; copy it again."
    return f"The image cannot be read: {reason}."
