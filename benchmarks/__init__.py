"""The commands: one module each, joined in `benchmarks.cli`."""
