"""Suffixes that tell apart specifications with the same label."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from howfar.arrays import canonical
from howfar.errors import escaped

LONG = 12  # most characters of a value in a name


def distinguishing_suffixes(named: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[tuple[str, str], str]:
    """Return a suffix for each label that makes labels unique, by label and specification as canonical JSON.

    Empty if a label has one specification; else the versions that differ, if these suffice; else all differences, if
    they are few; else a digest.

    Args:
        named: pairs of label and specification.
    """
    kinds: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for label, spec in named:
        kinds[label][canonical(spec)] = dict(flat(spec))
    found: dict[tuple[str, str], str] = {}
    for label, specs in kinds.items():
        texts = _differences(list(specs.values())) if len(specs) > 1 else [""]
        for (key, _), text in zip(specs.items(), texts, strict=True):
            found[label, key] = f" ({text})" if text else ""
    return found


def _differences(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    paths = sorted({path for spec in specs for path in spec})
    differing = [path for path in paths if len({canonical(spec.get(path)) for spec in specs}) > 1]
    versions = [path for path in differing if path.rpartition(".")[2] == "version"]
    others = [path for path in differing if path not in versions]
    for chosen in (versions, [*versions, *others] if len(differing) < 4 else []):
        texts = [
            ", ".join(escaped(f"{path} {str(spec.get(path, 'none'))[:LONG]}") for path in chosen) for spec in specs
        ]
        if chosen and len(set(texts)) == len(specs):
            return texts
    return [hashlib.sha256(canonical(spec).encode()).hexdigest()[:8] for spec in specs]


def flat(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the path of every value in nested mappings, with dots, and the value."""
    if not isinstance(value, Mapping):
        yield path, value
        return
    for key, inner in value.items():
        yield from flat(inner, f"{path}.{key}" if path else str(key))
