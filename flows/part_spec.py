"""What a task of one part is given, and which of its failures may pass."""

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.tasks import exponential_backoff
from pydantic import BaseModel

from infra.call import Call
from infra.errors import ChildDied, StoreUnreachable
from infra.needs import Needs, moved


class PartSpec(BaseModel):
    """What a task is given: small, plain, and enough to run anywhere that reaches the store."""

    run_id: str
    title: str
    part: str
    root: Path
    """The store's folder on the machine of the run, which the paths begin with."""
    artifact: Path
    work: Path
    needs: Needs
    """What it reads of the store."""
    call: Call
    packages: dict[str, str] = {}
    """Versions that its bytes depend on."""

    def moved_to(self, root: Path) -> "PartSpec":
        """The same part on a machine that has the store's folder elsewhere."""
        there = {
            name: root / getattr(self, name).relative_to(self.root) for name in ("artifact", "work")
        }
        call = self.call.model_copy(
            update={
                "arguments": moved(self.call.arguments, self.root, root),
                "scratch": root / self.call.scratch.relative_to(self.root),
            }
        )
        return self.model_copy(update={**there, "root": root, "call": call})


def is_transient(state: State[Any]) -> bool:
    """Whether a failed task died in a way that may not happen again (a retry condition)."""
    try:
        state.result()
    except (ChildDied, StoreUnreachable):
        return True
    except BaseException:  # noqa: BLE001  it is only looked at; the task raises it itself
        return False
    return False


part_task = task(
    name="part",
    task_run_name="{spec.title}-{spec.part}",
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=1),
    retry_jitter_factor=0.5,
    retry_condition_fn=lambda _task, _run, state: is_transient(state),
    cache_policy=NO_CACHE,
    persist_result=False,
)
"""Makes a function of a `PartSpec` the task of one part, wherever it is worked on."""
