"""PyTorch in and out: an `nn.Sequential` becomes a network, and a network an `nn.Sequential`.

Nothing is computed here. Each of PyTorch's classes that a network knows stands in one table, with the
options under which it is the same function or rule; every other class or option is named in the error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import lr_scheduler as schedulers
from torch.optim.lr_scheduler import LRScheduler

from gradsheet.errors import NetworkError
from gradsheet.network import CLASS_LOSSES, Layer, Matrix, Network
from gradsheet.optimizers import OPTIMIZERS


class _Same(NamedTuple):
    """A function of PyTorch and the options under which it is the one that a network knows."""

    name: str
    make: Callable[[], nn.Module]
    options: Mapping[str, Any] = {}


_ACTIVATIONS: Mapping[type[nn.Module], _Same] = {
    nn.Sigmoid: _Same("sigmoid", nn.Sigmoid),
    nn.Tanh: _Same("tanh", nn.Tanh),
    nn.ReLU: _Same("relu", nn.ReLU),
    nn.LeakyReLU: _Same("leaky_relu", nn.LeakyReLU, {"negative_slope": 0.01}),
    nn.Identity: _Same("identity", nn.Identity),
    nn.Softplus: _Same("softplus", nn.Softplus, {"beta": 1, "threshold": 20}),
    nn.ELU: _Same("elu", nn.ELU, {"alpha": 1.0}),
    nn.GELU: _Same("gelu", lambda: nn.GELU(approximate="tanh"), {"approximate": "tanh"}),
    nn.SiLU: _Same("silu", nn.SiLU),
    nn.Softmax: _Same("softmax", lambda: nn.Softmax(dim=-1), {"dim": (-1, 1)}),
}
_LOSSES: Mapping[type[nn.Module], _Same] = {
    nn.MSELoss: _Same("mean_squared_error", nn.MSELoss),
    nn.L1Loss: _Same("mean_absolute_error", nn.L1Loss),
    nn.HuberLoss: _Same("huber", nn.HuberLoss, {"delta": 1.0}),
    nn.SmoothL1Loss: _Same("huber", nn.SmoothL1Loss, {"beta": 1.0}),
    nn.BCELoss: _Same("binary_cross_entropy", nn.BCELoss, {"weight": None}),
    nn.BCEWithLogitsLoss: _Same(
        "binary_cross_entropy", nn.BCEWithLogitsLoss, {"weight": None, "pos_weight": None}
    ),
    nn.CrossEntropyLoss: _Same(
        "softmax_cross_entropy",
        nn.CrossEntropyLoss,
        {"weight": None, "ignore_index": -100, "label_smoothing": 0.0},
    ),
}


class _Rule(NamedTuple):
    """What a network calls an optimizer or a scheduler of PyTorch, and each of its options."""

    name: str
    settings: Mapping[str, str]


_DECAY = {"weight_decay": "weight_decay"}
_ADAM = {"beta1": "beta1", "beta2": "beta2", "eps": "epsilon", **_DECAY}
_OPTIMIZERS: Mapping[type[torch.optim.Optimizer], _Rule] = {
    torch.optim.SGD: _Rule("sgd", {"momentum": "momentum", "dampening": "dampening", **_DECAY}),
    torch.optim.Adagrad: _Rule("adagrad", {"eps": "epsilon", **_DECAY}),
    torch.optim.RMSprop: _Rule("rmsprop", {"alpha": "alpha", "eps": "epsilon", **_DECAY}),
    torch.optim.Adam: _Rule("adam", _ADAM),
    torch.optim.AdamW: _Rule("adamw", _ADAM),
}
_OTHER_OPTIONS = (
    *("lr", "initial_lr", "nesterov", "decoupled_weight_decay"),  # read where they are needed
    *("param_names", "foreach", "fused", "capturable", "differentiable"),  # change no number
)
_SCHEDULERS: Mapping[type[LRScheduler], _Rule] = {
    schedulers.StepLR: _Rule("step", {"step_size": "step_size", "gamma": "step_factor"}),
    schedulers.LinearLR: _Rule(
        "warmup", {"start_factor": "start_factor", "total_iters": "warmup_steps"}
    ),
    schedulers.CosineAnnealingLR: _Rule("cosine", {"T_max": "period", "eta_min": "minimum_rate"}),
}
SUPPORTED = f"nn.Sequential of Linear and {', '.join(kind.__name__ for kind in _ACTIVATIONS)}"


def from_torch(
    module: nn.Module,
    x: Any,
    y: Any,
    *,
    loss: str | nn.Module = "mean_squared_error",
    learning_rate: float | None = None,
    optimizer: str | torch.optim.Optimizer = "sgd",
    scheduler: str | LRScheduler | None = None,
    name: str = "from PyTorch",
    description: str = "",
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
) -> Network:
    """A network with the layers and the present weights of an `nn.Sequential`.

    ``module`` holds Linear layers, each with at most one activation behind it; Sequentials within it are
    opened. ``x`` has the shape (samples, inputs); ``y`` (samples, outputs), or (samples,) for one output
    or, as whole numbers from 0, for classes. ``loss`` is the name of one, or PyTorch's own module for
    it: behind ``BCEWithLogitsLoss`` the last layer gets the sigmoid that is part of that loss.

    ``optimizer`` and ``scheduler`` are the names of ones of gradsheet, or PyTorch's own, made for the
    module and before their first step; the learning rate, 0.5 by default, and all hyper-parameters are
    then theirs. One step of the scheduler follows on each of the optimizer.

    Every weight is kept exactly. Raises `NetworkError`, which names the layer or the option, for what a
    network cannot be.
    """
    layers = _layers(module)
    if isinstance(loss, nn.Module):
        chosen = _same(loss, _LOSSES, f"loss {type(loss).__name__}", "one of gradsheet's by its name")
        if getattr(loss, "reduction", "mean") != "mean":
            raise NetworkError(
                f"loss {type(loss).__name__}: reduction={loss.reduction!r} is not supported; use 'mean'"
            )
        if isinstance(loss, nn.BCEWithLogitsLoss):
            layers[-1] = _with_sigmoid(layers[-1])
        loss = chosen.name
    inputs = _rows(x, "x")
    targets = _rows(y, "y")
    if loss in CLASS_LOSSES and targets and len(targets[0]) == 1:
        targets = _one_hot(targets, layers[-1].neurons)
    settings: dict[str, float] = {}
    if isinstance(scheduler, LRScheduler):
        if scheduler.optimizer is not optimizer:
            raise NetworkError(
                f"scheduler {type(scheduler).__name__}: was made for another optimizer; give that too"
            )
        scheduler, settings = _scheduler(scheduler)
    elif isinstance(optimizer, torch.optim.Optimizer) and "initial_lr" in optimizer.param_groups[0]:
        raise NetworkError(
            f"optimizer {type(optimizer).__name__}: a scheduler changes its learning rate; give "
            "that as scheduler"
        )
    if isinstance(optimizer, torch.optim.Optimizer):
        if learning_rate is not None:
            raise NetworkError(
                f"learning_rate: the optimizer {type(optimizer).__name__} has one already; leave it out"
            )
        optimizer, learning_rate, own = _optimizer(optimizer, module)
        settings |= own
    return Network(
        name=name,
        description=description,
        layers=tuple(layers),
        loss=loss,
        inputs=inputs,
        targets=targets,
        learning_rate=0.5 if learning_rate is None else learning_rate,
        optimizer=optimizer,
        schedule="constant" if scheduler is None else scheduler,
        hyperparameters=settings,
        input_names=tuple(input_names),
        output_names=tuple(output_names),
    )


def to_torch(network: Network, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """The `nn.Sequential` of a network, with its weights; biases that it does not train are frozen.

    For the softmax cross-entropy, as for `nn.CrossEntropyLoss`, it gives the sums, for all other losses
    the outputs. Raises `NetworkError` for biases that the neurons of a layer share.
    """
    modules: list[nn.Module] = []
    known = {same.name: same for same in _ACTIVATIONS.values()}
    for number, layer in enumerate(network.layers, 1):
        if layer.shared_bias and layer.neurons > 1:
            raise NetworkError(
                f"layers[{number}]: its neurons share one bias, but nn.Linear has one for each; "
                "give each its own"
            )
        linear = nn.Linear(layer.fan_in, layer.neurons, bias=bool(layer.biases), dtype=dtype)
        linear.weight.data = torch.tensor(layer.weights, dtype=dtype)
        if layer.biases:
            linear.bias.data = torch.tensor(layer.biases, dtype=dtype)
            linear.bias.requires_grad_(layer.train_biases)
        modules.append(linear)
        if layer.activation != "identity":
            modules.append(known[layer.activation].make())
    return nn.Sequential(*modules)


# ---------------------------------------------------------------- layers


def _layers(module: nn.Module) -> list[Layer]:
    layers: list[Layer] = []
    open_layer = False  # whether the last layer may still get its activation
    seen: set[int] = set()
    for where, part in _parts(module, ""):
        if id(part) in seen and isinstance(part, nn.Linear):
            raise NetworkError(
                f"{where}: stands in the module twice, so its weights are shared; copy it"
            )
        seen.add(id(part))
        if type(part) is nn.Linear:
            layers.append(_linear(part, where))
            open_layer = True
        else:
            same = _same(part, _ACTIVATIONS, where, SUPPORTED)
            if not open_layer:
                raise NetworkError(f"{where}: has no Linear layer of its own before it; put one there")
            last = layers[-1]
            layers[-1] = Layer(same.name, last.weights, last.biases, train_biases=last.train_biases)
            open_layer = False
    if not layers:
        raise NetworkError(f"{type(module).__name__} has no Linear layer; give an {SUPPORTED}")
    return layers


def _parts(module: nn.Module, where: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules in order with a name for errors, such as ``layer 0, Linear``; Sequentials opened."""
    here = f"layer {where}, {type(module).__name__}" if where else type(module).__name__
    if any(getattr(module, hooks) for hooks in ("_forward_hooks", "_forward_pre_hooks")):
        raise NetworkError(f"{here}: has hooks, which a sheet cannot show; remove them")
    if not isinstance(module, nn.Sequential):
        yield here, module
        return
    if type(module).forward is not nn.Sequential.forward:
        raise NetworkError(f"{here}: has a forward of its own; give an {SUPPORTED}")
    for name, child in module._modules.items():  # `named_children` leaves out what comes again
        yield from _parts(child, f"{where}.{name}" if where else name)


