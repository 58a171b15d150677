"""The layer table as text: cells of rows, bars of stages, Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from enxuto.escaping import markdown_text
from enxuto.summary.cost import CONVENTION
from enxuto.summary.table import COUNTS, Count, Layer, Stage, Summary, Volume

__all__ = [
    "LAYER_COLUMNS",
    "STAGE_COLUMNS",
    "bar",
    "layer_cells",
    "markdown",
    "stage_cells",
    "totals",
    "volume",
]

LAYER_COLUMNS: Mapping[str, str] = {
    "layer": "left",
    "operator": "left",
    "input": "right",
    "output": "right",
    "window": "left",
    "parameters": "right",
    "no bias": "right",
    "activ.": "right",
    "memory": "right",
    "MACs": "right",
    "FLOPs": "right",
    "field": "right",
}
STAGE_COLUMNS: Mapping[str, str] = {
    "stage": "left",
    "layers": "right",
    "output": "right",
    "parameters": "right",
    " ": "left",
    "activations": "right",
    "  ": "left",
    "MACs": "right",
    "   ": "left",
}
_SHORT_NAMES = {
    "BatchNormalization": "BatchNorm",
    "AveragePool": "AvgPool",
    "GlobalAveragePool": "GlobalAvgPool",
    "InstanceNormalization": "InstanceNorm",
    "LayerNormalization": "LayerNorm",
    "GroupNormalization": "GroupNorm",
}
_EIGHTHS = " ▏▎▍▌▋▊▉"
_BAR = 12  # characters


def layer_cells(layer: Layer, count: Count = "all", *, exact: bool = False) -> list[str]:
    """One row of `LAYER_COLUMNS`. Parameters are exact; the larger numbers too with `exact`, else 1.23 M.

    A window is written kernel, s for stride, p for padding, then, where they are not 1, d for dilation and g for
    groups; a receptive field size/stride in pixels.
    """
    activations = layer.count_activations(count)
    big = _number if exact else _short
    return [
        layer.name,
        _SHORT_NAMES.get(layer.operator, layer.operator),
        volume(layer.inputs[0]) + (f" +{len(layer.inputs) - 1}" if len(layer.inputs) > 1 else ""),
        volume(layer.output),
        _window(layer),
        _number(layer.parameters),
        _number(layer.weights),
        big(activations),
        _memory(4 * activations, exact=exact),
        big(layer.macs),
        big(layer.flops),
        _field(layer),
    ]


def stage_cells(stages: Sequence[Stage]) -> list[list[str]]:
    """Rows of `STAGE_COLUMNS`; bars are shares of the whole network."""
    sums = [
        sum(s.parameters for s in stages),
        sum(s.activations for s in stages),
        sum(s.macs for s in stages),
    ]
    rows = []
    for stage in stages:
        parts = (stage.parameters, stage.activations, stage.macs)
        cells = [stage.name, str(len(stage.layers)), volume(stage.layers[-1].output)]
        for part, whole in zip(parts, sums, strict=True):
            cells += [_number(part), bar(part, whole)]
        rows.append(cells)
    return rows


def bar(part: int, whole: int) -> str:
    """A bar as long as the share of `part` in `whole`, with the share in per cent."""
    share = part / whole if whole else 0.0
    eighths = round(share * _BAR * 8)
    drawn = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    return f"{drawn:<{_BAR}} {100 * share:4.1f} %"


def totals(summary: Summary, count: Count = "all") -> list[str]:
    """The sums, one line each, with what they count."""
    activations = summary.activations(count)
    return [
        f"parameters {summary.parameters:,} ({summary.weights:,} without biases)",
        f"activations {activations:,}, {4 * activations:,} B in float32 ({COUNTS[count]})",
        f"MACs {summary.macs:,}, FLOPs {summary.flops:,}",
        CONVENTION,
        "window: kernel, s stride, p padding, d dilation, g groups; field: size/stride in pixels of the image, padding "
        "counted as image; K, M, G: 10³, 10⁶, 10⁹",
    ]


def markdown(summary: Summary, *, depth: int | None = None, count: Count = "all") -> str:
    """The table in Markdown: rows, or with `depth` one row a block, then totals."""
    if depth is None:
        table = _table(LAYER_COLUMNS, [layer_cells(layer, count, exact=True) for layer in summary.layers])
    else:
        table = _table(STAGE_COLUMNS, stage_cells(summary.stages(depth, count)))
    lines = [f"## {markdown_text(summary.source)}, input {volume(summary.input)}", "", *table, ""]
    lines += [f"- {line}" for line in totals(summary, count)]
    lines += [f"- {markdown_text(line)}" for line in summary.remarks]
    return "\n".join(lines) + "\n"


def volume(shape: Volume) -> str:
    """`64×56×56`: channels, height, width."""
    return "×".join(map(str, shape)) or "1"


def _table(columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["--:" if side == "right" else ":--" for side in columns.values()]
    cells = [list(columns), rule, *rows]
    return ["| " + " | ".join(markdown_text(cell) for cell in row) + " |" for row in cells]


def _number(value: int) -> str:
    return f"{value:,}" if value else ""


def _short(value: int) -> str:
    """Three digits and K, M or G for thousands, millions or thousands of millions."""
    if value < 1000:
        return str(value) if value else ""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= 0.9995 * size:
            digits = 2 if value < 9.995 * size else 1 if value < 99.95 * size else 0
            return f"{value / size:.{digits}f} {unit}"
    raise AssertionError("unreachable")


def _memory(count: int, *, exact: bool) -> str:
    if not count:
        return ""
    return f"{_number(count)} B" if exact or count < 1000 else f"{_short(count)}B"


def _window(layer: Layer) -> str:
    if not layer.kernel:
        return ""
    parts = [_sides(layer.kernel), f"s{_sides(layer.stride)}", f"p{_padding(layer.padding)}"]
    if any(step != 1 for step in layer.dilation):
        parts.append(f"d{_sides(layer.dilation)}")
    if layer.groups != 1:
        parts.append(f"g{layer.groups}")
    return " ".join(parts)


def _sides(values: Sequence[int]) -> str:
    """One number where all axes have the same, 1×3 otherwise."""
    return "×".join(map(str, values if len(set(values)) > 1 else values[:1]))


def _padding(values: Sequence[int]) -> str:
    if not any(values):
        return "0" if values else ""
    half = len(values) // 2
    return (
        _sides(values[:half]) if tuple(values[:half]) == tuple(values[half:]) else ",".join(map(str, values))
    )


def _field(layer: Layer) -> str:
    if layer.reach is None:
        return ""
    steps = [f"{float(step):g}" for step in layer.reach.stride]
    step = steps[0] if len(set(steps)) == 1 else "×".join(steps)
    return f"{_sides(layer.reach.size)}/{step}"
