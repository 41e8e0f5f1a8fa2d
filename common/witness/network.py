"""A spec as calls of a form's layers, first to last."""

from __future__ import annotations

from itertools import pairwise

from common import spec
from common.inception import Block, InceptionSpec, Row
from common.spec import CNNSpec, MLPSpec, Shape, Spec
from common.witness.form import Form
from common.witness.graph import Graph

# Kinds of networks whose graph is known.  A kind that a user derives from one may
# compute something else, so it is not known.
KINDS = (MLPSpec, CNNSpec, InceptionSpec)


def graph_of(network: Spec, form: Form) -> Graph:
    """The graph of `network`, float pixels 0 to 255 to logits, in `form`.

    Raises:
        TypeError: The spec is of a kind of the user's own.
    """
    if type(network) not in KINDS:
        raise TypeError(
            f"a graph is known of {', '.join(kind.__name__ for kind in KINDS)}, got "
            f"{type(network).__name__}; write its graph in common/witness/network.py"
        )
    x = form.pixels(network.image)
    form.graph.part = "scale"
    match network:
        case MLPSpec():
            _mlp(network, form, form.scaled(x, network.scale, network.input))
        case CNNSpec():
            size = (network.image[0], network.image[1])
            x = form.crop(x, network.crop, size)
            x = form.canvas(x, network.canvas, network.ground, size)
            _cnn(network, form, form.scaled(x, network.scale, network.input))
        case InceptionSpec():
            _inception(network, form, form.scaled(x, network.scale, network.input))
    form.graph.end()
    return form.graph


def _mlp(network: MLPSpec, form: Form, x: str) -> None:
    x = form.flatten(x, spec.Flatten("hwc"), network.image)
    for i, (taken, out) in enumerate(pairwise(network.widths[:-1])):
        name = form.graph.part = f"hidden.{i}"
        x = form.dense(x, name, spec.Dense(out), (taken,))
        if network.norm:
            x = form.norm(x, f"norms.{i}", network.norm, (out,))
        x = form.relu(x)
    form.graph.part = "head"
    form.dense(x, "head", spec.Dense(network.classes), network.widths[-2:-1])


def _cnn(network: CNNSpec, form: Form, x: str) -> None:
    kept = x
    for name, layer, shape in zip(
        network.names, network.layers, network.shapes[:-1], strict=True
    ):
        form.graph.part = name
        match layer:
            case spec.Branch():
                kept = x
            case spec.Add():
                x = form.add(x, kept)
            case _:
                x = _layer(form, x, name, layer, shape)


def _layer(form: Form, x: str, name: str, layer: spec.Layer, shape: Shape) -> str:
    """What one layer gives for `x`."""
    match layer:
        case spec.Conv():
            return form.conv(x, name, layer, shape)
        case spec.Dense():
            return form.dense(x, name, layer, shape)
        case spec.Norm():
            return form.norm(x, name, layer, shape)
        case spec.LRN():
            return form.lrn(x, layer, shape)
        case spec.Pool():
            return form.pool(x, layer, shape)
        case spec.AveragePool():
            return form.average(x, layer, shape)
        case spec.FractionalPool():
            return form.fractional(x, name, layer, shape)
        case spec.Dropout():
            return x  # it does nothing but in training
        case spec.Relu():
            return form.relu(x)
        case spec.Act():
            return form.act(x, layer)
        case spec.Multiply(factor):
            return form.multiply(x, factor)
        case spec.Flatten():
            return form.flatten(x, layer, shape)
    raise TypeError(f"a layer must be a record of common.spec, got {layer!r}")


def _inception(network: InceptionSpec, form: Form, x: str) -> None:
    shape: Shape = network.image
    for row in network.stem:
        x = _step(network, form, x, row.name, row, shape)
        shape = network.maps[row.name]
    for block in network.blocks:
        x = _block(network, form, x, block, shape)
        shape = network.maps[block.name]
    form.graph.part = "fc"
    form.dense(form.mean(x), "fc", network.head, shape[2:])


def _block(
    network: InceptionSpec, form: Form, x: str, block: Block, shape: Shape
) -> str:
    """Rows that each take another's output; the loose ends are joined."""
    found, shapes = {"": x}, {"": shape}
    for row in block.rows:
        name = f"{block.name}.{row.name}"
        taken = found[row.after], shapes[row.after]
        found[row.name] = _step(network, form, taken[0], name, row, taken[1])
        shapes[row.name] = network.maps[name]
    form.graph.part = block.name
    return form.joined([found[name] for name in block.ends])


def _step(
    network: InceptionSpec, form: Form, x: str, name: str, row: Row, shape: Shape
) -> str:
    """One row: a pool, or convolution, batch normalisation, ReLU."""
    form.graph.part = name
    match row.layer:
        case spec.Pool():
            return form.pool(x, row.layer, shape)
        case spec.AveragePool():
            return form.average(x, row.layer, shape)
        case spec.Conv(out):
            x = form.conv(x, f"{name}.conv", row.layer, shape)
            return form.relu(form.norm(x, f"{name}.bn", network.norm, (out,)))