def _linear(part: nn.Linear, where: str) -> Layer:
    if not part.weight.requires_grad:
        raise NetworkError(f"{where}: its weights are frozen, but a network trains all; unfreeze them")
    biases: tuple[float, ...] = ()
    if part.bias is not None:
        biases = tuple(part.bias.detach().double().tolist())
    trains = part.bias is None or part.bias.requires_grad
    weights = tuple(map(tuple, part.weight.detach().double().tolist()))
    return Layer("identity", weights, biases, train_biases=trains)


def _same(part: nn.Module, known: Mapping[type[nn.Module], _Same], where: str, instead: str) -> _Same:
    """What a network calls a module of PyTorch, if its options are those of the network."""
    same = known.get(type(part))
    if same is None:
        raise NetworkError(f"{where}: is not supported; give {instead}")
    for option, wanted in same.options.items():
        value = getattr(part, option)
        if value not in (wanted if isinstance(wanted, tuple) else (wanted,)):
            shown = wanted[0] if isinstance(wanted, tuple) else wanted
            raise NetworkError(f"{where}: {option}={value!r} is not supported; use {option}={shown!r}")
    return same


def _with_sigmoid(layer: Layer) -> Layer:
    if layer.activation != "identity":
        raise NetworkError(
            f"loss BCEWithLogitsLoss: takes plain sums, but the last activation is {layer.activation}; "
            "leave that out, or use BCELoss behind a Sigmoid"
        )
    return Layer("sigmoid", layer.weights, layer.biases, train_biases=layer.train_biases)


