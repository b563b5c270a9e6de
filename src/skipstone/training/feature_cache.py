"""Training on cached outputs of frozen stages (`models.frozen_prefix`).

    features/key.json                  all that decides the arrays: run, cut, weights, program
    features/view-000/<array>.npy      (rows, ...), one folder per augmented view, written atomically
    features/view-000/y <name>.npy     targets of that view; of ragged ones "y <name> counts.npy", too

Epoch e of a phase reads view e modulo the number of views, in the order in which the plain loop would
visit the rows. A killed run goes on with the views that it has. The folder ends with the run.
"""

from __future__ import annotations

import copy
import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipstone.core import events, storage
from skipstone.core.errors import UsageError
from skipstone.core.formatting import pluralize
from skipstone.data.samples import Batch, SampleMeta
from skipstone.datasets.loader import Loader
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.memoized import digest_arrays
from skipstone.models.frozen_prefix import FrozenPrefix, find_prefix, values_per_sample
from skipstone.models.network import Network
from skipstone.training.loop import Batches
from skipstone.training.prefix_programs import PrefixProgram, make_prefix_program
from skipstone.training.run_directory import RunFolder
from skipstone.training.schedules import Phase, enter_phase

#: Augmented views of each row at most.
MAX_VIEWS = 8
#: Bytes of a cache at most, and its share of the free space of the run's disk.
MAX_BYTES, DISK_SHARE = 4 << 30, 0.5
#: Share of a time budget that computing views may take.
VIEWS_SHARE = 0.3


