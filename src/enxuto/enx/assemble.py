"""`Assembly`: quantized tensors and all that stays exact → `CompressedModel`.

Every way of compressing ends here. Payloads are put aside as they come, so that those of a model above 2 GB do not
stay in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from enxuto._version import __version__
from enxuto.enx.exact import bundle, choose_inside, may_fit_inside, repeats
from enxuto.enx.file import CompressedModel
from enxuto.enx.fingerprint import FINGERPRINT_KEY, fingerprint, hashed_names
from enxuto.enx.learned import is_float_weight, learned_facts
from enxuto.enx.payload import Payload, Spool
from enxuto.enx.table import TensorEntry
from enxuto.onnx_model import Model, WeightInfo, array_bytes, skeleton
from enxuto.onnx_model.carried import write_carried
from enxuto.progress import ProgressCounter
from enxuto.quantize.scalar import Quantizer

__all__ = ["Assembly"]

_INSIDE_GRAPH = 1024  # bytes; integers up to this stay in the graph, where LZMA sees them
_SCALAR = 16  # bytes; and floats up to this
_ALONE = 1 << 22  # levels of a tensor that is coded by itself, so that memory does not grow with threads


class Assembly:
    """Collects the payloads of one compressed model."""

    def __init__(
        self,
        model: Model,
        metadata: dict[str, Any],
        threads: int,
        changed: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """changed: weights that take the place of the model's; what the file is made from is the model all the same."""
        self._original = model
        self._changed = {
            name for name, array in (changed or {}).items() if not np.array_equal(array, model.load(name))
        }
        self._model = model.replace_weights(changed) if changed else model
        self._metadata = metadata
        self._threads = threads
        self._spool = Spool()
        self._payloads: list[Payload] = []
        self._seen: set[str] = set()

    def add(self, names: Sequence[str], quantizer: Quantizer, levels: np.ndarray) -> int:
        """Code the levels of tensors that share a quantizer; return the bytes, 0 (adding nothing) if none are saved.

        levels: of the tensor's shape, or of several tensors flat, one after the other.
        """
        return self._keep_if_shorter(
            names, self._spool.put_aside(self._encode(names, quantizer, levels, self._threads))
        )

    def add_payload(self, payload: Payload) -> None:
        """Add levels that are coded already."""
        self._payloads.append(self._spool.put_aside(payload))
        self._seen.update(entry.name for entry in payload.row.tensors)

    def add_each(
        self,
        names: Sequence[str],
        make: Callable[[str], tuple[Quantizer, np.ndarray]],
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, int]:
        """`add` tensors one by one, small ones several at a time; `make` gives a name's quantizer and levels."""
        payloads = {}
        found = {}
        sizes = {name: self._model.info(name).elements for name in names}
        done = ProgressCounter(sum(sizes.values()), progress)
        large = [name for name in names if sizes[name] >= _ALONE]
        for name in large:
            payloads[name] = self._spool.put_aside(self._encode([name], *make(name), self._threads))
            done.add(sizes[name])
        with ThreadPoolExecutor(self._threads) as pool:
            small = [name for name in names if name not in payloads]
            jobs = pool.map(lambda name: self._encode([name], *make(name), 1), small)
            try:
                for name in names:
                    payload = payloads.pop(name, None)
                    found[name] = self._keep_if_shorter([name], payload or self._spool.put_aside(next(jobs)))
                    if payload is None:
                        done.add(sizes[name])
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return found

    def _encode(
        self, names: Sequence[str], quantizer: Quantizer, levels: np.ndarray, threads: int
    ) -> Payload:
        entries = [_entry(self._model.info(name)) for name in names]
        return Payload.levels_of(entries, quantizer, levels, threads=threads)

    def _keep_if_shorter(self, names: Sequence[str], payload: Payload) -> int:
        """Keep a payload, put aside, that is shorter than what it stands for; return its bytes, or 0."""
        if payload.row.bytes >= sum(self._model.info(name).bytes for name in names):
            return 0
        self._payloads.append(payload)
        self._seen.update(names)
        return payload.row.bytes

    def finish(self, *, spare: bool = False) -> CompressedModel:
        """Code what was not added, exactly, and return the whole.

        spare: whether quantized tensors may stay exact where that makes the file shorter, as of those that repeat.
        """
        left = [info for info in self._model.infos() if self._is_outside(info)]
        movable = [info for info in left if info.name not in self._changed]
        inside = choose_inside(movable, self._bytes, self._threads)
        files = [self._file(left, inside)]
        if may_fit_inside(movable):
            files.append(self._file(left, {info.name for info in movable}))
        if spare and (repeated := self._repeated()):
            files.append(self._file(left, inside | repeated, without=repeated))
        return min(files, key=lambda file: file.file_bytes)

    def _repeated(self) -> set[str]:
        """Return the names of quantized tensors, each with a payload of its own, that repeat."""
        alone = {
            payload.row.tensors[0].name: payload.row.bytes
            for payload in self._payloads
            if len(payload.row.tensors) == 1
        }
        return {
            info.name
            for info in self._model.infos()
            if info.name in alone
            and info.name not in self._changed
            and repeats(info, alone[info.name], self._bytes)
        }

    def _file(
        self, left: Sequence[WeightInfo], in_graph: Collection[str], without: Collection[str] = ()
    ) -> CompressedModel:
        """Return the whole, with these of the exact tensors in the graph, and without the payloads of some."""
        exact = [info for info in left if info.name not in in_graph]
        bundles = bundle(exact, self._bytes)
        payloads = [
            *(payload for payload in self._payloads if payload.row.tensors[0].name not in without),
            *(self._spool.put_aside(self._exact_payload(infos)) for infos in bundles),
        ]
        inside = [entry.name for payload in payloads for entry in payload.row.tensors]
        facts = {
            "made_by": f"enxuto {__version__}",
            **learned_facts(self._model),
            **self._metadata,
        }
        if "parameters" in self._metadata and "weight_bytes" not in self._metadata:
            facts.pop("weight_bytes", None)  # it is of the folded model, and the given one's are all float32
        hashed = hashed_names([payload.row for payload in payloads], facts)
        facts.pop(FINGERPRINT_KEY, None)  # of another file, whose metadata were handed on
        if hashed:
            facts[FINGERPRINT_KEY] = fingerprint(self._original, hashed)
        graph = write_carried(skeleton(self._model, inside), facts, add=False)
        return CompressedModel(graph, tuple(payloads), facts)

    def _is_outside(self, info: WeightInfo) -> bool:
        """Say whether an exact weight may get a payload; what is tiny stays in the graph."""
        if info.name in self._seen or not info.elements:
            return False
        if info.name in self._changed:  # the graph's own values must be the original's
            return True
        return info.bytes > (_SCALAR if is_float_weight(info) else _INSIDE_GRAPH)

    def _exact_payload(self, infos: list[WeightInfo]) -> Payload:
        entries = tuple(_entry(info) for info in infos)
        return Payload.exact_of(entries, b"".join(map(self._bytes, infos)))

    def _bytes(self, info: WeightInfo) -> bytes:
        """Return a weight's bytes as ONNX files hold them."""
        return bytes(array_bytes(self._model.load(info.name), info.data_type))


def _entry(info: WeightInfo) -> TensorEntry:
    return TensorEntry(name=info.name, shape=info.shape, type=info.data_type)