# ---------------------------------------------------------------- optimizers


def _optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module
) -> tuple[str, float, dict[str, float]]:
    """What a network calls an optimizer; its learning rate and its hyper-parameters."""
    where = f"optimizer {type(optimizer).__name__}"
    rule = _OPTIMIZERS.get(type(optimizer))
    if rule is None:
        known = ", ".join(kind.__name__ for kind in _OPTIMIZERS)
        raise NetworkError(f"{where}: is not supported; give {known}, or one of gradsheet's by its name")
    steps = [state.get("step", "momentum_buffer" in state) for state in optimizer.state.values()]
    if any(steps):
        raise NetworkError(
            f"{where}: has taken steps already, but a sheet begins with the first; make a new one"
        )
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    for group in groups[1:]:
        for option, value in group.items():
            if value != groups[0].get(option):
                raise NetworkError(
                    f"{where}: {option} is {groups[0].get(option)!r} for some parameters and {value!r} "
                    "for others, but a network has one for all; use one group"
                )
    given = {id(p) for group in optimizer.param_groups for p in group["params"]}
    trained = {id(p) for p in module.parameters() if p.requires_grad}
    if not trained <= given <= {id(p) for p in module.parameters()}:
        raise NetworkError(
            f"{where}: its parameters are not those of the module; make it of module.parameters()"
        )
    options = groups[0]
    if "betas" in options:
        options["beta1"], options["beta2"] = options.pop("betas")
    for option, value in options.items():
        if value and option not in (*rule.settings, *_OTHER_OPTIONS):
            raise NetworkError(f"{where}: {option}={value!r} is not supported; leave it out")
    name = rule.name
    if options.get("momentum"):
        name = "nesterov" if options["nesterov"] else "momentum"
    elif options.get("decoupled_weight_decay"):
        name = "adamw"
    known_here = OPTIMIZERS[name].hyperparameters
    settings = {
        own: float(options[theirs]) for theirs, own in rule.settings.items() if own in known_here
    }
    return name, float(options.get("initial_lr", options["lr"])), settings


