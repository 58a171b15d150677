"""How much faster a network runs after rounds of pruning: ONNX Runtime, rounds taking turns, in one run.

    python benchmarks/prune_speed.py [--network vgg16-cifar] [--rounds 8] [--amount 0.2] [--json prune_speed.json]
    python benchmarks/prune_speed.py --models whole.onnx pruned.onnx [more.onnx …]

With --models the given files are timed, the first one as the unpruned network: trained and pruned ones, as `enxuto
export` and `enxuto prune` leave them.

Without it the weights are the registry's fresh ones: speed depends on shapes alone. Which shapes pruning leaves does
depend on the weights, and L1 norms of fresh ones say little: divided by the layer's mean they vary most in small
layers, which then shrink most. So `--order` has two others: `even` takes the same share of every layer, and
`late-first` empties the last layers first, which is the least that so many filters can gain here, as the early layers
have most of the operations. Nothing is trained: the accuracies of such networks are another matter. Exit 1 when the
last network is below the bounds.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from enxuto import zoo
from enxuto.latency import Latency, latency
from enxuto.machine.facts import describe_machine, machine
from enxuto.onnx_model import Model
from enxuto.prune.criteria.scores import scores
from enxuto.prune.removal.kept import Architecture
from enxuto.prune.retrain import build_unpruned
from enxuto.prune.rounds import UnprunedNetwork, shares_left
from enxuto.prune.selection import Selection
from enxuto.prune.speed import latencies
from enxuto.runtime import Runner
from enxuto.summary import summarize_onnx

BOUNDS = {1: 5.0, 128: 4.0}


def pruned(
    unpruned: UnprunedNetwork, args: argparse.Namespace
) -> list[tuple[nn.Module, dict[str, float], list[int]]]:
    """The network of each round, what is left of it, and the filters of its layers."""
    shape = unpruned.architecture.input_shape
    state = build_unpruned(unpruned.architecture, args.seed).state_dict()
    kept = unpruned.channels.keep_all()
    network = unpruned.prune(state, kept, verify=False)
    found = []
    scope = "local" if args.order == "even" else "global"
    how = Selection(
        "filters", scope, "mean" if args.order == "l1" else "none", floor=args.floor, multiple=args.multiple
    )
    for left in shares_left(args.amount, args.rounds):
        found_scores = scores(network, [(torch.zeros(1, *shape), torch.tensor([0]))], "l1")
        if args.order == "late-first":
            layers = list(found_scores)
            found_scores = {name: values * 0 - layers.index(name) for name, values in found_scores.items()}
        kept = unpruned.plan_round(kept, found_scores, left, how).kept
        network = unpruned.prune(state, kept)
        shares = unpruned.size_of(network, kept).shares_of(unpruned.size)
        found.append((network, shares, [len(kept.layers[layer]) for layer in unpruned.hidden_layers]))
    return found


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, nargs="+", metavar="ONNX", help="time these files instead")
    parser.add_argument("--network", default="vgg16-cifar")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--amount", type=float, default=0.2)
    parser.add_argument("--order", default="l1", choices=("l1", "even", "late-first"))
    parser.add_argument("--floor", type=int, default=1, help="filters that each layer keeps at least")
    parser.add_argument("--multiple", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--last-only", action="store_true", help="time the last round beside the unpruned network alone"
    )
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def fresh(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Prune the zoo's network and time it: a row for the unpruned network and each round."""
    torch.set_num_threads(args.threads)
    shape = zoo.input_shape(args.network)
    unpruned = UnprunedNetwork.from_architecture(Architecture(args.network, shape))
    rounds = pruned(unpruned, args)
    shown = [args.rounds] if args.last_only else list(range(1, args.rounds + 1))
    networks = [
        build_unpruned(unpruned.architecture, args.seed).eval(),
        *(rounds[number - 1][0] for number in shown),
    ]
    times = latencies(networks, shape, batches=tuple(BOUNDS), repeats=args.repeats, threads=args.threads)
    whole = ({"filters": 1.0, "parameters": 1.0, "macs": 1.0}, list(unpruned.channels.widths.values()))
    told = [whole, *(rounds[number - 1][1:] for number in shown)]
    print(f"{args.network}, order {args.order}, floor {args.floor}")
    print("filters left by layer in the last round:", *rounds[-1][2])
    return [
        {"name": f"round {number}", "left": left, "widths": widths, **timed(found, times[0])}
        for number, (left, widths), found in zip([0, *shown], told, times, strict=True)
    ]


def given(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time files taking turns: a row for each."""
    tables = [summarize_onnx(Model.read(path)) for path in args.models]
    runners = [Runner(path, threads=args.threads) for path in args.models]
    times = latency(runners, batch_sizes=tuple(BOUNDS), repeats=args.repeats, warmup=1)
    return [
        {
            "name": path.name,
            "left": {
                "parameters": table.parameters / tables[0].parameters,
                "macs": table.macs / tables[0].macs,
            },
            **timed(found, times[0]),
        }
        for path, table, found in zip(args.models, tables, times, strict=True)
    ]


def timed(found: Sequence[Latency], whole: Sequence[Latency]) -> dict[str, Any]:
    """A network's times and how much faster than the unpruned one it is, by medians."""
    return {
        "latency": [asdict(one) for one in found],
        "speedup": [before.median / one.median for before, one in zip(whole, found, strict=True)],
    }


def main() -> None:
    """Time, print a Markdown table and how busy the machine was."""
    args = options()
    began = os.getloadavg()[0]
    rows = given(args) if args.models else fresh(args)
    shares = list(rows[0]["left"])
    print(f"\n{args.threads} thread(s), medians of {args.repeats} runs each, taking turns")
    print(f"load of {describe_machine(machine())}: {began:.1f} before, {os.getloadavg()[0]:.1f} after\n")
    print(f"| network | {' | '.join(f'{name} %' for name in shares)} |", end="")
    print("".join(f" batch {batch}, ms | speed-up |" for batch in BOUNDS))
    print("|---" * (1 + len(shares) + 2 * len(BOUNDS)) + "|")
    for row in rows:
        pairs = zip(row["latency"], row["speedup"], strict=True)
        cells = [f"{one['median']:.2f} | {ratio:.2f}" for one, ratio in pairs]
        left = " | ".join(f"{100 * row['left'][name]:.2f}" for name in shares)
        print(f"| {row['name']} | {left} | {' | '.join(cells)} |")
    if args.json:
        settings = {**vars(args), "json": None, "models": [path.name for path in args.models or []]}
        args.json.write_text(json.dumps({"settings": settings, "rows": rows}, indent=2) + "\n")
    bounds = zip(BOUNDS.items(), rows[-1]["speedup"], strict=True)
    missed = [f"{bound:g}× at batch {batch}" for (batch, bound), ratio in bounds if ratio < bound]
    if missed:
        raise SystemExit(f"below {', '.join(missed)}")


if __name__ == "__main__":
    main()
