"""What both tracks share, in NumPy: specs, plans, data, scores and statistics.

Nothing here imports a framework; importing this package costs almost nothing.
"""

__version__ = "0.1.0"
