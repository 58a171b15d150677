"""How much faster a network runs after rounds of pruning: ONNX Runtime, rounds taking turns, in one run.

    python benchmarks/prune_speed.py [--network vgg16-cifar] [--rounds 8] [--amount 0.2] [--json prune_speed.json]

The weights are the registry's fresh ones: speed depends on shapes alone. Which shapes pruning leaves does depend on the
weights, and L1 norms of fresh ones say little: divided by the layer's mean they vary most in small layers, which then
shrink most. So `--order` has two others: `even` takes the same share of every layer, and `late-first` empties the last
layers first, which is the least that so many filters can gain here, as the early layers have most of the operations.
Nothing is trained: the accuracies of such networks are another matter. Exit 1 when the last round is below the bounds.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from enxuto import zoo
from enxuto.prune.kept import Architecture
from enxuto.prune.retrain import built
from enxuto.prune.rounds import Selection, Unpruned, shares_left
from enxuto.prune.scores import scores
from enxuto.prune.speed import latencies

BOUNDS = {1: 5.0, 128: 4.0}


def pruned(
    unpruned: Unpruned, args: argparse.Namespace
) -> list[tuple[nn.Module, dict[str, float], list[int]]]:
    """The network of each round, what is left of it, and the filters of its layers."""
    shape = unpruned.architecture.input_shape
    state = built(unpruned.architecture, args.seed).state_dict()
    kept = unpruned.channels.keep_all()
    network = unpruned.smaller(state, kept, verify=False)
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
        kept = unpruned.next_plan(kept, found_scores, left, how).kept
        network = unpruned.smaller(state, kept)
        shares = unpruned.size_of(network, kept).shares_of(unpruned.size)
        found.append((network, shares, [len(kept.layers[layer]) for layer in unpruned.hidden]))
    return found


def main() -> None:
    """Prune, time, print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shape = zoo.input_shape(args.network)
    unpruned = Unpruned.of(Architecture(args.network, shape))
    rounds = pruned(unpruned, args)
    shown = [args.rounds] if args.last_only else list(range(1, args.rounds + 1))
    networks = [built(unpruned.architecture, args.seed).eval(), *(rounds[number - 1][0] for number in shown)]
    times = latencies(networks, shape, batches=tuple(BOUNDS), repeats=args.repeats, threads=args.threads)
    print(
        f"{args.network}, order {args.order}, floor {args.floor}; {args.threads} thread(s), {args.repeats} runs each"
    )
    print(
        "\n| round | filters % | parameters % | MACs % | batch 1, ms | speed-up | batch 128, ms | speed-up |"
    )
    print("|---" * 8 + "|")
    rows = []
    for number, found in zip([0, *shown], times, strict=True):
        shares = {"filters": 1.0, "parameters": 1.0, "macs": 1.0} if not number else rounds[number - 1][1]
        speedups = [whole.median / one.median for whole, one in zip(times[0], found, strict=True)]
        cells = [f"{one.median:.2f} | {ratio:.2f}" for one, ratio in zip(found, speedups, strict=True)]
        left = " | ".join(f"{100 * share:.2f}" for share in shares.values())
        print(f"| {number} | {left} | {' | '.join(cells)} |")
        rows.append(
            {
                "round": number,
                "left": shares,
                "speedup": speedups,
                "latency": [asdict(one) for one in found],
                "widths": rounds[number - 1][2] if number else list(unpruned.channels.widths.values()),
            }
        )
    print("\nfilters left by layer in the last round:", *rounds[-1][2])
    if args.json:
        args.json.write_text(
            json.dumps({"settings": {**vars(args), "json": None}, "rows": rows}, indent=2) + "\n"
        )
    missed = [
        batch for batch, ratio in zip(BOUNDS, rows[-1]["speedup"], strict=True) if ratio < BOUNDS[batch]
    ]
    if missed:
        raise SystemExit(f"below {', '.join(f'{BOUNDS[batch]:g}× at batch {batch}' for batch in missed)}")


if __name__ == "__main__":
    main()
