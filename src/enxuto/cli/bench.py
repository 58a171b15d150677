"""`enxuto bench`: latency of one or more models, interleaved."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from enxuto.cli.shared.provenance import provenance
from enxuto.cli.shared.terminal import note, print_json, show_table

HELP = """Measure the latency of models on random inputs with ONNX Runtime on the CPU.

Several models take turns run by run, so that whatever else the machine does meets all of them; trust the ratios.

```
enxuto bench model.onnx
enxuto bench original.onnx pruned.onnx --batch 1 --batch 128 --threads 1 --repeats 100
```
"""


def run(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="ONNX models or .enx files.")],
    batch: Annotated[
        list[int] | None, typer.Option(help="Batch size; may be repeated.  [default: 1]")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Measured runs of each.")] = 50,
    warmup: Annotated[int, typer.Option(min=0, help="Runs before the measured ones.")] = 5,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 takes one per processor.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the inputs.")] = 0,
    shape: Annotated[
        str | None,
        typer.Option(help="Sizes C,H,W of the input behind the batch, where the model leaves them open."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Load, run in turns, show."""
    from enxuto.errors import UsageError
    from enxuto.opening import load
    from enxuto.runtime import Runner, latency

    sizes = batch or [1]
    if min(sizes) < 1:
        raise UsageError(f"a batch has at least one sample, not {min(sizes)}")
    try:
        behind = tuple(int(side) for side in shape.split(",")) if shape else None
    except ValueError as error:
        raise UsageError(f"--shape takes numbers separated by commas, not {shape!r}") from error
    runners = [Runner(load(model), threads=threads) for model in models]
    per_size = [
        latency(
            runners,
            batch_sizes=[size],
            repeats=repeats,
            warmup=warmup,
            seed=seed,
            shape={info.name: (size, *behind) for info in runners[0].inputs} if behind else None,
        )
        for size in sizes
    ]
    found = [[rows[which][0] for rows in per_size] for which in range(len(runners))]
    if json:
        print_json({"threads": threads, "seed": seed, "unit": "ms per run",
                    "models": [{"model": str(path), "latency": [asdict(one) for one in rows]}
                               for path, rows in zip(models, found, strict=True)],
                    "provenance": provenance(
                        samples=f"{repeats} runs of each", seed=seed, threads=threads
                    )})  # fmt: skip
        return
    first = found[0]
    show_table(
        None,
        {"model": "left", "batch": "right", "mean ± std ms": "right", "median ms": "right", "p95 ms": "right",
         "speed-up": "right"},
        [
            (str(path), str(row.batch), f"{row.mean:.3f} ± {row.std:.3f}", f"{row.median:.3f}", f"{row.p95:.3f}",
             f"{base.median / row.median:.2f}×")
            for path, rows in zip(models, found, strict=True)
            for row, base in zip(rows, first, strict=True)
        ],
        caption="speed-up: the first model's median over this one's",
        give_way=("p95 ms", "mean ± std ms", "batch"),
    )  # fmt: skip
    note(f"{repeats} runs each after {warmup} to warm up, taking turns; CPU, {threads or 'all'} threads")
