"""What makes a password acceptable (CNIL recommendation 2022-100, cases 1 to 3): length and classes, or seven words.

History needs the stored hashes and is checked where the password is changed.
"""

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from enum import StrEnum
from pathlib import Path

CLASSES_AT_MINIMUM = 4
CLASSES_IF_LONGER = 3
LONGER_BY = 2
PHRASE_WORDS = 7
MAX_LENGTH = 256
SHORTEST_NAME = 4
FEWEST_CHARACTERS = 6
TOO_SIMILAR = 0.7
_CLASSES = (str.islower, str.isupper, str.isdigit, lambda character: not character.isalnum())
_LEET = str.maketrans("013457@$!€", "oieastasie")

# Stems of the most used passwords of French and English leaks; one of them with decoration is blocked.
COMMON = frozenset(Path(__file__).with_name("common_passwords.txt").read_text().split())


class Weakness(StrEnum):
    """Why a password is refused; the client words it."""

    TOO_SHORT = "too_short"
    TOO_FEW_CLASSES = "too_few_classes"
    TOO_LONG = "too_long"
    COMMON = "common"
    LIKE_YOUR_IDENTITY = "like_your_identity"
    USED_BEFORE = "used_before"


def weaknesses(
    password: str, *, min_length: int, own_words: Sequence[str], tenant_words: Sequence[str]
) -> list[Weakness]:
    """Return why `password` is not acceptable, nothing when it is.

    `own_words` are the person's address and names, `tenant_words` the organisation's.
    """
    found = _shape(password, min_length)
    if len(password) > MAX_LENGTH:
        found.append(Weakness.TOO_LONG)
    if _is_common(password, tenant_words):
        found.append(Weakness.COMMON)
    if any(_is_like(password, word) for word in _names(own_words)):
        found.append(Weakness.LIKE_YOUR_IDENTITY)
    return found


def _shape(password: str, min_length: int) -> list[Weakness]:
    if len(set(re.findall(r"\w{2,}", password.lower()))) >= PHRASE_WORDS:
        return []
    classes = sum(any(belongs(character) for character in password) for belongs in _CLASSES)
    if len(password) < min_length:
        return [Weakness.TOO_SHORT]
    needed = CLASSES_IF_LONGER if len(password) >= min_length + LONGER_BY else CLASSES_AT_MINIMUM
    return [] if classes >= needed else [Weakness.TOO_FEW_CLASSES]


def _is_common(password: str, tenant_words: Sequence[str]) -> bool:
    """Hardly any different characters, or a blocked stem that carries all letters but a few, disguised or not."""
    stems = COMMON | {_letters(word) for word in tenant_words if len(_letters(word)) >= SHORTEST_NAME}
    plain = _plain(password)
    # Digits at the end decorate, digits within stand for letters: p@ssw0rd2026.
    spellings = {_letters(plain), _undisguised(plain), _undisguised(re.sub(r"[\W\d_]+$", "", plain))}
    return len(set(password)) < FEWEST_CHARACTERS or any(_is_decorated(spelling, stems) for spelling in spellings)


def _undisguised(plain: str) -> str:
    return _letters(plain.translate(_LEET))


def _is_decorated(spelling: str, stems: frozenset[str]) -> bool:
    rest = spelling
    for stem in sorted(stems, key=len, reverse=True):
        rest = rest.replace(stem, "")
    return rest != spelling and len(set(rest)) < SHORTEST_NAME


def _is_like(password: str, name: str) -> bool:
    spelling = _letters(password)
    return name in spelling or SequenceMatcher(None, spelling, name).ratio() > TOO_SIMILAR


def _names(words: Sequence[str]) -> list[str]:
    parts = [_letters(part) for word in words for part in re.split(r"[\W_]+", word.split("@")[0])]
    return [part for part in parts if len(part) >= SHORTEST_NAME]


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", _plain(text))
