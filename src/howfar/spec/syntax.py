"""The text in which methods and settings are written: ``em,lsp[eps=6/255,patch=4]``."""

import re

SETTING = r"([A-Za-z][\w-]*)\s*="  # start of ``key=value``


def quoted(text: str) -> str:
    """Quote a value if it contains commas, brackets or other separators."""
    return f'"{text}"' if any(sign in text for sign in ",[]@+") else text


def unquoted(text: str) -> str:
    """Return a value without the quotes around it."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def split_list(text: str, *, at: str = ",") -> list[str]:
    """Split at commas, or another separator, outside brackets and quotes.

    ``"em,lsp[eps=6/255,patch=4]"`` has two items, and so has ``'em,import:"Photos, 2024/n.npy"'``.
    """
    return [part.strip() for part in split(text, at) if part.strip()]


def split_names(text: str) -> list[str]:
    """Split a list of methods at commas; ``key=value`` belongs to the method before it.

    >>> split_names("em,lsp:eps=6/255,share=0.5,ops")
    ['em', 'lsp:eps=6/255,share=0.5', 'ops']
    """
    names: list[str] = []
    for part in split_list(text):
        if names and re.match(SETTING, part):
            names[-1] += f",{part}"
        else:
            names.append(part)
    return names


def split(text: str, at: str) -> list[str]:
    """Split outside brackets and quotes; nothing is left out."""
    parts, depth, quotes = [""], 0, False
    for sign in text:
        quotes ^= sign == '"'
        depth += 0 if quotes else (sign == "[") - (sign == "]")
        if sign == at and depth == 0 and not quotes:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def number_text(value: object) -> str:
    """Return a value in the syntax of the command line; multiples of 1/255 keep that form."""
    if isinstance(value, float):
        levels = f"{value * 255:.4g}"
        if float(f"{value:g}") == value:  # 0.1, although it equals 25.5/255
            return f"{value:g}"
        return f"{levels}/255" if 0 < float(levels) < 256 and float(levels) / 255 == value else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
