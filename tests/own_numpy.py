"""A user's own kind of spec with a builder for the NumPy track: no framework starts."""

from dataclasses import dataclass

from common.recipe import SGD, Recipe
from common.spec import Dense, Scale, kernel_and_bias
from common.systems import System, register
from common.weights import HeNormal


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMLP:
    """One hidden layer.

    Attributes:
        image: (height, width, channels) of one input.
        classes: Number of logits.
        wide: Units of the hidden layer.
    """

    image: tuple[int, int, int]
    classes: int
    wide: int = 8

    @property
    def input(self):
        return self.image

    @property
    def widths(self):
        return (self.image[0] * self.image[1] * self.image[2], self.wide, self.classes)

    @property
    def scale(self):
        return Scale()

    @property
    def weights(self):
        found = {}
        pairs = zip(("hidden.0", "head"), self.widths, self.widths[1:], strict=False)
        for name, inputs, out in pairs:
            layer = Dense(out, init=HeNormal())
            found |= dict(kernel_and_bias(name, (inputs, out), layer))
        return found

    @property
    def draws(self):
        return {}


def build(spec, dtype):
    """The network, in NumPy."""
    from tests.numpy_track import MLP

    return MLP(spec, 0, dtype)


register(
    System(
        name="own-mlp",
        summary="one hidden layer",
        spec=lambda image, classes: OwnMLP(image=image, classes=classes),
        recipe=Recipe(lr=0.05, batch=20, epochs=2, optimizer=SGD(momentum=0.9)),
        data="digits",
        image=(8, 8, 1),
        module=__name__,
    ),
    builders={"tests.numpy_track": f"{__name__}:build"},
)
