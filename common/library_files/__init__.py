"""The libraries' own files of Inception v3, read without the libraries.

`recognise` says what a file is, by its bytes; `torch_file`, `keras_file` and
`safetensors_file` list the tensors in one and read none before its shape has been
compared; `torch_names` and `keras_names` find Inception v3 among them; `names` is all
of that; `forms` says what a suffix promises.
Nothing in a file is run or unpacked.
"""

from common.library_files.found import BASE
from common.library_files.names import PIXELS, Understood, read

__all__ = ["BASE", "PIXELS", "Understood", "read"]
