"""Paths of weights on shapes that can be drawn by hand."""

import numpy as np
import pytest

from howfar.errors import UsageError
from howfar.score import paths


def test_lengths_distances_and_turns_of_known_paths() -> None:
    straight = np.array([[0, 0, 0], [1, 0, 1], [2, 0, 2], [3, 0, 3]], float)
    turning = np.array([[0, 0, 0], [1, 1, 1], [3, 1, 2], [3, 4, 3]], float)
    found = paths(straight, turning, [0, 0, 1], reference=0.5)
    assert found.clean_length == pytest.approx([3, 3])
    assert found.poisoned_length == pytest.approx([np.sqrt(2) + 2 + 3, 3])
    assert found.apart[:, 0] == pytest.approx([0, 1, np.sqrt(2), 4])
    assert found.apart[:, 1] == pytest.approx([0, 0, 0, 0])
    assert found.to_clean_end[:, 0] == pytest.approx([3, np.sqrt(5), 1, 4])
    assert found.leaves.tolist() == [1, -1]
    assert found.turns_back.tolist() == [True, False]


def test_a_path_that_comes_back_has_not_left() -> None:
    clean = np.array([[0.0], [1.0], [2.0]])
    found = paths(clean, np.array([[0.0], [9.0], [2.0]]), [0], reference=np.full((3, 1), 0.1))
    assert found.leaves.tolist() == [-1]
    assert not found.turns_back[0]


def test_paths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="do not fit"):
        paths(np.zeros((3, 2)), np.zeros((4, 2)), [0, 0])
