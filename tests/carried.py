"""Small stand-ins for MNIST and CIFAR-10, in every form that can be imported."""

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.canonical import by_content, content
from common.data.carriers import BATCHES, IDX, SHAPES

COUNTS = {"mnist": (20, 10), "cifar10": (10, 10)}  # to train and to test


def arrays(name, seed=0):
    """Train images and labels, test images and labels."""
    rng, found = np.random.default_rng(seed), []
    for n in COUNTS[name]:
        found.append(rng.integers(0, 256, (n, *SHAPES[name]), np.uint8))
        found.append(rng.permutation(np.arange(n) % 10).astype(np.uint8))
    return found


def published(name):
    """What the content of `arrays` is known by."""
    x, y, u, v = arrays(name)
    return content(*by_content(x, y)), content(*by_content(u, v))


# --- files of one form: a function of arrays that gives name -> bytes ---------------


def idx(found):
    return {
        name: bytes([0, 0, 8, values.squeeze().ndim])
        + struct.pack(f">{values.squeeze().ndim}I", *values.squeeze().shape)
        + values.tobytes()
        for name, values in zip(IDX, found, strict=True)
    }


def idx_packed(found):
    """As some unpack and pack them: another name, another time and level."""
    return {
        f"{name.replace('-idx', '.idx')}.gz": gzip.compress(packed, 1, mtime=7)
        for name, packed in idx(found).items()
    }


def _parts(found):
    x, y, u, v = found
    for k, name in enumerate(BATCHES):
        part = slice(2 * k, 2 * k + 2)
        images, labels = (u, v) if name == "test_batch" else (x[part], y[part])
        yield name, images.transpose(0, 3, 1, 2).reshape(-1, 3072), labels


def binary(found):
    return {
        f"{name}.bin": np.concatenate([labels[:, None], rows], 1).tobytes()
        for name, rows, labels in _parts(found)
    }


class _Old(pickle._Pickler):
    """Writes as Python 2 did, where bytes were texts."""

    def save(self, value, save_persistent_id=True):
        if isinstance(value, bytes) and self.memo.get(id(value)) is None:
            self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
            self.memoize(value)
        else:
            super().save(value, save_persistent_id)


def python(found, protocol=2):
    """Protocol 2 as Python 2 wrote it, others as Python 3 does."""
    made = {}
    for name, rows, labels in _parts(found):
        told = {b"data": rows, b"labels": labels.tolist(), b"batch_label": name}
        file = io.BytesIO()
        (_Old if protocol == 2 else pickle._Pickler)(file, protocol).dump(told)
        made[name] = file.getvalue()
        if protocol == 2:  # NumPy's modules were called otherwise
            made[name] = made[name].replace(b"numpy._core", b"numpy.core")
    return made


def npz(found, name="mnist.npz"):
    x, y, u, v = (a.squeeze() for a in found)
    file = io.BytesIO()
    np.savez(file, x_train=x, y_train=y, x_test=u, y_test=v)
    return {name: file.getvalue()}


def records(found, name="mnist"):
    """TFDS's, with the protocol buffer written by hand."""
    made = {}
    for part, images, labels in (("train", *found[:2]), ("test", *found[2:])):
        out = b""
        for image, label in zip(images, labels, strict=True):
            png = io.BytesIO()
            Image.fromarray(image.squeeze()).save(png, "PNG")
            features = _field(1, _map(b"image", _field(1, _field(1, png.getvalue()))))
            packed = _field(3, _field(1, bytes([label])))
            features += _field(1, _map(b"label", packed))
            record = _field(1, features)
            out += struct.pack("<QI", len(record), 0) + record + bytes(4)
        made[f"{name}-{part}.tfrecord-00000-of-00001"] = out
    return made


def _map(key, value):
    return _field(1, key) + _field(2, value)


def _field(number, content):
    size, head = len(content), bytes([number << 3 | 2])
    while size > 127:
        head, size = head + bytes([size & 127 | 128]), size >> 7
    return head + bytes([size]) + content


def pictures(found, classes):
    made = {}
    for part, images, labels in (("train", *found[:2]), ("test", *found[2:])):
        for k, (image, label) in enumerate(zip(images, labels, strict=True)):
            png = io.BytesIO()
            Image.fromarray(image.squeeze()).save(png, "PNG")
            made[f"{part}/{classes[label]}/{k}.png"] = png.getvalue()
    return made


# --- files into a folder or an archive ----------------------------------------------


def laid(files, folder):
    """Files into a folder; the folder."""
    for name, packed in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed)
    return Path(folder)


def tarred(files, path, mode="w:gz", inner="some/folder"):
    with tarfile.open(path, mode) as archive:
        for name, packed in files.items():
            info = tarfile.TarInfo(f"{inner}/{name}")
            info.size = len(packed)
            archive.addfile(info, io.BytesIO(packed))
    return path


def zipped(files, path, inner="some/folder"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, packed in files.items():
            archive.writestr(f"{inner}/{name}", packed)
    return path
