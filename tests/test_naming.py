"""Names that files get: every one its own, whatever the others are called, and the way back from copy to original."""

from itertools import combinations

import pytest

from howfar.errors import UsageError
from howfar.naming import folded, paired, with_suffix

CLASHING = (
    "a.jpg", "a.png", "a.jpg.png", "A.png", "a.png.png", "a.jpg.jpg", "a.jpg.webp", "a.jpg.2.png",
    "\u00e9.jpg", "e\u0301.png", "a.png/a.jpg", "d/a.jpg",
)  # fmt: skip
SETS = [names for count in range(1, 6) for names in combinations(CLASHING, count)]


def possible(names: tuple[str, ...]) -> bool:
    """Return whether files of these names can lie in one folder."""
    return not any(other.startswith(f"{name}/") for name in names for other in names)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_no_set_of_up_to_five_clashing_names_gets_one_twice(suffix: str) -> None:
    tried = [names for names in SETS if possible(names)]
    assert len(tried) > 1200
    for names in tried:
        given = with_suffix(names, suffix)
        assert list(given) == list(names)
        ones = {folded(name) for name in given.values()}
        assert len(ones) == len(names), given
        assert all(name.endswith(suffix) for name in given.values())
        assert not any(other.startswith(f"{name}/") for name in ones for other in ones), given
        for name, output in given.items():
            taken = {folded(other) for other in names if other != name} - {folded(name)}
            assert folded(output) not in taken, "a broken file that is copied keeps its own name"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_copies_of_those_names_are_paired_with_their_originals(suffix: str) -> None:
    for names in SETS:
        if possible(names):
            given = with_suffix(names, suffix)
            assert paired(names, sorted(given.values())) == given
            assert paired(names, names) == {name: name for name in names}


def test_names_stay_as_they_are_where_nothing_clashes() -> None:
    assert with_suffix(["b/x.jpg", "x.jpg"], ".png") == {"b/x.jpg": "b/x.png", "x.jpg": "x.png"}
    assert with_suffix(["a.jpg", "a.png"], ".png") == {"a.jpg": "a.jpg.png", "a.png": "a.png.png"}
    assert with_suffix(["a.jpg", "a.png", "a.jpg.png"], ".png") == {
        "a.jpg": "a.jpg.2.png", "a.png": "a.png.png", "a.jpg.png": "a.jpg.png",
    }  # fmt: skip


def test_what_names_leave_open_is_refused() -> None:
    with pytest.raises(UsageError, match=r"p\.jpg may be a copy of p\.bmp or of p\.png"):
        paired(["p.bmp", "p.png"], ["p.jpg"])
    with pytest.raises(UsageError, match=r"p\.jpg and p\.png may both be copies of p\.bmp"):
        paired(["p.bmp"], ["p.png", "p.jpg"])
    assert paired(["p.bmp", "p.png"], ["p.png"]) == {"p.png": "p.png"}
    assert paired(["a.jpg", "b.jpg"], ["b.png", "c.png"]) == {"b.jpg": "b.png"}
