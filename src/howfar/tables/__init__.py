"""Step 5, records -> tables: pure functions of the store, so that any table can be made again from the records."""

from howfar.tables.collect import collect, compared
from howfar.tables.distances import readings_of
from howfar.tables.names import CLEAN, protection, victim
from howfar.tables.profiles import broken
from howfar.tables.undecided import line_of, undecided

__all__ = [
    "CLEAN", "broken", "collect", "compared", "line_of", "protection", "readings_of", "undecided", "victim",
]  # fmt: skip
