"""What is known of a run without training or evaluating anything."""

import dataclasses
import functools
import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lstm_jax.config import ConfigError, dump, read
from lstm_jax.runs.configs import read_config
from lstm_jax.runs.load import open_run
from lstm_jax.runs.old_keys import updated
from lstm_jax.tables import figure
from lstm_jax.training.metadata import Monitor, read_metadata
from lstm_jax.training.run_folder import Run


class Measured(NamedTuple):
    """What the monitored metric of a run measures. Runs that have this in common can be
    ranked: the same metric of the same task, on the same data in the same tokens."""

    task: str
    monitor: str
    better: str
    on: str
    """The data in words."""
    tokenizer: str
    """The SHA-256 of the vocabulary; empty without tokens."""

    @property
    def title(self) -> str:
        """All of it in a line."""
        name = self.monitor.replace("_", " ")
        on = f" · {self.on}" if self.on else ""
        return f"{self.task}{on} · {name} ({self.better} is better)"


@dataclasses.dataclass(frozen=True)
class Summary:
    """A run in short."""

    run: Run
    config: dict[str, Any]
    metadata: dict[str, Any]
    step: int
    valid: dict[int, float]
    """Step to the monitored metric."""
    final: dict[str, Any]
    """The final metrics; empty while there are none."""
    running: bool
    """Whether a process is training it."""

    @classmethod
    def of(cls, directory: str | Path) -> "Summary":
        """Raises RunError, ConfigError: there is no run, or it is corrupt."""
        run = open_run(directory)
        config, metrics = updated(read(run.path("config.toml"))), run.metrics()
        metadata = read_metadata(run)
        split = metadata.get("final_part")
        name = Monitor(**metadata.get("monitor", {})).name
        return cls(
            run,
            config,
            metadata,
            max((line["step"] for line in metrics), default=0),
            {m["step"]: m[name] for m in metrics if m.get(name) is not None},
            run.read_json(f"result-{split}.json") if split else {},
            run.is_in_use(),
        )

    @property
    def whole_config(self) -> dict[str, Any]:
        """The config with all keys of this version, if this version can read it."""
        try:
            return tomllib.loads(dump(read_config(self.config)))
        except ConfigError:
            return self.config

    @property
    def split(self) -> str | None:
        """The split of the final metrics; ``None`` while there are none."""
        return self.metadata.get("final_part")

    @functools.cached_property
    def monitor(self) -> Monitor:
        """The metric that the run goes by."""
        return Monitor(**self.metadata.get("monitor", {}))

    @property
    def measured(self) -> Measured:
        """What the monitored metric measures."""
        tokenizer = self.metadata.get("tokenizer")
        digest = json.dumps(tokenizer, sort_keys=True) if tokenizer else ""
        return Measured(
            str(self.config.get("task", "-")),
            self.monitor.name,
            self.monitor.better,
            _data(self.metadata),
            hashlib.sha256(digest.encode()).hexdigest() if digest else "",
        )

    @property
    def best_step(self) -> int | None:
        pick = max if self.monitor.better == "higher" else min
        return pick(self.valid, key=lambda step: self.valid[step], default=None)

    @property
    def best(self) -> float | None:
        return None if self.best_step is None else self.valid[self.best_step]

    @property
    def rank(self) -> float:
        """Sorts runs that can be compared, the best first."""
        if self.best is None:
            return float("inf")
        return -self.best if self.monitor.better == "higher" else self.best

    @property
    def state(self) -> str:
        """running, complete (and where seeds stopped early), diverged or stopped."""
        if self.running:
            return "running"
        if self.split:
            return f"complete{self._stopped_early()}"
        train = self.config.get("train")  # not validated: perhaps of another version
        seeds = train.get("seeds", 1) if isinstance(train, dict) else 1
        diverged = len(self.metadata.get("diverged", {})) == seeds
        return "diverged" if diverged else "stopped"

    def _stopped_early(self):
        steps = sorted(self.metadata.get("stopped_early", {}).values())
        if not steps:
            return ""
        to = f" to {steps[-1]:,}" if steps[-1] > steps[0] else ""
        return f", stopped early at {steps[0]:,}{to}"

    def metrics(self) -> str:
        """The final metrics in a line."""
        return ", ".join(f"{name} {figure(v)}" for name, v in self.named().items())

    def named(self) -> dict[str, float]:
        """The final metrics, with the split in their names."""
        plain = {k: v for k, v in self.final.items() if isinstance(v, int | float)}
        return {f"{self.split} {k.replace('_', ' ')}": v for k, v in plain.items()}

    def as_json(self) -> dict[str, Any]:
        """All of it for programs."""
        measured = self.measured
        return {
            "run": str(self.run.directory),
            "task": measured.task,
            "data": measured.on,
            "sha256": self.metadata.get("sha256"),
            "state": self.state,
            "step": self.step,
            "parameters": self.metadata["parameters"],
            "seconds": self.metadata.get("seconds"),
            "monitor": measured.monitor,
            "better": measured.better,
            "best": self.best,
            "best_step": self.best_step,
            "split": self.split,
            "metrics": self.final,
        }


def _data(metadata: Mapping[str, Any]) -> str:
    """The data of a run in words: runs of other data have other words."""
    if "problem" in metadata:
        return f"{metadata['problem']}, length {metadata.get('length', '?')}"
    if "sha256" not in metadata:
        return ""
    tokens = (metadata.get("tokenizer") or {}).get("name", "")
    count = metadata.get("vocabulary")
    kind = f"{count:,} {tokens} of " if count and tokens else ""
    data = Path(str(metadata.get("data", "data"))).name
    return f"{kind}{data}, sha256 {metadata['sha256'][:8]}"
