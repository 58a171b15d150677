"""`enxuto bench`: latency of one or more models, interleaved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enxuto.cli.shared.common_options import Batches, Json, Threads
from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import note, print_json, show_table
from enxuto.cli.shared.values import parse_input_shapes
from enxuto.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from enxuto.latency import Latency
    from enxuto.onnx_model.inputs import InputInfo

HELP = """Measure the latency of models on random inputs with ONNX Runtime on the CPU.

Several models take turns run by run, so that whatever else the machine does slows all of them alike. Trust the ratios
more than the times.

```
enxuto bench model.onnx
enxuto bench original.onnx pruned.onnx --batch 1,128 --threads 1 --repeats 100
```
"""


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What is run how often."""

    batch: Batches = (1,)
    repeats: Annotated[int, typer.Option(min=1, metavar="N", help="Measured runs of each model.")] = 50
    warmup: Annotated[int, typer.Option(min=0, metavar="N", help="Runs before the measured ones.")] = 5
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            "--input-shape",
            metavar="[NAME=]C,H,W",
            help="Sizes without the batch. Several inputs: 'image=3,32,32;ids=128', or the option again for each. "
            "All sizes of an input, such as 'state=2,1,128', are taken as they are.",
        ),
    ] = None
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the random inputs.")] = 0
    threads: Threads = 0
    json: Json = False


def run(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL...", help="ONNX models or .enx files, the first being the base."),
    ],
    options: BenchOptions,
) -> None:
    """Load the models, run them in turns, show their latencies."""
    from enxuto.latency import latency
    from enxuto.opening import load
    from enxuto.runtime import Runner

    if min(options.batch) < 1:
        raise UsageError(f"a batch has at least one sample, not {min(options.batch)}")
    shapes = parse_input_shapes(";".join(options.input_shape) if options.input_shape else None)
    threads = options.threads
    runners = [Runner(load(model), threads=threads) for model in models]
    by_size = [
        latency(
            runners,
            batch_sizes=[size],
            repeats=options.repeats,
            warmup=options.warmup,
            seed=options.seed,
            shape=_shapes(runners[0].inputs, shapes, size),
        )
        for size in options.batch
    ]
    by_model = [[rows[index][0] for rows in by_size] for index in range(len(runners))]
    if options.json:
        print_json({"threads": threads, "seed": options.seed, "unit": "ms per run",
                    "models": [{"model": str(path), "latency": [asdict(row) for row in rows]}
                               for path, rows in zip(models, by_model, strict=True)],
                    "provenance": provenance(
                        samples=f"{options.repeats} runs of each", seed=options.seed, threads=threads
                    )})  # fmt: skip
        return
    _show(options, models, by_model)


def _shapes(
    inputs: Sequence[InputInfo], given: dict[str, tuple[int, ...]], batch: int
) -> dict[str, tuple[int, ...]]:
    """Return the whole shapes of inputs whose sizes are given, by name or for all that are not named."""
    known = [info.name for info in inputs]
    for name in given:
        if name and name not in known:
            raise UsageError(
                f"--input-shape: no input is called {name!r}{did_you_mean(name, known)}; inputs are {', '.join(known)}"
            )
    chosen = {info: given.get(info.name) or given.get("") for info in inputs}
    return {
        info.name: sizes if info.name in given and len(sizes) == len(info.shape) else (batch, *sizes)
        for info, sizes in chosen.items()
        if sizes
    }


def _show(options: BenchOptions, models: list[Path], by_model: list[list[Latency]]) -> None:
    show_table(
        None,
        {"model": "left", "batch": "right", "mean ± std ms": "right", "median ms": "right", "p95 ms": "right",
         "speed-up": "right"},
        [
            (str(path), str(row.batch), f"{row.mean:.3f} ± {row.std:.3f}", f"{row.median:.3f}", f"{row.p95:.3f}",
             f"{base.median / row.median:.2f}×")
            for path, rows in zip(models, by_model, strict=True)
            for row, base in zip(rows, by_model[0], strict=True)
        ],
        caption="speed-up: the first model's median over this one's",
        give_way=("p95 ms", "mean ± std ms", "batch"),
    )  # fmt: skip
    threads = "1 thread" if options.threads == 1 else f"{options.threads or 'all'} threads"
    note(f"{options.repeats} runs each after {options.warmup} to warm up, taking turns; CPU, {threads}")
