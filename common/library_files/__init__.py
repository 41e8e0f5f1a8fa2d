"""The libraries' own files of Inception v3, read without the libraries.

`recognise` says what a file is, by its bytes; `torch_file`, `keras_file` and
`safetensors_file` list the tensors in one and read none before its shape has been
compared; `names` finds Inception v3 among them; `forms` says what a suffix promises.
Nothing in a file is run or unpacked.
"""

from common.library_files.names import BASE, PIXELS, Understood, read

__all__ = ["BASE", "PIXELS", "Understood", "read"]
