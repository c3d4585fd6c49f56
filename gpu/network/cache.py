r"""Real caches: blocks of a network that are asked now and then, and held or extrapolated in between.

    with gpu.cached(network, ["encoder", "blocks.2"], every=2, order=2) as cache:
        x0 = gpu.run(solver, gpu.wrap(network, schedule, "eps"), x, nodes)
    print(cache.calls, cache.made)

A block is a submodule that takes and gives tensors. In the calls of the network that ``rule`` leaves out, the block is not run: its output
is the sum of earlier ones with the weights of ``solvers.reuse`` (hold, polynomial, TaylorSeer), in the number of the call. With the whole
network as the block (the empty name) this is ``reuse`` of the Plan by "index", which the tests hold it to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from scorebed.solvers.reuse import check, every, weights


class Cached:
    """A network with some of its blocks cached, for the time of a ``with``. Made by ``cached``.

    Attributes:
        calls: of the network; ``made``: whether the blocks were run, call by call.
    """

    def __init__(self, network: nn.Module, blocks: Sequence[str], rule: Callable[[int, Any], bool], order: int, shape: str) -> None:
        self.network, self.rule, self.order, self.shape = network, rule, order, shape
        self.blocks = {name: network.get_submodule(name) for name in blocks}
        self.calls, self.made = 0, list[bool]()
        self._past: dict[str, list[tuple[float, Any]]] = {name: [] for name in blocks}
        self._stack = ExitStack()

    def __enter__(self) -> Cached:
        for name, block in self.blocks.items():
            self._stack.callback(setattr, block, "forward", block.forward)
            block.forward = self._held(name, block.forward)
        if "" not in self.blocks:
            handle = self.network.register_forward_pre_hook(self._begin)
            self._stack.callback(handle.remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        for block in self.blocks.values():
            block.__dict__.pop("forward", None)  # the class's own again

    def fresh(self) -> None:
        """Forget everything: another run begins."""
        self.calls = 0
        self.made.clear()
        for past in self._past.values():
            past.clear()

    def _begin(self, module: Any = None, inputs: Any = None) -> None:
        ready = all(self._past.values())
        self.made.append(not ready or bool(self.rule(self.calls, inputs)))
        self.calls += 1

    def _held(self, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if name == "":
                self._begin(inputs=args)
            past, call = self._past[name], float(self.calls - 1)
            if self.made[-1] or (past and _unlike(past[0][1], args)):
                out = forward(*args, **kwargs)
                past.insert(0, (call, _kept(out)))
                del past[self.order :]
                return out
            ws = weights([u for u, _ in past], call, self.shape)
            return _mixed(ws, [value for _, value in past])

        return run


def _unlike(held: Any, args: Sequence[Any]) -> bool:
    """Whether the batch is another one than that of what is held."""
    first = held[0] if isinstance(held, tuple) else held
    given = next((a for a in args if isinstance(a, Tensor) and a.ndim), None)
    return given is not None and isinstance(first, Tensor) and first.ndim > 0 and len(first) != len(given)


def _kept(value: Any) -> Any:
    """What a block gave, in memory of its own."""
    if isinstance(value, tuple):
        return tuple(_kept(part) for part in value)
    if not isinstance(value, Tensor):
        raise TypeError(f"a cached block gave {type(value).__name__}: blocks of tensors, or of tuples of them, can be cached")
    return value.detach().clone() if not torch.is_grad_enabled() else value.clone()


def _mixed(ws: Sequence[float], values: Sequence[Any]) -> Any:
    if isinstance(values[0], tuple):
        return tuple(_mixed(ws, parts) for parts in zip(*values, strict=True))
    out = ws[0] * values[0]
    for w, value in zip(ws[1:], values[1:], strict=True):
        out = out + w * value
    return out


def cached(
    network: nn.Module,
    blocks: Sequence[str] = ("",),
    every_nth: int = 2,
    *,
    order: int = 1,
    shape: str = "polynomial",
    rule: Callable[[int, Any], bool] | None = None,
) -> Cached:
    """Cache blocks of a network for the time of a ``with``.

    Args:
        network: of torch; it is given back as it was.
        blocks: names of submodules (``network.named_modules()``); the empty name is the network itself.
        every_nth: the blocks run in the first ``order`` calls of the network and in every so-manieth after them.
        order: how many earlier outputs stand for a skipped one; 1 holds the last.
        shape: "polynomial" or "taylor".
        rule: (number of the call, inputs of the network) -> whether to run the blocks, in the place of ``every_nth``.

    Returns:
        the Cached, a context manager that gives the network back at its end.

    Raises:
        AttributeError: a block that the network does not have.
        ValueError: numbers that are no positive integers, no block, or the same twice.
    """
    check(order, "index", "denoised", shape, 0)
    names = list(blocks)
    if not names or len(set(names)) != len(names):
        raise ValueError(f"blocks = {names!r}: give names of submodules, each once")
    periodic = every(every_nth, order)
    return Cached(network, names, rule or (lambda call, inputs: periodic(call, None, None)), order, shape)
