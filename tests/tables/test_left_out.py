"""UD from few learnable layers is left out, with a reason."""

from howfar.score import Estimate
from howfar.tables.distances import LEAST_LAYERS, Ud, why_left_out


def ud(layers: float | None) -> Ud:
    return Ud(Estimate(0.3, 0.2, 0.4, 3, "t"), 0.01, 0.05, layers)


def test_few_clean_layers_leave_ud_out_with_the_reason() -> None:
    assert why_left_out([ud(LEAST_LAYERS), None, ud(20)]) == ""
    assert why_left_out([]) == ""
    assert why_left_out([ud(None)]) == "", "rows of a leaderboard do not tell"
    assert why_left_out([ud(9), ud(4)]) == (
        "UD is left out: the clean model has 4 learnable layers over all epochs, so one layer more or less changes UD "
        "by 0.25."
    )
    assert ud(4).shown is None
    assert ud(5).shown == ud(None).shown == ud(4).mean
