"""Names as they are searched: without accents and case."""

import re
import unicodedata


def plain(text: str) -> str:
    """Return `text` lowercased, without accents, with single spaces: "Élodie  Müller" → "elodie muller"."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(character for character in decomposed if not unicodedata.combining(character))
    return re.sub(r"\s+", " ", letters).strip()
