"""Public data sets, through torchvision.  Twin: tf_track/data.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.data.canonical import Canonical, by_content, not_fetched, unknown

FILES = {
    "mnist": "the four *-ubyte.gz files of MNIST",
    "cifar10": "cifar-10-python.tar.gz",
}


def load_dataset(name: str, root: Path) -> Canonical:
    """Both splits of `name`, downloaded into `root` once, checked, in canonical order.

    Args:
        name: "mnist" or "cifar10".
        root: Folder of the downloads.

    Raises:
        Refused: The name is unknown, or the download failed or is not what it should
            be.
    """
    if name not in FILES:
        raise unknown(name)
    try:
        return (_mnist if name == "mnist" else _cifar10)(root)
    except (OSError, RuntimeError) as error:
        raise not_fetched(name, error, FILES[name], root) from error


def _mnist(root: Path) -> Canonical:
    """MNIST (n, 28, 28, 1), sorted by content."""
    # Imported late, here and below: three seconds and 170 MB that training never needs.
    from torchvision.datasets import MNIST

    class FlatMNIST(MNIST):
        """MNIST whose files lie in `root` itself, where they can be put by hand."""

        raw_folder = property(lambda self: self.root)

        def _check_exists(self) -> bool:
            # torchvision checks the archives, not what it unpacked from them before:
            # unpack them every time, so that an interrupted copy is never read.
            return hasattr(self, "unpacked")

        def download(self) -> None:
            super().download()
            self.unpacked = True

    arrays: list[np.ndarray] = []
    for train in (True, False):
        source = FlatMNIST(root, train=train, download=True)
        images, labels = source.data.numpy()[..., None], source.targets.numpy()
        arrays += by_content(images, labels)
    return Canonical.of(*arrays, classes="0123456789")


def _cifar10(root: Path) -> Canonical:
    """CIFAR-10 (n, 32, 32, 3), sorted by content."""
    from torchvision.datasets import CIFAR10

    arrays: list[np.ndarray] = []
    for train in (True, False):
        source = CIFAR10(root, train=train, download=True)
        arrays += by_content(source.data, np.array(source.targets))
    return Canonical.of(*arrays, classes=source.classes)
