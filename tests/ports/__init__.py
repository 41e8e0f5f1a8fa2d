"""Plain models of two frameworks, for `twintrack port`; cases.py has the answers."""
