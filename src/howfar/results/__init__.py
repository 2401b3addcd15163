"""Step 5, records -> tables: pure functions of the store, so that any table can be made again from the records."""

from howfar.results.cells import readings_of
from howfar.results.collect import collect, compared
from howfar.results.names import CLEAN, protection, victim
from howfar.results.profiles import broken
from howfar.results.undecided import line_of, undecided

__all__ = [
    "CLEAN", "broken", "collect", "compared", "line_of", "protection", "readings_of", "undecided", "victim",
]  # fmt: skip
