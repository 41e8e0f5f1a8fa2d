"""What is to become of each: refused with a word of the reason, or compared."""

from dataclasses import dataclass
from typing import Literal

# Not a file of ours: nothing could read it.
SYNTAX_ERROR = """from torch import nn


def plain(:
    return nn.Linear(6, 3)
"""


@dataclass(frozen=True, kw_only=True)
class Odd:
    """A pair, and what becomes of it.

    Attributes:
        torch: `module:name` in this folder, `file:TEXT` for a file that a test writes.
        keras: As above.
        inputs: Shapes with the batch.
        tokens: Which of the inputs are integers below 20.
        outcome: "refused" (exit code 2, one line), "parts" (exit code 1, an answer)
            or "agrees" (exit code 0).
        told: Words that the line or the answer has to contain.
        why: What is odd.
    """

    torch: str = "torch_side:plain"
    keras: str = "keras_side:plain"
    inputs: tuple[tuple[int, ...], ...] = ((4, 6),)
    tokens: tuple[int, ...] = ()
    outcome: Literal["refused", "parts", "agrees"] = "refused"
    told: tuple[str, ...] = ()
    why: str


def torch_only(name, *told, why, **options):
    return Odd(torch=f"torch_side:{name}", told=told, why=why, **options)


def keras_only(name, *told, why, **options):
    return Odd(keras=f"keras_side:{name}", told=told, why=why, **options)


def both(name, port, *told, why, **options):
    sides = {"torch": f"torch_side:{name}", "keras": f"keras_side:{port}"}
    return Odd(**sides, told=told, why=why, **options)


ODD = {
    # the names
    "no_module": Odd(
        torch="no_such_module:plain", told=("no_such_module",), why="name"
    ),
    "no_name": torch_only("plian", "plian", "plain", why="a letter wrong: nearest"),
    "no_colon": Odd(torch="torch_side", told=(":",), why="no name at all"),
    "syntax_error": Odd(
        torch="file:SYNTAX_ERROR",
        told=("SyntaxError", ":4"),
        why="a file that is not Python",
    ),
    "not_callable": torch_only("NOT_CALLABLE", "NOT_CALLABLE", why="a number"),
    "model_itself": torch_only("MODEL", why="a model at hand", outcome="agrees"),
    # what a factory does
    "needs_arguments": torch_only(
        "needs_arguments", "width", "classes", why="a function with arguments"
    ),
    "class_needs_arguments": torch_only(
        "NeedsArguments", "width", why="a class with arguments"
    ),
    "arguments_given": torch_only(
        "needs_arguments(width=8, classes=3)", why="they are given", outcome="agrees"
    ),
    "keras_needs_arguments": keras_only(
        "needs_arguments", "width", "classes", why="a function with arguments"
    ),
    "gives_nothing": torch_only("gives_nothing", "None", why="no return"),
    "gives_weights": torch_only("gives_weights", "OrderedDict", why="no model"),
    "keras_gives_nothing": keras_only("gives_nothing", "None", why="no return"),
    "keras_gives_layer": keras_only("gives_layer", "Dense", why="a layer, no model"),
    "fails_when_made": torch_only(
        "fails_when_made", "FileNotFoundError", "best.pt", why="a file is missing"
    ),
    # what an import does
    "trains_when_imported": Odd(
        torch="trains_when_imported:plain",
        why="it prints, sets dtypes",
        outcome="agrees",
    ),
    "exits_when_imported": Odd(
        torch="exits_when_imported:plain",
        told=("SystemExit",),
        why="argparse at import",
    ),
    # what forward does
    "prints": both(
        "Prints", "Prints", why="both print: `--json` stays JSON", outcome="agrees"
    ),
    "raises": torch_only("Raises", "RuntimeError", "gate", why="shapes do not fit"),
    "keras_raises": keras_only("Raises", "reshape", why="shapes do not fit"),
    "hangs": torch_only("Hangs", "time", why="forward never ends"),
    "keras_hangs": keras_only("Hangs", "time", why="call never ends"),
    # not yet built
    "lazy": torch_only(
        "lazy", why="lazy modules are built by an input", outcome="agrees"
    ),
    "unbuilt": keras_only("unbuilt", why="built by an input", outcome="agrees"),
    # several inputs and outputs
    "two_inputs": both(
        "TwoInputs",
        "two_inputs",
        inputs=((4, 6), (4, 5)),
        tokens=(1,),
        outcome="agrees",
        why="a vector and tokens",
    ),
    "one_input_of_two": both(
        "TwoInputs", "two_inputs", "tokens", why="the second input is not given"
    ),
    "dict_output": both("DictOutput", "dict_output", outcome="agrees", why="by name"),
    "tuple_output": both(
        "TupleOutput", "tuple_output", outcome="agrees", why="in order"
    ),
    "dict_against_tuple": both(
        "DictOutput",
        "tuple_output",
        "kind",
        "box",
        outcome="agrees",
        why="names against places",
    ),
    "other_output": both(
        "OtherOutput",
        "dict_output",
        "version",
        "str",
        outcome="parts",
        why="a string; and one output less",
    ),
    # random layers
    "random_layer": both(
        "random_layer",
        "without_noise",
        "random",
        "GaussianNoise",
        outcome="parts",
        why="two runs of one side differ: no layer can be judged behind it",
    ),
    "both_random": both(
        "random_layer", "random_layer", "random", outcome="parts", why="on both sides"
    ),
    "training_left_on": both(
        "training_left_on",
        "without_noise",
        outcome="agrees",
        why="train() in the factory: judged in evaluation",
    ),
    # weights
    "unknown_layer": both(
        "unknown_layer", "unknown_layer", "Gate", outcome="agrees", why="tensors match"
    ),
    "tied": both(
        "Tied",
        "Tied",
        inputs=((4, 6),),
        tokens=(0,),
        outcome="agrees",
        why="tied twice",
    ),
    "tied_on_one_side": both(
        "Tied",
        "untied",
        "tied",
        inputs=((4, 6),),
        tokens=(0,),
        outcome="agrees",
        why="one tensor of PyTorch's is two of Keras's: carried twice, and said",
    ),
    "extra_linear": torch_only(
        "extra_linear", "2 (dense 8x8, 8)", outcome="parts", why="one more layer"
    ),
    "other_width": torch_only("other_width", "6x9", "6x8", why="another width"),
    "two_of_one_shape": both(
        "TwoOfOneShape", "two_of_one_shape", outcome="agrees", why="order of calls"
    ),
    "no_parameters": both(
        "no_parameters", "no_parameters", outcome="agrees", why="none"
    ),
    "not_a_number": torch_only(
        "not_a_number", "0.weight", "nan", why="a weight is nan"
    ),
    # what cannot be run, or not in float64 as it stands
    "other_input": both(
        "other_input", "other_input", "1", "3", inputs=((2, 3, 8, 8),), why="channels"
    ),
    "half": torch_only(
        "half", why="float16 weights, judged in float64", outcome="agrees"
    ),
    "float16": keras_only(
        "float16", "float16", outcome="agrees", why="a dtype fixed in each layer"
    ),
    "scripted": torch_only("scripted", why="TorchScript", outcome="agrees"),
}
