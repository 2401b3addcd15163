"""Step 6, numbers -> pages: leaderboard, figures and the one-file HTML page."""

from howfar.report.leaderboard import Row

__all__ = ["Row"]
