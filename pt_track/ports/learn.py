"""A user's torch model trained, step by step.  Twin: tf_track/ports/learn.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import Refused
from common.port.chosen import (
    LOSSES,
    OPTIMIZERS,
    Named,
    chosen,
    is_loss,
    loss_words,
    same_arrays,
)
from common.port.target import told
from common.port.told import Array, Config
from pt_track.ports.kinds import DROPOUTS, forms, tensor
from pt_track.ports.model import Opened

Answer = tuple[Config, dict[str, Array]]
DROPPING = (
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_alpha_dropout",
)


class Learner:
    """One training of a model, from the weights that it has.

    Args:
        opened: The model.
        optimizer: `module:factory` of the parameters, or a name: "sgd(lr=.1)".
        loss: `module:factory`, a name, or its words (`common.port.training.Loss`).
        step: `module:function(model, optimizer, loss, x, y)`, or "" for the usual one.

    Raises:
        Refused: A factory raises, or gives something else.
    """

    def __init__(
        self, opened: Opened, *, optimizer: str, loss: str | Config, step: str = ""
    ) -> None:
        self.opened = opened
        self.model = opened.model
        self.notes: list[str] = []
        self.measure, self.loss_words = _loss(loss, opened.dtype)
        self.optimizer = _optimizer(optimizer, self.model)
        self.taken = chosen(step, "a training step") if step else None
        self.names = dict(self._names())
        self.caught: dict[int, Tensor] = {}
        self.used: dict[int, Array] = {}
        self.rates: dict[int, float] = {}
        self.losses: list[float] = []
        self.handles = [
            p.register_hook(self._catching(p))
            for p in self.model.parameters()
            if p.requires_grad
        ]
        self.handles.append(self.optimizer.register_step_pre_hook(self._noting))

    def close(self) -> None:
        """Take the hooks off the model."""
        for handle in self.handles:
            handle.remove()

    def _names(self) -> Iterator[tuple[str, tuple[nn.Module, str, str]]]:
        for path, module, part in self.opened._units():
            unit = f"{path}.{part}".strip(".") if part else path
            for ours in forms(module)[part]:
                yield f"{unit}/{ours}", (module, part, ours)

    def _catching(self, parameter: Tensor) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            before = self.caught.get(id(parameter))
            gradient = gradient.detach().to_dense().clone()
            self.caught[id(parameter)] = gradient + (0 if before is None else before)

        return hook

    def _noting(self, *_: Any) -> None:
        """Right before an update: what the optimizer is given, and its rates."""
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                self.rates[id(p)] = float(group["lr"])
                if p.grad is not None:
                    self.used[id(p)] = p.grad.detach().to_dense().clone()

    def told(self, arrays: Sequence[Array]) -> Answer:
        """What the training is, and what comes out before it."""
        before = {n: b.clone() for n, b in self.model.named_buffers()}
        outputs = []
        with _learning(self.model), torch.no_grad():
            for seed in (0, 1):
                torch.manual_seed(seed)
                outputs.append(_first(self._called(arrays)))
            for name, value in self.model.named_buffers():
                value.copy_(before[name])
        words = {
            "optimizer": self._rule(),
            "loss": self.loss_words,
            "random": not torch.equal(*outputs),
            "dropout": [m.p for m in self.model.modules() if isinstance(m, DROPOUTS)],
            "buffers": [n for n in self.names if not self._is_learnt(n)],
            "doubled": self._doubled(),
            "notes": self.notes,
        }
        return words, {"outputs": outputs[0].numpy()}

    def _is_learnt(self, name: str) -> bool:
        module, part, ours = self.names[name]
        first = forms(module)[part][ours].names[0].partition("[")[0]
        return isinstance(tensor(module, first), nn.Parameter)

    def _doubled(self) -> list[str]:
        """Tensors that are the sum of two parameters, which move it twice."""
        found = []
        for name, (module, part, ours) in self.names.items():
            form = forms(module)[part][ours]
            parts = [tensor(module, t).detach().numpy() for t in form.names]
            if len(parts) == 2 and form.get(*parts).shape == parts[0].shape:
                found.append(name)
        return found

    def _rule(self) -> Config:
        """The optimizer in words (`common.port.training.Rule`)."""
        group = self.optimizer.param_groups[0]
        words: Config = {
            "cls": type(self.optimizer).__name__,
            "decays": self._of_groups("weight_decay"),
        }
        match self.optimizer:
            case torch.optim.SGD():
                names = ("momentum", "dampening", "nesterov")
                words |= {"kind": "sgd"} | {n: group[n] for n in names}
            case torch.optim.Adam() | torch.optim.AdamW():
                apart = isinstance(self.optimizer, torch.optim.AdamW)
                words |= {"kind": "adam", "eps": group["eps"], "eps_at": "corrected"}
                words |= {"betas": list(group["betas"]), "amsgrad": group["amsgrad"]}
                words["coupled"] = not group.get("decoupled_weight_decay", apart)
            case torch.optim.RMSprop():
                words |= {"kind": "rmsprop", "eps": group["eps"], "eps_at": "beside"}
                words |= {"rho": group["alpha"], "momentum": group["momentum"]}
                words["centred"] = group["centered"]
            case torch.optim.Adadelta():
                words |= {"kind": "adadelta", "eps": group["eps"], "rho": group["rho"]}
            case torch.optim.Adagrad():
                words |= {"kind": "adagrad", "eps": group["eps"], "eps_at": "beside"}
                words["start"] = group["initial_accumulator_value"]
            case _:
                words["kind"] = type(self.optimizer).__name__
        return words

    def _of_groups(self, key: str) -> dict[str, float]:
        """A value of each tensor, by its parameter's group."""
        held = {
            id(p): float(group.get(key) or 0)
            for group in self.optimizer.param_groups
            for p in group["params"]
        }
        return self._by_tensor(held)

    def _by_tensor(self, held: Mapping[int, Any]) -> dict[str, Any]:
        found = {}
        for name, (module, part, ours) in self.names.items():
            first = forms(module)[part][ours].names[0].partition("[")[0]
            value = held.get(id(tensor(module, first)))
            if value is not None:
                found[name] = value
        return found

    def _canonical(self, held: Mapping[int, Tensor]) -> dict[str, Array]:
        """Gradients by parameter as "unit/tensor" -> canonical array."""
        found = {}
        doubled = set(self._doubled())
        for name, (module, part, ours) in self.names.items():
            form = forms(module)[part][ours]
            arrays = [_gradient(module, t, held) for t in form.names]
            if any(a is None for a in arrays):
                continue
            array = np.array(form.get(*arrays), order="C")
            found[name] = array / 2 if name in doubled else array
        return found

    def _called(self, arrays: Sequence[Array]) -> Any:
        return self.model(*self.opened.takes(arrays, ()))

    def _step(self, x: list[Tensor], y: Tensor) -> Any:
        self.optimizer.zero_grad()
        loss = self._measured(self.model(*x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def _measured(self, outputs: Any, y: Any) -> Any:
        loss = self.measure(outputs, y)
        self.losses.append(float(loss.detach()))
        self.outputs = _first(outputs).detach()
        return loss

    def step(
        self, arrays: Sequence[Array], y: Array
    ) -> tuple[Config, dict[str, Array]]:
        """One step on one batch: loss, gradients, and what it leaves.

        Raises:
            Refused: The training raised; the line is the user's.
        """
        for held in (self.caught, self.used, self.rates, self.losses):
            held.clear()
        x = self.opened.takes(arrays, ())
        (labels,) = self.opened.takes([y], ())
        torch.manual_seed(self.opened.seed)
        try:
            with _learning(self.model):
                if self.taken is None:
                    loss = self._step(x, labels)
                else:
                    given = x[0] if len(x) == 1 else x
                    loss = self.taken(
                        self.model, self.optimizer, self._measured, given, labels
                    )
        except Exception as error:
            raise Refused(
                f"the torch training must make a step, it raised {told(error)}; mend "
                "that"
            ) from error
        value = float(np.mean(self.losses) if self.losses else loss)
        found = {f"weights/{n}": a for n, a in self.opened.weights().items()}
        gradients, used = (self._canonical(h) for h in (self.caught, self.used))
        same = same_arrays(gradients, used)
        found |= {f"gradient/{n}": a for n, a in gradients.items()}
        found |= {f"used/{n}": a for n, a in used.items() if n not in same}
        if len(self.losses) == 1:
            found["outputs"] = self.outputs.numpy()
        rates = self._by_tensor(self.rates)
        return {"loss": value, "rates": rates, "same": same}, found


def _gradient(module: nn.Module, name: str, held: Mapping[int, Tensor]) -> Array | None:
    """Of one tensor, "weight", or of a third of one, "in_proj_weight[0]"."""
    whole, bracket, part = name.partition("[")
    gradient = held.get(id(tensor(module, whole)))
    if gradient is None:
        return None
    if bracket:
        i, size = int(part[:-1]), len(gradient) // 3
        gradient = gradient[i * size : (i + 1) * size]
    return gradient.numpy()


def _first(outputs: Any) -> Tensor:
    """The first output of a model with some."""
    while not isinstance(outputs, Tensor):
        outputs = next(
            iter(outputs.values() if hasattr(outputs, "values") else outputs)
        )
    return outputs


def _kept(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


@contextmanager
def _learning(model: nn.Module) -> Iterator[None]:
    """While open, the model is in training mode, without dropout."""
    kept = {name: getattr(F, name) for name in DROPPING}
    kept["scaled_dot_product_attention"] = F.scaled_dot_product_attention
    inside = [m for m in model.modules() if isinstance(m, nn.RNNBase) and m.dropout]
    rates = [m.dropout for m in inside]
    for name in DROPPING:
        setattr(F, name, _kept)
    F.scaled_dot_product_attention = _attending(F.scaled_dot_product_attention)
    for module in inside:
        module.dropout = 0.0
    model.train()
    try:
        yield
    finally:
        model.eval()
        for name, function in kept.items():
            setattr(F, name, function)
        for module, rate in zip(inside, rates, strict=True):
            module.dropout = rate


def _attending(attend: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same attention without its dropout."""

    def attending(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Any = None,
        p: float = 0.0,
        *a: Any,
        **w: Any,
    ) -> Tensor:
        w.pop("dropout_p", None)
        return attend(q, k, v, w.pop("attn_mask", mask), 0.0, *a, **w)

    return attending


# --- what the user names ----------------------------------------------------------


def _optimizer(text: str, model: nn.Module) -> torch.optim.Optimizer:
    what = chosen(text, "an optimizer", OPTIMIZERS)
    parameters = [p for p in model.parameters() if p.requires_grad]
    try:
        if isinstance(what, Named):
            cls = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "rmsprop": "RMSprop"}
            cls |= {"adadelta": "Adadelta", "adagrad": "Adagrad"}
            made = getattr(torch.optim, cls[what.name])(parameters, **what.arguments)
        else:
            made = what(parameters)
    except Exception as error:
        raise Refused(
            f"{text} must make an optimizer of the parameters, it raised "
            f"{told(error)}; mend that"
        ) from error
    if not isinstance(made, torch.optim.Optimizer):
        raise Refused(
            f"{text} must give a torch.optim.Optimizer, got {type(made).__name__}; "
            "name a function that returns one"
        )
    return made


Measure = Callable[[Any, Tensor], Tensor]


def _loss(text: str | Config, dtype: str) -> tuple[Measure, Config]:
    """The loss, and what it is in words."""
    if isinstance(text, dict):
        return _worded(text), text
    what = chosen(text, "a loss", LOSSES)
    if isinstance(what, Named):
        words = loss_words(what)
        return _worded(words), words
    try:
        made = what() if isinstance(what, type) or not is_loss(what) else what
    except Exception as error:
        raise Refused(
            f"{text} must give a loss, it raised {told(error)}; mend that"
        ) from error
    if isinstance(made, nn.Module):
        made = made.to(getattr(torch, dtype))
    return made, _words(made)


def _words(loss: Any) -> Config:
    reduction = {"over": getattr(loss, "reduction", "mean")}
    match loss:
        case nn.CrossEntropyLoss():
            words: Config = {"kind": "cross_entropy", "smoothing": loss.label_smoothing}
            if loss.weight is not None:
                words["weights"] = loss.weight.tolist()
                reduction = {"over": "sum" if loss.reduction == "sum" else "weights"}
            return words | reduction
        case nn.NLLLoss():
            return {"kind": "cross_entropy", "given": "log"} | reduction
        case nn.BCEWithLogitsLoss():
            return {"kind": "bce"} | reduction
        case nn.BCELoss():
            return {"kind": "bce", "given": "probabilities"} | reduction
        case nn.MSELoss():
            return {"kind": "mse"} | reduction
    return {"kind": ""} | reduction


def _worded(words: Config) -> Measure:
    """A loss by its words, in float64 exactly as `common.port.losses` has it."""

    def reduced(losses: Tensor, weights: Tensor | float = 1.0) -> Tensor:
        over = words.get("over", "mean")
        total = (losses * weights).sum()
        if over == "sum":
            return total
        whole = over == "weights" and isinstance(weights, Tensor)
        return total / (weights.sum() if whole else losses.numel())

    def measure(outputs: Any, y: Tensor) -> Tensor:
        x = _first(outputs)
        match words["kind"]:
            case "mse":
                return reduced((x - y) ** 2)
            case "bce":
                s = words.get("smoothing", 0.0)
                y = y * (1 - s) + s / 2
                return reduced(
                    F.binary_cross_entropy_with_logits(x, y, reduction="none")
                )
        x = x if x.shape[:-1] == y.shape else x.movedim(1, -1)
        x = x.log_softmax(-1) if words.get("given") != "log" else x
        s = words.get("smoothing", 0.0)
        weights = words.get("weights")
        if weights is None:
            picked = -x.gather(-1, y[..., None])[..., 0]
            return reduced((1 - s) * picked - s * x.mean(-1))
        w = torch.tensor(weights, dtype=x.dtype)
        picked = -x.gather(-1, y[..., None])[..., 0] * w[y]
        even = -(x * w).mean(-1)
        total = ((1 - s) * picked + s * even).sum()
        over = words.get("over", "mean")
        below = {"sum": 1, "weights": w[y].sum(), "mean": y.numel()}[over]
        return total / below

    return measure
