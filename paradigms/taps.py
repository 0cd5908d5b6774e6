"""Record and edit activations inside a network, by forward hooks that are always removed."""

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paradigms.contract import Edit, Inputs


@dataclass(frozen=True)
class Site:
    """Where an activation passes: the output of ``module``, or one of its arguments.

    Attributes:
        module: The module to hook.
        argument: Name of the argument of ``module.forward``, or its position; ``None`` means the output.
        index: Position inside the output or the argument, where that is a tuple.
        groups: Copies of the batch that pass, stacked in the first dimension.
        once: Whether a generation passes here once, also where the network runs once per timestep.
        method: What of ``module`` takes the argument, if it is not called itself.
    """

    module: nn.Module
    argument: str | int | None = None
    index: int | None = None
    groups: int = 1
    once: bool = False
    method: str = "forward"


def intercept(site: Site, replace: Callable[[Any], Any]) -> Callable[[], None]:
    """Put ``replace(activation)`` in the place of each activation that passes ``site``.

    Returns:
        What ends it. Of several at one method that PyTorch does not hook, the last one ends first.
    """
    module, argument, index = site.module, site.argument, site.index

    def replaced(value: Any) -> Any:
        return replace(value) if index is None else (*value[:index], replace(value[index]), *value[index + 1 :])

    if argument is None:
        return module.register_forward_hook(lambda _module, _args, output: replaced(output)).remove
    called = getattr(module, site.method)
    position = argument if isinstance(argument, int) else list(inspect.signature(called).parameters).index(argument)

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        if argument in kwargs:
            return args, kwargs | {argument: replaced(kwargs[argument])}
        return (*args[:position], replaced(args[position]), *args[position + 1 :]), kwargs

    if site.method == "forward":
        return module.register_forward_pre_hook(before, with_kwargs=True).remove

    @functools.wraps(called)
    def call(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = before(module, args, kwargs)
        return called(*args, **kwargs)

    # PyTorch hooks calls of the module alone. What is set here hides the method of its class, or an earlier hook.
    hidden = vars(module).get(site.method)
    setattr(module, site.method, call)
    return lambda: setattr(module, site.method, hidden) if hidden else delattr(module, site.method)


class _Tap:
    """Edits and then records one activation each time the network runs; the runs are the steps."""

    def __init__(self, name: str, edit: Edit | None, record: bool, groups: int, first_step: int) -> None:
        self.name, self.edit, self.record, self.groups = name, edit, record, groups
        self.step = first_step
        self.values: list[Tensor] = []

    def __call__(self, activation: Tensor) -> Tensor:
        grouped = self._by_image(activation)
        if self.edit is not None:
            # A clone, since a trunk is the same tensor as the last skip and an edit may write in place.
            activation = activation.clone()
            grouped = self._by_image(activation)
            edited = self.edit(grouped, self.step)
            if edited.shape != grouped.shape:
                raise ValueError(
                    f"the edit of {self.name!r} returned shape {tuple(edited.shape)}, not {tuple(grouped.shape)}"
                )
            if edited is not grouped:
                # In the activation's own layout: a convolution picks its kernel, and so its rounding, by the strides.
                activation = torch.empty_like(activation)
                grouped = self._by_image(activation).copy_(edited)
        if self.record:
            self.values.append(grouped.detach())
        self.step += 1
        return activation

    def _by_image(self, activation: Tensor) -> Tensor:
        """A view. Guidance stacks its halves in the batch: (G·N, …) is seen as (N, G, …)."""
        return activation.unflatten(0, (self.groups, -1)).transpose(0, 1) if self.groups > 1 else activation


@contextmanager
def tapped(
    sites: Mapping[str, Site],
    inputs: Inputs,
    *,
    record: Collection[str],
    edits: Mapping[str, Edit] | None,
    stepwise: bool = False,
    first_step: int = 0,
) -> Iterator[dict[str, Tensor]]:
    """Record and edit at ``sites`` while the body runs; the recorded values are in the yielded dict afterwards.

    Args:
        sites: Where each candidate that is not an input lives.
        inputs: The inputs of the generation; recording one of them returns it as it is.
        record: Names of the candidates to record.
        edits: Edits by candidate name.
        stepwise: Whether the network runs once per timestep: values of sites that it does not pass once are (N, T, …)
            then, else (N, …).
        first_step: Number of the step at which the body starts.

    Raises:
        ValueError: A name is no candidate, an edit is asked of an input, or an edit returned another shape.
    """
    edits = edits or {}
    for name in (*record, *edits):
        if name not in sites and name not in inputs:
            raise ValueError(f"{name!r} is no candidate of this model; it has {', '.join((*inputs, *sites))}")
    for name in edits:
        if name in inputs:
            raise ValueError(f"{name!r} is an input: replace inputs[{name!r}] instead of editing it")
    taps = {
        name: _Tap(name, edits.get(name), name in record, sites[name].groups, first_step)
        for name in sites
        if name in record or name in edits
    }
    values: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, tap in taps.items():
            stack.callback(intercept(sites[name], tap))
        yield values
    for name in record:
        if name in inputs:
            values[name] = inputs[name]
        elif stepwise and not sites[name].once:
            values[name] = torch.stack(taps[name].values, dim=1)
        else:
            (values[name],) = taps[name].values