class FeatureCache:
    """The cached views of a run, and the batches that its phases read.

    Args:
        loader: the batches of the plain loop.
        identity: JSON-able, all that decides its samples.
    """

    def __init__(self, loader: Loader, run: RunFolder, identity: Mapping[str, Any]) -> None:
        self.loader = loader
        self.run = run
        self.folder = run.features
        self._identity = identity
        self._prefixes: dict[int, FrozenPrefix] = {}
        self._views: list[Path] = []
        self.program: PrefixProgram | None = None

    def compute_views(
        self, network: Network, phases: Sequence[Phase], budget: float | None
    ) -> None:
        """Compute the views that the folder does not have yet.

        Args:
            budget: seconds for the whole training.

        Raises:
            UsageError: no phase has frozen stages, or they cannot be cut off.
        """
        batching = replace(self.loader.batching, shuffle=False, drop_last=False, balanced=False)
        rows = Loader(
            self.loader.manifest,
            self.loader.input,
            self.loader.task,
            batching,
            loading=self.loader.loading,
            cache=self.loader.cache,
        )
        x = {n: torch.from_numpy(a) for n, a in self.loader.input.make_example(2).items()}
        twin = copy.deepcopy(network).eval()
        self._prefixes = find_prefixes(twin, phases, x)
        self.program = make_prefix_program(twin, list(self._prefixes.values()), x)
        self._check_key(twin)
        most = self._most_views(phases)
        with events.progress_stage(
            f"computing the frozen stages ({self.program.name})", unit="samples"
        ) as advance:
            began = time.monotonic()
            self._views = [self._compute_view(0, rows, advance)]
            seconds = time.monotonic() - began
            decision = self.run.decide(
                "features", lambda: {"views": _views_within(most, seconds, budget)}
            )
            for number in range(1, decision["views"]):
                self._views.append(self._compute_view(number, rows, advance))
        events.emit_note(
            f"The frozen stages were computed once, by {self.program.name}: "
            f"{pluralize(decision['views'], 'augmented view')} of {len(rows.manifest):,} rows. "
            "Training reads them."
        )

    def enter_phase(self, network: Network, phase: Phase) -> Batches:
        """The batches of this phase; the network is cut where the phase's training starts."""
        cuts = [cut for cut in self._prefixes if cut <= phase.frozen]
        network.prefix = self._prefixes[max(cuts)] if cuts else None
        if network.prefix is None:
            return self.loader
        return CachedBatches(self.loader, self._views, list(network.prefix.array_shapes))

    def _check_key(self, network: Network) -> None:
        """Keep views with this key only."""
        assert self.program is not None
        weights = hashlib.sha256()
        for name, tensor in network.backbone.state_dict().items():
            weights.update(name.encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            weights.update(flat.view(torch.uint8).numpy().data)
        key = {
            "identity": self._identity,
            "weights": weights.hexdigest(),
            "cuts": {str(cut): [*p.array_shapes] for cut, p in self._prefixes.items()},
            "program": self.program.name,
        }
        file = self.folder / "key.json"
        if file.is_file() and storage.read_json(file) == key:
            storage.remove_stale_temporaries(self.folder)
            return
        if self.folder.is_dir():
            storage.remove_folder(self.folder)
        storage.make_folder(self.folder)
        storage.write_json(file, key)

    def _most_views(self, phases: Sequence[Phase]) -> int:
        """As many as epochs read them, augmentation makes, and the disk holds."""
        assert self.program is not None
        bytes_per_view = (
            len(self.loader.manifest)
            * values_per_sample(list(self._prefixes.values()))
            * self.program.dtype.itemsize
        )
        allowed = min(MAX_BYTES, int(shutil.disk_usage(self.folder).free * DISK_SHARE))
        if bytes_per_view > allowed:
            raise UsageError(
                f"--feature-cache needs {bytes_per_view:,} bytes, and may take {allowed:,}.",
                hint="Leave it out, or freeze more: --freeze 1",
            )
        steps = sum(phase.steps for phase in phases if phase.frozen)
        epochs = -(-steps // len(self.loader))
        wanted = MAX_VIEWS if self.loader.batching.augment is not None else 1
        return max(1, min(wanted, epochs, allowed // max(1, bytes_per_view)))

    def _compute_view(self, number: int, rows: Loader, advance: Any) -> Path:
        path = self.folder / f"view-{number:03d}"
        if path.is_dir():
            return path
        assert self.program is not None
        with storage.write_folder(path, must_be_new=True) as target:
            writer = ViewWriter(target, len(rows.manifest))
            for batch in rows.iterate_epoch(number):
                writer.write_batch(self.program.compute_arrays(batch.x), batch.y)
                advance(len(batch))
            writer.finish()
        return path


def find_prefixes(
    network: Network, phases: Sequence[Phase], x: Mapping[str, Tensor]
) -> dict[int, FrozenPrefix]:
    """{number of frozen stages: the prefix}, for the lowest cut of all phases and for the highest.

    Raises:
        UsageError: no phase has frozen stages.
    """
    frozen = [phase.frozen for phase in phases if phase.frozen]
    if not frozen:
        raise UsageError(
            "--feature-cache has no effect: no stage of this model is frozen in any phase.",
            hint="Leave it out, or freeze some: --freeze 0.5",
        )
    prefixes = {}
    for cut in sorted({min(frozen), max(frozen)}):
        enter_phase(network, Phase("", 1, cut, "constant"))
        prefixes[cut] = find_prefix(network, x, label=f"frozen {cut}")
    return prefixes


def _views_within(most: int, seconds: float, budget: float | None) -> int:
    if budget is None:
        return most
    return max(1, min(most, int(budget * VIEWS_SHARE / max(seconds, 1e-3))))


class ViewWriter:
    """Writes the arrays and targets of one view, batch by batch.

    Args:
        rows: of the view.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        self._folder, self._rows = folder, rows
        self._files: dict[str, np.ndarray] = {}
        self._ragged: dict[str, list[Tensor]] = {}
        self._at = 0

    def write_batch(self, arrays: Mapping[str, Tensor], y: Mapping[str, Any]) -> None:
        count = len(next(iter(arrays.values())))
        dense = dict(arrays)
        for name, value in y.items():
            if isinstance(value, list):
                self._ragged.setdefault(f"y {name}", []).extend(value)
            else:
                dense[f"y {name}"] = value
        for name, value in dense.items():
            stored = value.view(torch.int16) if value.dtype == torch.bfloat16 else value
            array = stored.contiguous().numpy()
            if name not in self._files:
                self._files[name] = np.lib.format.open_memmap(
                    self._folder / f"{name}.npy",
                    mode="w+",
                    dtype=array.dtype,
                    shape=(self._rows, *array.shape[1:]),
                )
            self._files[name][self._at : self._at + count] = array
        self._at += count

    def finish(self) -> None:
        """Write what is in memory."""
        assert self._at == self._rows, "every row of a view is written"
        for name, values in self._ragged.items():
            np.save(self._folder / f"{name}.npy", torch.cat(values).numpy())
            counts = np.array([len(value) for value in values], np.int64)
            np.save(self._folder / f"{name} counts.npy", counts)
        for file in self._files.values():
            assert isinstance(file, np.memmap)
            file.flush()


class ViewReader:
    """Reads rows of one view.

    Args:
        names: of the arrays.
        targets: names of the targets.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        files = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
        self._arrays = {name: files[name] for name in names}
        self._targets = {
            name.removeprefix("y "): (file, files.get(f"{name} counts"))
            for name, file in files.items()
            if name.startswith("y ") and not name.endswith(" counts")
        }

    def read_rows(self, rows: np.ndarray) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Arrays as float32, and targets."""
        x = {name: _as_floats(file[rows]) for name, file in self._arrays.items()}
        y: dict[str, Any] = {}
        for name, (file, counts) in self._targets.items():
            if counts is None:
                y[name] = torch.from_numpy(np.array(file[rows]))
            else:
                ends = np.cumsum(counts)
                y[name] = [
                    torch.from_numpy(np.array(file[ends[row] - counts[row] : ends[row]]))
                    for row in rows
                ]
        return x, y


def _as_floats(values: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.view(torch.bfloat16).float() if values.dtype == np.int16 else tensor


class CachedBatches:
    """The batches of a loader, of cached arrays instead of decoded files.

    Args:
        loader: says which rows a batch has.
        names: of the arrays.
    """

    def __init__(self, loader: Loader, views: Sequence[Path], names: Sequence[str]) -> None:
        self._loader = loader
        self._views = [ViewReader(view, names) for view in views]
        self.batch_size = loader.batch_size
        self._ids = loader.manifest.table["id"].to_numpy()

    def __len__(self) -> int:
        return len(self._loader)

    def iterate_epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """As `Loader.iterate_epoch`."""
        order = self._loader.epoch_order(number)
        view = self._views[number % len(self._views)]
        for step in range(start, len(self)):
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            x, y = view.read_rows(rows)
            metas = [
                SampleMeta(int(self._ids[row]), self._loader.manifest.source_at(int(row)).name)
                for row in rows
            ]
            yield Batch(x, y, metas)


class PrefixRuntime:
    """A network that is evaluated while it is cut: the outputs of its frozen stages are computed
    once per batch, by the cache's program, and come from memory afterwards."""

    def __init__(self, network: Network, precision: str, cache: EvaluationArrays) -> None:
        self._inner = TorchRuntime(network, precision=precision)
        self._cache = cache
        self._names = [] if network.prefix is None else list(network.prefix.array_shapes)
        self.name = self._inner.name

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        cached = self._cache.find_arrays(arrays)
        return self._inner.run({name: cached[name].float().numpy() for name in self._names})

    def runtime_info(self) -> Mapping[str, Any]:
        return self._inner.runtime_info()


class EvaluationArrays:
    """The prefixes' arrays of batches that are evaluated again and again, in memory up to `LIMIT`."""

    LIMIT = 1 << 30

    def __init__(self, features: FeatureCache) -> None:
        self._features = features
        self._kept: dict[bytes, dict[str, Tensor]] = {}
        self._bytes = 0

    def find_arrays(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """Of this batch of the network's inputs."""
        key = digest_arrays(arrays)
        if key in self._kept:
            return self._kept[key]
        assert self._features.program is not None, "views are computed before training starts"
        computed = self._features.program.compute_arrays(
            {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
        )
        size = sum(value.numel() * value.element_size() for value in computed.values())
        if self._bytes + size <= self.LIMIT:
            self._kept[key] = computed
            self._bytes += size
        return computed
