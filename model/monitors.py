"""A step's figures on DeepSpeed's monitors: TensorBoard, Weights & Biases, CSV.

The engine is given none of them: it would write its own figures with the number of sequences as the
step, and Weights & Biases drops whatever comes with a smaller step than it has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepspeed.monitor.config import get_monitor_config
from deepspeed.monitor.monitor import MonitorMaster

from model.config import MonitorConfig


class Monitors:
    """The monitors of one training; made once the engine is there, and kept when it is rebuilt."""

    def __init__(self, config: MonitorConfig, folder: Path) -> None:
        place = {"output_path": str(folder), "job_name": "training"}
        settings = {
            "tensorboard": {"enabled": config.tensorboard, **place},
            "csv_monitor": {"enabled": config.csv, **place},
            "wandb": {
                "enabled": config.wandb,
                "project": config.wandb_project,
                "team": config.wandb_team,
            },
        }
        self._master = MonitorMaster(get_monitor_config(settings))

    def show(self, step: int, line: Mapping[str, Any]) -> None:
        """Send a step's numbers to those that are switched on."""
        if self._master.enabled:
            numbers = {key: value for key, value in line.items() if isinstance(value, int | float)}
            self._master.write_events(
                [(f"train/{key}", value, step) for key, value in numbers.items() if key != "step"]
            )