def _scheduler(scheduler: LRScheduler) -> tuple[str, dict[str, float]]:
    """What a network calls a scheduler, and its hyper-parameters."""
    where = f"scheduler {type(scheduler).__name__}"
    rule = _SCHEDULERS.get(type(scheduler))
    if rule is None:
        known = ", ".join(kind.__name__ for kind in _SCHEDULERS)
        raise NetworkError(f"{where}: is not supported; give {known}, or one of gradsheet's by its name")
    if scheduler.last_epoch:
        raise NetworkError(
            f"{where}: has taken steps already, but a sheet begins with the first; make a new one"
        )
    end = getattr(scheduler, "end_factor", 1.0)
    if end != 1.0:
        raise NetworkError(f"{where}: end_factor={end!r} is not supported; use end_factor=1.0")
    options = vars(scheduler)
    return rule.name, {own: float(options[theirs]) for theirs, own in rule.settings.items()}


# ---------------------------------------------------------------- samples


def _rows(values: Any, where: str) -> Matrix:
    """Numbers as rows, of float64; one number a sample becomes a row of its own."""
    try:
        # plain numbers straight to float64: by way of float32 they would lose digits
        dtype = None if isinstance(values, torch.Tensor) else torch.float64
        array = torch.as_tensor(values, dtype=dtype).detach().double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise NetworkError(f"{where}: is no table of numbers ({error}); give a tensor") from None
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise NetworkError(
            f"{where}: has the shape {tuple(array.shape)}; give one row of numbers a sample"
        )
    return tuple(tuple(map(float, row)) for row in array.tolist())


def _one_hot(targets: Matrix, classes: int) -> Matrix:
    for number, (label,) in enumerate(targets, 1):
        if label not in range(classes):
            raise NetworkError(
                f"y: label {label:g} of sample {number} is out of range; with {classes} outputs, labels "
                f"are whole numbers from 0 to {classes - 1}"
            )
    return tuple(tuple(float(label == k) for k in range(classes)) for (label,) in targets)
