"""One line of the scoreboard, and the papers that the nominal orders are read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorebed.toy.peers.azula_samplers import Azula
from scorebed.toy.peers.kdiffusion import Sampler
from scorebed.toy.peers.schedulers import Drive

DPM = "arXiv:2206.00927"
DPMPP = "arXiv:2211.01095"
EDM = "arXiv:2206.00364"
UNIPC = "arXiv:2302.04867"
DEIS = "arXiv:2204.13902"
PNDM = "arXiv:2202.09778"
SA = "arXiv:2309.05019"
DDIM = "arXiv:2010.02502"
DDPM = "arXiv:2006.11239"
KD = "k-diffusion, sampling.py"
AZ = "azula, docstring"


@dataclass(frozen=True)
class Entry:
    """One line of the scoreboard.

    Attributes:
        order, weak: nominal orders; None where the method is of the other kind; ``weak`` 0 for a stochastic one that claims none.
        source: where the nominal order is claimed.
        defects: keys of ``toy.peers.defects`` that concern it.
        note: what is so by design, or documented by the library.
    """

    library: str
    name: str
    drive: Drive | Sampler | Azula
    order: int | None
    weak: int | None
    source: str
    defects: tuple[str, ...] = ()
    note: str = ""

    @property
    def key(self) -> str:
        """A name for files."""
        return "".join(c if c.isalnum() else "-" for c in f"{self.library}-{self.name}")

    @property
    def stochastic(self) -> bool:
        return self.weak is not None


def label(options: Mapping[str, Any]) -> str:
    """Options as a reader says them."""
    words = []
    for k, v in options.items():
        short = k.removesuffix("_type").removesuffix("_func").removeprefix("use_")
        words.append(short if v is True else f"no {short}" if v is False else f"{short}={v:g}" if isinstance(v, float) else f"{short}={v}")
    return ", ".join(words)
