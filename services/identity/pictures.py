"""Profile pictures: decoded with limits and drawn anew, so that nothing but pixels survives (no EXIF, no GPS)."""

import asyncio
import io

from PIL import Image, ImageOps, UnidentifiedImageError

from services.identity.errors import NotAPicture, PictureTooLarge

MAX_BYTES = 5 * 1024 * 1024
MAX_PIXELS = 40_000_000
SIDE = 512
FORMATS = ("JPEG", "PNG", "WEBP")
QUALITY = 82


async def redraw(content: bytes) -> bytes:
    """Return the picture as a square WebP of at most 512 pixels, off the event loop.

    Raises NotAPicture, PictureTooLarge.
    """
    return await asyncio.to_thread(_redraw, content)


def _redraw(content: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as source:
            if source.width * source.height > MAX_PIXELS:
                raise PictureTooLarge(most_pixels=MAX_PIXELS)
            upright = ImageOps.exif_transpose(source).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise NotAPicture from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureTooLarge(most_pixels=MAX_PIXELS) from error
    side = min(SIDE, *upright.size)
    pixels = ImageOps.fit(upright, (side, side), Image.Resampling.LANCZOS)
    # Pixels are copied into an image that never had metadata.
    clean = Image.new("RGB", pixels.size)
    clean.paste(pixels)
    drawn = io.BytesIO()
    clean.save(drawn, "WEBP", quality=QUALITY, method=4)
    return drawn.getvalue()
