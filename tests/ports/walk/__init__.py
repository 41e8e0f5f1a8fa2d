"""A port as people write them."""
