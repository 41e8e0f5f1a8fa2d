"""What `twintrack port` is given and cannot simply compare."""
