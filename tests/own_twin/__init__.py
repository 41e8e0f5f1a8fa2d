"""A user's own system, as the README shows it: a spec, and one builder per track."""

from dataclasses import dataclass

from common.recipe import SGD, Recipe
from common.spec import Dense, kernel_and_bias
from common.systems import System, register
from common.weights import HeNormal


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoTowers:
    """Two dense layers side by side, summed."""

    image: tuple[int, int, int]
    classes: int

    @property
    def input(self):
        return self.image

    @property
    def weights(self):
        pixels = self.image[0] * self.image[1] * self.image[2]
        layer = Dense(self.classes, init=HeNormal())
        return {
            name: record
            for tower in ("left", "right")
            for name, record in kernel_and_bias(tower, (pixels, self.classes), layer)
        }

    @property
    def draws(self):
        return {}


register(
    System(
        name="two-towers",
        summary="two dense layers side by side",
        spec=lambda image, classes: TwoTowers(image=image, classes=classes),
        recipe=Recipe(lr=0.05, batch=32, epochs=2, optimizer=SGD(momentum=0.9)),
        data="digits",
        image=(8, 8, 1),
        module=__name__,
    ),
    builders={
        "torch": "tests.own_twin.in_torch:build",
        "tensorflow": "tests.own_twin.in_keras:build",
    },
)
