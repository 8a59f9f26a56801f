"""Tensor names in a stack: the layer and direction that each name belongs to."""

import functools
import re
from collections.abc import Iterable, Sequence

from lstm_jax.interop.layout import Layout

Place = tuple[int | None, bool | None]
"""Layer, and whether it runs backwards; ``None`` for what the name does not say."""

WAYS = {None: "", False: "forward.", True: "backward."}


@functools.cache
def base_names(layout: Layout) -> frozenset[str]:
    """The names of one layer's tensors."""
    return frozenset(name for tensor in layout.tensors for name in tensor.names())


def spell(layout: Layout, layer: int | None, backward: bool | None, name: str) -> str:
    """The name of a tensor in a stack; ``backward`` is ``None`` for one direction."""
    if layer is None:
        return WAYS[backward] + name
    reverse = "_reverse" if backward else ""
    return layout.place.format(
        name=name, layer=layer, way=WAYS[backward], reverse=reverse
    )


def place(layout: Layout, name: str) -> Place | None:
    """The layer and direction of a name; ``None`` if the layout has no such name.

    >>> from lstm_jax.interop import LAYOUTS
    >>> place(LAYOUTS["torch"], "weight_hh_l2_reverse")
    (2, True)
    >>> place(LAYOUTS["keras"], "0.forward.kernel")
    (0, False)
    >>> place(LAYOUTS["keras"], "kernel")
    (None, None)
    """
    base = base_names(layout)
    if name in base:
        return None, None
    match = _pattern(layout.place).fullmatch(name)
    if match is not None and match["name"] in base:
        groups = match.groupdict()
        if "way" in groups:
            return int(match["layer"]), _way(groups["way"])
        return int(match["layer"]), groups["reverse"] is not None
    start, _, rest = name.partition(".")
    if rest in base and "{way}" in layout.place and f"{start}." in WAYS.values():
        return None, _way(f"{start}.")
    return None


def _way(said):
    return next(way for way, text in WAYS.items() if text == (said or ""))


@functools.cache
def _pattern(place):
    pattern = re.escape(place)
    for field, inner in {
        "name": "(?P<name>.+?)",
        "layer": r"(?P<layer>0|[1-9]\d{0,8})",
        "way": r"(?P<way>forward\.|backward\.)?",
        "reverse": "(?P<reverse>_reverse)?",
    }.items():
        pattern = pattern.replace(re.escape("{" + field + "}"), inner)
    return re.compile(pattern, flags=re.ASCII)


def groups_of(layout: Layout, names: Iterable[str]) -> set[str]:
    """The optional groups of tensors that are present, such as the bias."""
    there = {*names}
    places = {at for name in there if (at := place(layout, name))}
    bases = [(t.group, n) for t in layout.tensors if t.group for n in t.names()]
    return {g for g, n in bases for at in places if spell(layout, *at, n) in there}


def uneven(layout: Layout, names: Iterable[str]) -> list[str]:
    """Tensors that some layers or directions have and others lack, such as a bias.

    >>> from lstm_jax.interop import LAYOUTS
    >>> uneven(LAYOUTS["keras"], ["0.kernel", "1.kernel", "1.bias"])
    ['0.bias is missing, though there is a bias elsewhere']
    """
    names = {*names}
    places = {at for name in names if (at := place(layout, name))}
    problems = []
    for group in {t.group: None for t in layout.tensors if t.group}:
        own = [n for t in layout.tensors if t.group == group for n in t.names()]
        spelled = [spell(layout, *at, name) for at in places for name in own]
        missing = sorted({*spelled} - names)
        if len(missing) < len(spelled):
            problems += [
                f"{name} is missing, though there is a {group} elsewhere"
                for name in missing
            ]
    return problems


def layers_and_ways(
    layout: Layout, places: Iterable[Place], count: int, problems: list[str]
) -> tuple[Sequence[int | None], list[bool | None]]:
    """All layers and directions that must exist, given the places of the tensors.

    ``count`` is the number of tensors. Contradictions are added to ``problems``.
    """
    numbers, ways = ({*part} for part in zip(*places, strict=True))
    if (None in numbers and len(numbers) > 1) or (None in ways and len(ways) > 1):
        problems.append("names of one cell, one direction and two directions are mixed")
    elif None not in numbers and max(numbers) >= count:
        problems.append(f"layer {max(numbers)} is named by one of {count} tensors")
    if problems:
        return [], []
    layers = [None] if None in numbers else range(max(numbers) + 1)
    if ways == {False} and "{way}" not in layout.place:
        return layers, [None]
    return layers, [None] if None in ways else [False, True]
