r"""Decoding: showing masked tokens a number at a time, in an order that a rule chooses. ``DECODERS`` has the rules by name.

In every step a rule gets the clean conditionals p and says which masked tokens are shown, and as what. With the exact model, one token at a
time, the output has the law of the data for every rule that chooses the place before it draws the value (``exact``): whatever the order,
that is the chain rule. A rule that draws first and keeps what looks best has another law, however many steps it takes. Several tokens at
once lose their conditional total correlation besides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from typing import Any

from scorebed.solvers.draws import Draw, KeyedDraws
from scorebed.solvers.noise import BrownianNoise, fresh_seed
from scorebed.solvers.process.jump import JumpProcess
from scorebed.solvers.state import Array

Rule = Callable[..., tuple[Array, ...]]
"""``rule(p, hidden, count, draw, **options)``: p (B, L, S), ``hidden`` (B, L) of 0 and 1, how many to show, the draws. Gives which
are shown, (B, L) of 0 and 1, and the values, (B, L) integers. A rule that plans is told ``x`` and ``node`` besides, and also gives which
known tokens are masked again."""


@dataclass(frozen=True)
class Decoder:
    """A rule with what is claimed of it.

    Attributes:
        exact: whether one token at a time, with the exact model, has the law of the data.
        options: keywords of the rule.
        plans: whether it masks known tokens again.
    """

    name: str
    rule: Rule
    reference: str
    exact: bool
    options: dict[str, Any] = field(default_factory=dict)
    plans: bool = False

    def __call__(self, **options: Any) -> Decoder:
        """The same rule with other options."""
        return replace(self, rule=partial(self.rule, **options), options={**self.options, **options})

    def step(self, model: Any, x: Array, node: Any, count: int, draw: Draw) -> Array:
        """The states after one step, in which ``count`` of the masked tokens are shown, or all where fewer are left."""
        mask = node.process.mask
        hidden = 1 * (x == mask)
        told = {"x": x, "node": node} if self.plans else {}
        shown, value, *again = self.rule(model(x, node), hidden, count, draw, **told)
        y = x + (shown * hidden > 0) * (value - x)
        return y + (again[0] * (1 - hidden) > 0) * (mask - y) if again else y


DECODERS: dict[str, Decoder] = {}
"""Every rule by name."""


def decoder(*, reference: str, exact: bool, plans: bool = False) -> Callable[[Rule], Decoder]:
    """Enter a rule in ``DECODERS`` under the function's name.

    Returns:
        decorator that makes a rule a Decoder and enters it in ``DECODERS``.

    Raises:
        ValueError: the name is taken.
    """

    def make(rule: Rule) -> Decoder:
        name = str(getattr(rule, "__name__", "rule"))
        if name in DECODERS:
            raise ValueError(f"a decoder called {name!r} is registered already")
        DECODERS[name] = Decoder(name, rule, reference, exact, plans=plans)
        return DECODERS[name]

    return make


def equal_sizes(tokens: int, steps: int) -> list[int]:
    """How many tokens to show in each of ``steps`` steps, as equal as can be, the larger ones last.

    Returns:
        list of ``steps`` integers with sum ``tokens``.

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"steps = {steps!r}: give at least 1")
    steps = min(steps, tokens)
    return [tokens * (i + 1) // steps - tokens * i // steps for i in range(steps)]


def decode(
    how: Decoder, model: Any, x: Array, process: JumpProcess, sizes: Sequence[int] | int, *, noise: int | BrownianNoise | None = None
) -> Array:
    """Show the masked tokens of x, a number at a time.

    Args:
        how: a rule of ``DECODERS``.
        model: (x, node) -> p(x0^i = k | x), (B, L, S).
        x: states (B, L), integers; tokens that are known stay.
        process: with a mask.
        sizes: how many more are to be known after each step, or the number of steps. A rule that plans takes steps of 0 too, in which it
            may mask one token and show another.
        noise: a seed, or a source of keyed draws; None is a fresh seed.

    Returns:
        States (B, L); masks are left where the sizes do not reach.

    Raises:
        ValueError: a process without a mask, states that are none, or sizes below 1.
    """
    if not process.absorbing:
        raise ValueError(f"{how.name} shows masked tokens, and this process has no mask: use kernel='absorbing'")
    process.check(x)
    length = int(x.shape[-1])
    counts = equal_sizes(length, sizes) if isinstance(sizes, int) else list(sizes)
    if not counts or min(counts) < (not how.plans):
        raise ValueError(f"sizes = {sizes!r}: give at least one number, each at least 1")
    source = noise if isinstance(noise, BrownianNoise) else BrownianNoise(fresh_seed() if noise is None else noise, tuple(x.shape))
    places = [0, *accumulate(max(count, 1) for count in counts)]  # a step of 0 has draws of its own
    total, known, most = max(length, places[-1]), 0, max(length, sum(counts))
    for count, here, there in zip(counts, places[:-1], places[1:], strict=True):
        draw = KeyedDraws(source, process.at(here / total), process.at(there / total))
        x = how.step(model, x, process.at(known / most), count, draw)
        known += count
    return x
