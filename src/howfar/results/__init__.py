"""Step 5, records -> tables: pure functions of the store, so that any table can be made again from the records."""

from howfar.results.cells import readings_of
from howfar.results.collect import collect, compared
from howfar.results.names import CLEAN, protection, victim
from howfar.results.profiles import broken

__all__ = ["CLEAN", "broken", "collect", "compared", "protection", "readings_of", "victim"]
