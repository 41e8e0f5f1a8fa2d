"""Weights as plain NumPy: names, shapes, initial draws, and the file format.

Every draw is made here, once, so that both tracks start from the same numbers:
frameworks differ in what "truncated" or "Glorot" means and in their generators.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from math import prod, sqrt
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from common import files
from common.errors import Refused

Weights = dict[str, NDArray[np.floating]]
Shape = tuple[int, ...]


@runtime_checkable
class Init(Protocol):
    """How a tensor is drawn."""

    def draw(self, rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
        """Values of this shape, float64."""


@dataclass(frozen=True, slots=True)
class Constant:
    """Every value the same.

    Attributes:
        value: That value.
    """

    value: float

    def draw(self, rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
        """Values of this shape, float64."""
        return np.full(shape, self.value)


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal with mean 0, not truncated.

    Attributes:
        std: Its deviation.
    """

    std: float

    def draw(self, rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
        """Values of this shape, float64."""
        return rng.normal(0.0, self.std, shape)


@dataclass(frozen=True, slots=True)
class TruncatedNormal:
    """Normal of parameter `std`, redrawn beyond 2 std (its real deviation: .88 std).

    TensorFlow's `truncated_normal`; torch's cuts at absolute bounds instead.

    Attributes:
        std: The deviation before values are cut.
    """

    std: float

    def draw(self, rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
        """Values of this shape, float64."""
        values = rng.normal(0.0, self.std, shape)
        while (far := np.abs(values) > 2 * self.std).any():
            values[far] = rng.normal(0.0, self.std, int(far.sum()))
        return values


@dataclass(frozen=True, slots=True)
class GlorotUniform:
    """Uniform in +-sqrt(6 / (fan in + fan out)).  Glorot, Bengio 2010, eq. 16."""

    def draw(self, rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
        """Values of this shape, float64."""
        fan_in, fan_out = fans(shape)
        bound = sqrt(6 / (fan_in + fan_out))
        return rng.uniform(-bound, bound, shape)


@dataclass(frozen=True, slots=True)
class HeNormal:
    """Normal of deviation sqrt(2 / fan in), not truncated.  He et al. 2015, eq. 10."""

    def draw(self, rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
        """Values of this shape, float64."""
        return rng.normal(0.0, sqrt(2 / fans(shape)[0]), shape)


@dataclass(frozen=True, slots=True)
class PooledUniform:
    """`GlorotUniform` with its fan out divided by the area ratio of the next pool.

    Uniform in +-sqrt(6 / (fan in + fan out / pool^2)): Graham's SparseConvNet,
    NetworkInNetworkLayer.cu, whose `alpha` is (filter / stride / pool)^2.

    Attributes:
        pool: Ratio of the next pool's sides.
    """

    pool: float

    def draw(self, rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
        """Values of this shape, float64."""
        fan_in, fan_out = fans(shape)
        bound = sqrt(6 / (fan_in + fan_out / self.pool**2))
        return rng.uniform(-bound, bound, shape)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform in +-`bound`.

    Attributes:
        bound: Its end.
    """

    bound: float

    def draw(self, rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
        """Values of this shape, float64."""
        return rng.uniform(-self.bound, self.bound, shape)


@dataclass(frozen=True, slots=True)
class FanInUniform:
    """Uniform in +-1 / sqrt(fan in): what torch's convolutions start from.

    (Its `kaiming_uniform_(a=sqrt(5))`, of which that is what remains.)
    """

    def draw(self, rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
        """Values of this shape, float64."""
        bound = 1 / sqrt(fans(shape)[0])
        return rng.uniform(-bound, bound, shape)


@dataclass(frozen=True, slots=True)
class Dirac:
    """`base`, but the first filters are the identity: as many as there are inputs.

    Filter i passes channel i on as it is; those beyond the inputs stay as drawn.

    Attributes:
        base: What the others are drawn from.
    """

    base: Init

    def draw(self, rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
        """Values of this shape (h, w, in, out), float64; the middle of an odd window.

        Raises:
            ValueError: There are fewer filters than channels, or no middle.
        """
        h, w, fan_in, out = shape
        if out < fan_in or not h % 2 or not w % 2:
            raise ValueError(
                "identity filters take an odd window and a filter for every channel, "
                f"got {h} x {w}, {fan_in} channels and {out} filters; use another init"
            )
        values = self.base.draw(rng, shape)
        values[..., :fan_in] = 0.0
        values[h // 2, w // 2, :, :fan_in] = np.eye(fan_in)
        return values


@dataclass(frozen=True, slots=True)
class UnitStd:
    """`base`, divided by the deviation of what was drawn.

    Attributes:
        base: What is drawn first.
    """

    base: Init

    def draw(self, rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
        """Values of this shape, float64."""
        values = self.base.draw(rng, shape)
        return np.asarray(values / values.std())


@dataclass(frozen=True, slots=True)
class Whitening:
    """Filters that whiten the patches of the training pictures, and their negatives.

    Each is an eigenvector of the patches' uncentred second moments over sqrt(its
    eigenvalue + `eps`), the largest eigenvalue first.  Jordan 2024, arXiv 2404.00498,
    section 3.2.

    Attributes:
        pictures: How many pictures are taken, at random.
        eps: Added to each eigenvalue.
        sign: Of each vector's largest entry: libraries return either.
    """

    pictures: int = 5000
    eps: float = 5e-4
    sign: Literal["positive", "negative"] = "positive"

    def draw(self, rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
        """Refused: without pictures there is nothing to whiten.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "whitening filters are drawn from training pictures, got none; pass "
            "weights=common.start.initial_weights(spec, seed, data.train)"
        )

    def from_pictures(
        self, images: NDArray[np.floating], shape: Shape
    ) -> NDArray[np.float64]:
        """Filters (h, w, c, out), float64, of `images` (n, H, W, c) as the layer sees.

        Raises:
            ValueError: There are not twice as many filters as values in a patch.
        """
        h, w, c, out = shape
        size = h * w * c
        if out != 2 * size:
            raise ValueError(
                f"whitening has two filters for each of {size} values of a patch, got "
                f"{out}; use {2 * size}"
            )
        moments = np.zeros((size, size))
        windows = np.lib.stride_tricks.sliding_window_view(images, (h, w), axis=(1, 2))
        for part in np.array_split(windows, max(1, len(images) // 500)):
            patches = part.transpose(0, 1, 2, 4, 5, 3).reshape(-1, size)
            moments += patches.astype(np.float64).T @ patches
        count = len(images) * windows.shape[1] * windows.shape[2]
        values, vectors = np.linalg.eigh(moments / count)
        vectors = vectors[:, ::-1] / np.sqrt(values[::-1] + self.eps)
        largest = np.abs(vectors).argmax(0)
        vectors = vectors * np.sign(vectors[largest, np.arange(size)])
        vectors = vectors if self.sign == "positive" else -vectors
        return np.concatenate([vectors, -vectors], 1).reshape(shape)


def fans(shape: Shape) -> tuple[int, int]:
    """Inputs and outputs of one unit, for a canonical kernel."""
    window = prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


@dataclass(frozen=True, slots=True)
class WeightRecord:
    """One tensor of a model: its canonical shape, its draw, whether it is trained."""

    shape: Shape
    init: Init
    trained: bool = True


def draw(
    records: dict[str, WeightRecord],
    seed: int,
    images: NDArray[np.floating] | None = None,
) -> Weights:
    """Initial weights in float64; a tensor's values depend on its name and `seed`.

    Args:
        records: Name -> shape and draw.
        seed: Of every draw.
        images: (n, h, w, c), pictures as the first layer sees them, for weights that
            are drawn from pictures.

    Raises:
        ValueError: A tensor is drawn from pictures, and there are none.
    """
    return {
        name: record.init.from_pictures(images, record.shape)
        if images is not None and isinstance(record.init, Whitening)
        else record.init.draw(stream(name, seed), record.shape)
        for name, record in records.items()
    }


def random_weights(records: dict[str, WeightRecord], seed: int) -> Weights:
    """Weights in which no tensor is special: none zero, none one, variances positive.

    Freshly drawn weights hide faults (zero biases, unit scales); these do not.
    """
    weights: Weights = {}
    for name, record in records.items():
        rng = stream(name, seed + 1_000_003)
        if len(record.shape) > 1:
            std = sqrt(2 / fans(record.shape)[0])
            weights[name] = rng.normal(0.0, std, record.shape)
        elif name.endswith((".scale", ".var")):
            weights[name] = rng.uniform(0.5, 1.5, record.shape)
        else:
            weights[name] = rng.normal(0.0, 0.1, record.shape)
    return weights


def stream(name: str, seed: int) -> np.random.Generator:
    """The generator of what is called `name`."""
    key = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
    return np.random.Generator(np.random.Philox(key))


def check_names(expected: dict[str, Shape], weights: Weights) -> None:
    """Refuse weights that are not exactly the `expected` names and shapes.

    Raises:
        ValueError: A name is missing or unexpected, or a shape differs.
    """
    missing = sorted(expected.keys() - weights.keys())
    extra = sorted(weights.keys() - expected.keys())
    if missing or extra:
        raise ValueError(
            f"weights do not match the spec: missing {missing}, unexpected {extra}; "
            "use weights of the same architecture"
        )
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise ValueError(
                f"{name}: the spec says {shape}, got {weights[name].shape}; "
                "use weights of the same architecture"
            )


def digest(weights: Weights) -> str:
    """SHA-256 (hex) of names, shapes, dtypes and values, whatever their order."""
    total = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def write(path: str | Path, weights: Weights, header: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all, and read it back to check.

    Raises:
        Refused: The disk does not take it.
        ValueError: An array would not come back as it is.
    """
    files.write_atomic(Path(path), files.pack(weights, header))


def read(path: str | Path) -> tuple[Weights, dict[str, str]]:
    """Weights and header of a safetensors file.

    Raises:
        Refused: There is no such file, or it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise Refused(f"a weights file must exist, got {path}; check the path")
    try:
        with safe_open(path, framework="np") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return weights, file.metadata() or {}
    except (SafetensorError, ValueError) as error:
        raise Refused(
            f"a weights file must be whole safetensors, got {path} ({error}); "
            "write it again"
        ) from error
