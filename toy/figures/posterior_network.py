"""What a network's posterior samplers draw behind a mask: mean and std of the samples, image by image, beside the long run's."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scorebed.toy.figures.style import SKY, headline, look


def images(moments: dict[str, tuple[np.ndarray, np.ndarray]], seen: np.ndarray, y: Any, shape: tuple[int, ...]) -> Figure:
    """Two rows of images, mean above std, on the scales of the first entry; in front, the pixels that are seen.

    Args:
        moments: mean (d,) and std (d,) by name; the first is the reference.
        seen: positions of the pixels that are seen, ``y`` their values.
        shape: of an image; its last two axes are drawn, the others at 0.

    Returns:
        the Figure, two rows of images, with the seen pixels in front.
    """
    tall, wide = shape[-2:]
    first_mean, first_std = next(iter(moments.values()))
    given = np.full(first_mean.shape, np.nan)
    given[seen] = np.asarray(y)

    def flat(values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, tall, wide)[0]

    low, high = (float(np.quantile(flat(first_mean), q)) for q in (0.005, 0.995))
    top = float(np.quantile(flat(first_std), 0.995))
    with look():
        figure = Figure(figsize=(1.55 * (len(moments) + 1), 1.75 * 2 * max(1.0, tall / wide / 1.15)), layout="constrained")
        panels = figure.subplots(2, len(moments) + 1)
        panels[0, 0].imshow(flat(given), vmin=low, vmax=high, cmap="gray")
        panels[0, 0].set_title("seen")
        panels[0, 0].set_facecolor(SKY)
        panels[1, 0].set_axis_off()
        for (name, (mean, std)), (above, below) in zip(moments.items(), panels[:, 1:].T, strict=True):
            above.imshow(flat(mean), vmin=low, vmax=high, cmap="gray")
            below.imshow(flat(std), vmin=0.0, vmax=top, cmap="viridis")
            above.set_title(name if float(np.abs(mean).max()) < 10.0 * float(np.abs(first_mean).max()) else f"{name} diverges")
        panels[0, 1].set_ylabel("mean")
        panels[1, 1].set_ylabel("std")
        for axes in panels.ravel():
            axes.set(xticks=[], yticks=[])
        first, *others = moments
        hidden = np.setdiff1d(np.arange(first_mean.size), seen)
        unit = float(np.sqrt(np.mean(first_std[hidden] ** 2)))
        off = {name: float(np.sqrt(np.mean((moments[name][0] - first_mean)[hidden] ** 2))) / unit for name in others}
        if off:
            best = min(off, key=lambda name: off[name])
            spread = float(np.sqrt(np.mean(moments[best][1][hidden] ** 2))) / unit
            said = f"Where nothing is seen, {best} is nearest to the {first}: its mean is off by {off[best]:.2g} of the std there"
            headline(figure, f"{said}, its own std is {spread:.2g} times that.")
    return figure
