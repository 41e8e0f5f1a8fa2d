"""Photos: read from any file, and sorted."""
