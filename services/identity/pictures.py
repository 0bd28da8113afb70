"""Profile pictures: decoded with limits and drawn anew, so that nothing but pixels survives (no EXIF, no GPS).

One conversion at a time per process: what is decoded at once must fit beside the service in its container's 512 MiB.
"""

import asyncio
import io
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from PIL import ExifTags, Image, UnidentifiedImageError

from services.identity.errors import NotAPicture, PictureTooLarge

MAX_BYTES = 5 * 1024 * 1024
# What one conversion holds at its peak, measured with the costliest pictures of the most pixels: 110 MiB for PNG, 15 MiB
# for a camera's JPEG (its decoder leaves pixels out), but 290 MiB for a narrow progressive one in CMYK, and 250 MiB for
# WebP, whose decoder keeps four copies.
MAX_PIXELS = 25_000_000
MAX_WEBP_PIXELS = 16_000_000
SIDE = 512
# Rows that are converted at once: of the whole picture there is only what the decoder returns.
BAND_ROWS = 256
FORMATS = ("JPEG", "PNG", "WEBP")
QUALITY = 82
# What turns a picture upright, by EXIF's orientation (tag 0x0112).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_one_thread = ThreadPoolExecutor(1, thread_name_prefix="pictures")


async def redraw(picture: BinaryIO) -> bytes:
    """Return the picture's middle as a square WebP of at most 512 pixels, off the event loop.

    It is read when its turn comes, so those that wait stay where they are. Raises NotAPicture, PictureTooLarge.
    """
    return await asyncio.get_running_loop().run_in_executor(_one_thread, _redraw, picture)


def _redraw(picture: BinaryIO) -> bytes:
    try:
        with Image.open(picture, formats=FORMATS) as source:
            most_pixels = MAX_WEBP_PIXELS if source.format == "WEBP" else MAX_PIXELS
            if source.width * source.height > most_pixels:
                raise PictureTooLarge(most_pixels=most_pixels)
            side, middle = min(SIDE, *source.size), _middle(source)
            turn = _UPRIGHT.get(source.getexif().get(ExifTags.Base.Orientation, 1))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureTooLarge(most_pixels=MAX_PIXELS) from error
    # Each decoder has its own words for what is cut off or made up.
    except (UnidentifiedImageError, OSError, EOFError, SyntaxError, ValueError, struct.error) as error:
        raise NotAPicture from error
    pixels = middle.resize((side, side), Image.Resampling.LANCZOS)
    upright = pixels if turn is None else pixels.transpose(turn)
    drawn = io.BytesIO()
    upright.save(drawn, "WEBP", quality=QUALITY, method=4)
    return drawn.getvalue()


def _middle(source: Image.Image) -> Image.Image:
    """Return the square in the middle, coarsened to less than four times SIDE, as an image that never had metadata."""
    # Only JPEG's decoder can decode coarsely; the others ignore this.
    source.draft("RGB", (2 * SIDE, 2 * SIDE))
    side = min(source.size)
    left, top = (source.width - side) // 2, (source.height - side) // 2
    factor = max(1, side // (2 * SIDE))
    small_side = -(-side // factor)
    small = Image.new("RGB", (small_side, small_side))
    # A band is whole blocks of `factor` rows, so that bands meet without a seam.
    rows = factor * max(1, BAND_ROWS // factor)
    for row in range(0, side, rows):
        band = source.crop((left, top + row, left + side, top + min(side, row + rows)))
        small.paste(band.convert("RGB").reduce(factor), (0, row // factor))
    return small
