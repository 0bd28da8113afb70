"""What an uploaded file really is: sniffed by content, pictures re-encoded so that no EXIF or GPS tag survives."""

import io
import warnings

from PIL import Image, UnidentifiedImageError

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
        return _re_encoded(content)
    except UnidentifiedImageError:
        return content, _text_type(content)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise AttachmentKindNotAllowed from error


def _re_encoded(content: bytes) -> tuple[bytes, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content), formats=list(PICTURES)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise AttachmentTooLarge
            kind = picture.format or ""
            upright = Image.new(picture.mode, picture.size)
            upright.paste(picture)
    output = io.BytesIO()
    upright.save(output, kind)
    return output.getvalue(), PICTURES[kind]


def _text_type(content: bytes) -> str:
    try:
        words = content.decode()
    except UnicodeDecodeError as error:
        raise AttachmentKindNotAllowed from error
    if not content or "\0" in words:
        raise AttachmentKindNotAllowed
    return "text/plain; charset=utf-8"
