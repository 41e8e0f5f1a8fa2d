"""Data sets: where they come from, what can be made of them."""

from common.data.addition import Addition
from common.data.dataset import Dataset, Part
from common.data.parts import extend, hold_out, limit, remap, subset
from common.data.pictures import pictures
from common.data.sources import DataRequest, open_data

__all__ = [
    "Addition",
    "DataRequest",
    "Dataset",
    "Part",
    "extend",
    "hold_out",
    "limit",
    "open_data",
    "pictures",
    "remap",
    "subset",
]
