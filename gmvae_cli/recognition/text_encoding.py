"""The encoding of text that is not UTF-8, from its first bytes: UTF-16, and Windows-1252 beyond reasonable doubt.

Libraries that guess encodings by the frequency of letters need sentences; they take the header `t;x °C` for Chinese.
"""

import codecs
import re
from typing import NamedTuple

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SHOWN_BYTES = 64  # of UTF-16 without a mark, in which every other byte is zero where it holds ASCII
_FEWEST_ZEROS = 16
_SHOWN_LETTERS = 40  # of a word in a note
# of Western Europe, less those that stand for frequent ones of Central Europe in Windows-1250
_LETTERS = frozenset("äöüßáàâåæçéèêëíîïñóôøúûÄÖÜÁÀÂÅÆÇÉÊËÍÎÏÑÓÔØÚÛ")
_NASALS = re.compile("ç?(?:ão|õe)")  # of Portuguese
# degrees, powers and the like, apart from other such characters; a blank that does not break
_SIGNS = re.compile(
    r"(?<=[0-9A-Za-z])\u00a0|"
    r"(?<![^\x00-\x7f])(?:[°µ±·×§€]|[²³](?![A-Za-z])|(?<= )[–—à](?= ))(?![^\x00-\x7f])"
)
_WORD = re.compile(r"[A-Za-z\u0080-\uffff]+")
_NEIGHBOURS = re.compile(r"[^\x00-\x7f]{2}")  # rare in words of these languages, the rule in those of others
_USUAL_NEIGHBOURS = re.compile("[äöüÄÖÜ](?=ß)|é(?=[éç])")
_SEPARATORS = re.compile(r"""[\s,;|"']+""", re.ASCII)


class Encoding(NamedTuple):
    """An encoding as Python names it, and a sentence about it without its subject."""

    name: str
    sentence: str


def recognised_encoding(head: bytes) -> Encoding | None:
    """Return the encoding of a text; None if that is UTF-8, or open.

    Args:
        head: the first bytes; a character at their end may be cut.
    """
    if head.startswith(_MARKS):
        return Encoding("utf-16", "is read as UTF-16, as its mark says")
    shown = head[:_SHOWN_BYTES]
    for name, zeros, others in (("utf-16-le", shown[1::2], shown[::2]), ("utf-16-be", shown[::2], shown[1::2])):
        if zeros.count(0) >= _FEWEST_ZEROS and not others.count(0) and _decoded(head, name) is not None:
            return Encoding(name, f"is read as UTF-16 without a mark; --encoding names another than {name}")
    if _decoded(head, "utf-8") is not None:
        return None
    text = _decoded(head, "windows-1252")
    if text is None or not all(map(_is_western, _WORD.findall(_SIGNS.sub(" ", text)))):
        return None
    example = next(word for word in _SEPARATORS.split(text) if not word.isascii())
    sentence = (
        f"is not UTF-8, so it is read as Windows-1252, with '{example[:_SHOWN_LETTERS]}'; --encoding names another"
    )
    return Encoding("windows-1252", sentence)


def _decoded(head: bytes, encoding: str) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return None


def _is_western(word: str) -> bool:
    """Return whether a word holds single letters with marks among letters of ASCII, or these alone."""
    if word.isascii():
        return True
    word = _NASALS.sub("ao", word)
    marked = [letter for letter in word if not letter.isascii()]
    if not _LETTERS.issuperset(marked) or len(word) - len(marked) < max(2, len(marked)):
        return False
    return _NEIGHBOURS.search(_USUAL_NEIGHBOURS.sub("", word)) is None
