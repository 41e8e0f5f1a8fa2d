"""One HTML page of a store: readable without a network and without scripts."""
