"""What an uploaded file really is: sniffed by content, pictures drawn anew so that no EXIF or GPS tag survives."""

import io
import warnings

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from services.helpdesk.errors import AttachmentKindNotAllowed, AttachmentTooLarge

MAX_BYTES = 10 * 1024 * 1024
MAX_PIXELS = 40_000_000
PICTURES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


def cleaned(content: bytes) -> tuple[bytes, str]:
    """Return the content to keep and its media type. Raises AttachmentTooLarge or AttachmentKindNotAllowed.

    Blocking (decodes pictures): call it in a thread.
    """
    if len(content) > MAX_BYTES:
        raise AttachmentTooLarge
    if content.startswith(b"%PDF-"):
        return content, "application/pdf"
    try:
        return _redrawn(content)
    except UnidentifiedImageError:
        return content, _text_type(content)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise AttachmentKindNotAllowed from error


def _redrawn(content: bytes) -> tuple[bytes, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content), formats=list(PICTURES)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise AttachmentTooLarge
            # A telephone hides previews and depth maps behind the picture (MPO); the first one is an ordinary JPEG.
            kind = "JPEG" if picture.format == "MPO" else picture.format or ""
            orientation = picture.getexif().get(ExifTags.Base.Orientation)
            pixels = _in_full_colour(picture)
            # Pixels are copied into an image that never had metadata.
            clean = Image.new(pixels.mode, pixels.size)
            clean.paste(pixels)
    # Of the tags, the orientation alone comes along until the turn: others may be broken and cannot be written again.
    clean.getexif()[ExifTags.Base.Orientation] = orientation
    output = io.BytesIO()
    ImageOps.exif_transpose(clean, in_place=True)
    clean.save(output, kind)
    return output.getvalue(), PICTURES[kind]


def _in_full_colour(picture: Image.Image) -> Image.Image:
    """Resolve what a picture says beside its pixels: the palette they point into, the colour that is transparent."""
    if picture.mode == "P" or "transparency" in picture.info:
        return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    return picture


def _text_type(content: bytes) -> str:
    try:
        words = content.decode()
    except UnicodeDecodeError as error:
        raise AttachmentKindNotAllowed from error
    if not content or "\0" in words:
        raise AttachmentKindNotAllowed
    return "text/plain; charset=utf-8"
