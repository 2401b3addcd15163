"""Step 6, tables -> pages: leaderboard, figures and the one-file HTML page. Nothing is computed here."""
