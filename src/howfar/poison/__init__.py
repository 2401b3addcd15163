"""Protected sets on disk: writing, reading, validating and exporting."""
