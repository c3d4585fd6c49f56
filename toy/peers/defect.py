"""One defect of a peer: where it is, what it costs, and two measurements, before and after it is mended at run time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from scorebed.toy.foreign import Candidate
from scorebed.toy.foreign.guard import quiet, within
from scorebed.toy.measure.sampler import measure, path_error
from scorebed.toy.measure.settings import Setting, even, fine, gentle, own, smooth
from scorebed.toy.peers.entry import Peer
from scorebed.toy.peers.mend import line_of, mended, origin

OWN: Callable[[Candidate], Setting] = smooth
GENTLE: Callable[[Candidate], Setting] = gentle
EVEN: Callable[[Candidate], Setting] = partial(smooth, kind=even)
FINE: Callable[[Candidate], Setting] = fine
SHIPPED: Callable[[Candidate], Setting] = own
IDEAL: Callable[[Candidate], Setting] = partial(own, dtype="float64", network="node")

ORDER, WEAK, ERROR, WORKS = "order", "weak order", "error", "works"


@dataclass(frozen=True)
class Trial:
    """A measurement: the order over ``steps``, the error at the last of them, or whether a run works (1.0 or 0.0); ``spoilt``: of a
    network that returns nan."""

    what: str
    peer: Peer
    setting: Callable[[Candidate], Setting] = GENTLE
    steps: Sequence[int] = (24, 48, 96)
    spoilt: bool = False

    def value(self) -> float:
        """The number; nan where the peer returned nan or raised."""
        with quiet():
            candidate = self.peer.candidate(self.what == WEAK)
            setting = replace(self.setting(candidate), steps=tuple(self.steps), finer=())
            if self.what == WORKS:
                return float(self._works(candidate, setting))
            if self.what == ERROR:
                return path_error(candidate, setting, setting.nodes(self.steps[-1]))[0]
            result = measure(candidate, setting)
        return float("nan") if result.before is None else result.before.slope

    def _works(self, candidate: Candidate, setting: Setting) -> bool:
        """Whether it gives numbers for numbers, or, of a spoilt network, comes back at all."""

        def run() -> bool:
            return all(np.isfinite(path_error(candidate, setting, setting.nodes(n))[0]) for n in self.steps)

        if self.spoilt:
            setting = replace(setting, make=partial(_Spoilt, setting.target))
        try:
            return bool(within(1.5, run))
        except Exception:  # whatever a peer raises is a result
            return False


class _Spoilt:
    """A target whose network returns nan."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)

    def denoised(self, x: Any, node: Any) -> Any:
        return self.target.denoised(x, node) * float("nan")


@dataclass(frozen=True)
class Defect:
    """One defect, or one documented limit, confirmed by a run with it mended.

    Attributes:
        kind: ``defect``: what is computed is not what the library says; ``limit``: documented, or of the published method.
        module, words: the installed file and the words in it that are at fault.
        cause, effect: in a sentence or two.
        fix: the mend in a line, where it is no replacement of words.
        trial: the measurement as shipped.
        mend: the peer of the trial with the defect mended; or ``changes``, words of the source to replace, with the class they change.
        before, after: windows in which the trial's value lies as shipped and mended.
        shows: a program of a few lines that shows it with the library alone.
        also: remarks for the report.
    """

    key: str
    title: str
    kind: str
    library: str
    module: str
    words: str
    cause: str
    effect: str
    trial: Trial
    before: tuple[float, float]
    after: tuple[float, float]
    changes: tuple[tuple[str, str], ...] = ()
    mend: Callable[[Any], Any] | None = None
    mended_setting: Callable[[Candidate], Setting] | None = None
    fix: str = ""
    shows: str = ""
    also: tuple[str, ...] = field(default=())

    @property
    def line(self) -> int:
        """The line of the installed file."""
        return line_of(self.module, self.words)

    @property
    def where(self) -> str:
        """File and line, from the package on."""
        path = origin(self.module)
        depth = self.module.count(".") + 1
        return f"{'/'.join(path.parts[-depth:])}:{self.line}"

    def mended_trial(self) -> Trial:
        """The same measurement with the defect mended in memory."""
        peer = self.trial.peer
        if self.changes:
            module = mended(self.module, *self.changes)
            peer = replace(peer, changed=getattr(module, peer.name))
        if self.mend is not None:
            peer = self.mend(peer)
        return replace(self.trial, peer=peer, setting=self.mended_setting or self.trial.setting)


def subclass(maker: Callable[[Any], Any]) -> Callable[[Peer], Peer]:
    """Mend a peer by a subclass of its scheduler."""
    return lambda peer: replace(peer, changed=maker(peer.made))


def with_options(**options: Any) -> Callable[[Peer], Peer]:
    """Mend a peer by options."""
    return lambda peer: replace(peer, options={**peer.options, **options})
