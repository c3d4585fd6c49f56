"""The dark copy of a figure: greys change places, colours of solvers stay what they are, lightened where a dark ground would swallow them.

A figure is drawn once, on paper; its copy for a dark slide is made from the finished figure, so that no figure function knows of themes.
"""

from __future__ import annotations

import colorsys
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgba
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

GROUND = 0.09
"""Lightness of the dark paper."""
_PALE = 0.95  # the lightness that black becomes
_LEAST = 0.52  # the least lightness of a colour that must be seen on the dark paper


def _night(colour: Any) -> Any:
    """A colour for the dark ground: greys mirrored, hues kept and lightened as far as needed."""
    if isinstance(colour, str) and colour in ("none", "auto", "inherit"):
        return colour
    r, g, b, a = to_rgba(colour)
    if a == 0.0:
        return "none"
    hue, lightness, saturation = colorsys.rgb_to_hls(r, g, b)
    if saturation < 0.12 or lightness in (0.0, 1.0):
        lightness = _PALE + (GROUND - _PALE) * lightness
    elif lightness > 0.8:
        lightness = GROUND + (1.0 - lightness)  # a tint of the paper
    else:
        if lightness < _LEAST:
            lightness, saturation = _LEAST, min(saturation, 0.75)
    return (*colorsys.hls_to_rgb(hue, lightness, saturation), a)


def _map(cmap: Colormap) -> Colormap:
    """A map that begins at the colour of the paper begins at the dark paper; maps with colours at both ends stay."""
    first = cmap(0.0)
    if min(first[:3]) < 0.97:
        return cmap
    ends = [_night(first), *(cmap(v) for v in np.linspace(1.0, 0.55, 5))]
    return LinearSegmentedColormap.from_list(f"{cmap.name}-dark", ends)


def _redo(get: Callable[[], Any], put: Callable[[Any], Any]) -> None:
    colours = get()
    if isinstance(colours, np.ndarray) and colours.ndim == 2:
        if len(colours):
            put([_night(colour) for colour in colours])
    elif colours is not None:
        put(_night(colours))


def dark(figure: Figure) -> Figure:
    """A copy of ``figure`` for a dark ground; the figure itself is not changed."""
    figure = pickle.loads(pickle.dumps(figure))  # our own figure, from memory
    figure.draw_without_rendering()  # ticks and legends exist only then
    seen: set[int] = set()
    for artist in figure.findobj():
        if id(artist) in seen:
            continue
        seen.add(id(artist))
        if isinstance(artist, Text):
            _redo(artist.get_color, artist.set_color)
            box = artist.get_bbox_patch()
            if box is not None and id(box) not in seen:
                seen.add(id(box))
                _redo(box.get_facecolor, box.set_facecolor)
                _redo(box.get_edgecolor, box.set_edgecolor)
        elif isinstance(artist, Line2D):
            line, face, edge = (_night(c) for c in (artist.get_color(), artist.get_markerfacecolor(), artist.get_markeredgecolor()))
            artist.set(color=line, markerfacecolor=face, markeredgecolor=edge)
        elif isinstance(artist, Patch):
            face, edge = artist.get_facecolor(), artist.get_edgecolor()
            artist.set_facecolor(_night(face))
            artist.set_edgecolor(_night(edge))
        elif isinstance(artist, ContourSet) and artist.colors is not None:
            artist.set_array(None)
            artist.set(facecolor=[_night(c) for c in artist.get_facecolor()], edgecolor=[_night(c) for c in artist.get_edgecolor()])
        elif isinstance(artist, Collection) and artist.get_array() is not None:
            artist.set_cmap(_map(artist.get_cmap()))
        elif isinstance(artist, Collection):
            _redo(artist.get_facecolor, artist.set_facecolor)
            _redo(artist.get_edgecolor, artist.set_edgecolor)
        elif isinstance(artist, AxesImage) and (values := artist.get_array()) is not None and values.ndim == 2:
            artist.set_cmap(_map(artist.get_cmap()))
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            # ticks made later are coloured by these
            tick, label = axis.get_tick_params().get("color"), axis.get_tick_params().get("labelcolor")
            axis.set_tick_params(**{k: _night(v) for k, v in (("color", tick or "#6b6b6b"), ("labelcolor", label or "#222222"))})
    return figure
