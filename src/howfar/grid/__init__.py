"""The cells of a benchmark: experiments, suites, presets and time estimates."""
