"""A store as a whole: what is in it, what is stale, merging, pruning, exporting."""
