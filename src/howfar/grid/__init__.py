"""Which cells a benchmark has, in which order data, protection and training follow, and how long it will take."""
