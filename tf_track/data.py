"""Public data sets, through TFDS.  Twin: pt_track/data.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.canonical import Canonical, by_content, not_fetched, unknown

FILES = {
    "mnist": "the four *-ubyte.gz files of MNIST",
    "cifar10": "cifar-10-binary.tar.gz",
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
    except _failures() as error:
        raise not_fetched(name, error, FILES[name], root) from error


def _failures() -> tuple[type[Exception], ...]:
    """What TFDS raises when it cannot fetch, or got something else."""
    import tensorflow as tf
    from tensorflow_datasets.core.download import download_manager, util

    checksum = download_manager.NonMatchingChecksumError
    return OSError, util.DownloadError, checksum, tf.errors.OpError


def _prepared(name: str, root: Path) -> Any:
    """The builder of `name`, downloaded; files put into `root` by hand are taken."""
    # Imported late, here and below: training never needs it.
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    # It tries ten times with doubled pauses: minutes, to say that there is no network.
    downloader.MAX_RETRIES = 3
    builder = tfds.builder(name, data_dir=root / "tfds")
    config = tfds.download.DownloadConfig(
        manual_dir=root, force_checksums_validation=True, try_download_gcs=False
    )
    builder.download_and_prepare(download_config=config)
    return builder


def _examples(builder: Any, split: str) -> dict[str, NDArray[Any]]:
    """All examples of `split`, in whatever order they are stored: name -> (n, ...)."""
    import tensorflow_datasets as tfds

    batches = list(tfds.as_numpy(builder.as_dataset(split=split).batch(1000)))
    return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}


def _mnist(root: Path) -> Canonical:
    """MNIST (n, 28, 28, 1), sorted by content."""
    builder = _prepared("mnist", root)
    arrays: list[np.ndarray] = []
    for split in ("train", "test"):
        source = _examples(builder, split)
        arrays += by_content(source["image"], source["label"])
    return Canonical.of(*arrays, classes="0123456789")


def _cifar10(root: Path) -> Canonical:
    """CIFAR-10 (n, 32, 32, 3), sorted by content."""
    builder = _prepared("cifar10", root)
    arrays: list[np.ndarray] = []
    for split in ("train", "test"):
        source = _examples(builder, split)
        arrays += by_content(source["image"], source["label"])
    return Canonical.of(*arrays, classes=builder.info.features["label"].names)
