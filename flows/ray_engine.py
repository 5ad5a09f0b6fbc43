"""Parts on a Ray cluster, through Prefect's task runner for it.

The flow stays where it is started; each part is a Prefect task that Ray runs on a node
(`flows.node`). Ray gives a part whose node died to another; a child that died is Prefect's to
retry, as on one machine. What nodes tell of their progress comes back through an actor. A part that
reads what this machine alone has (a gateway on loopback, a folder of benchmarks) is worked on here.
"""

import contextlib
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from prefect.futures import PrefectFuture

from flows.node import Place, work_on_node
from flows.part_spec import PartSpec, part_task
from flows.profile import Runtime
from flows.progress import Reporter
from infra.errors import InfraError
from infra.store import Store

_ATTEMPTS_ELSEWHERE = 5
"""How often Ray gives a part to another node, when nodes die."""
_QUEUED_FOR_EACH = 2
"""Parts submitted for each processor of the cluster, so that none waits for the flow."""
_TELL_EVERY_S = 1.0
_SIZE_EVERY_S = 10.0
_NAMESPACE = "webtext"


@part_task
def run_part_on_node(spec: PartSpec, place: Place, board: str) -> dict[str, Any]:
    """Work on a part on a node, and tell the board named so how far it is."""
    import ray

    told = ray.get_actor(board, namespace=_NAMESPACE)
    last = 0.0

    def tell(done: int, total: int | None, facts: dict[str, float]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TELL_EVERY_S or done == total:
            last = now
            told.tell.remote((spec.title, spec.part, done, total, facts))

    return work_on_node(spec, place, tell)


class RayEngine:
    """A connection to a cluster, for the length of a run."""

    def __init__(self, runtime: Runtime, store: Store, run_id: str, reporter: Reporter) -> None:
        self._store = store
        self._reporter = reporter
        self._address = runtime.ray_address or os.environ.get("RAY_ADDRESS")
        self._least = runtime.workers
        self._place = Place(
            store.address or str(store.root.resolve()),
            runtime.store_timeout_s,
            tuple(sorted(runtime.secrets.items())),
        )
        self._name = f"progress-{run_id}"
        self._pending: set[Any] = set()
        self._ended = threading.Event()
        self._size = (0, 0.0)

    def __enter__(self) -> "RayEngine":
        """Connect.

        Raises:
            InfraError: Ray is not installed, no cluster answers, or its nodes cannot reach Prefect.
        """
        try:
            import ray
            from prefect_ray import RayTaskRunner
        except ImportError as error:
            raise InfraError(
                "the engine ray is not installed: pip install 'webtext-pipeline[ray,s3]'"
            ) from error
        if not self._address:
            raise InfraError(
                "no Ray cluster is named: give --set runtime.ray_address=HOST:6379 or set "
                "RAY_ADDRESS (`auto` for the one that this machine is a node of)"
            )
        options = {"namespace": _NAMESPACE, "log_to_driver": False, "logging_level": "ERROR"}
        self._runner = RayTaskRunner(address=self._address, init_kwargs=options)
        try:
            # The runner takes `auto` for a cluster of its own.
            ray.init(self._address, **options)
        except ConnectionError as error:
            raise InfraError(
                f"no Ray cluster answers at {self._address} ({error}); "
                "`ray start --head` starts one"
            ) from error
        self._runner.__enter__()
        self._check_nodes()
        self._board = self._open_board()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Give up what is still pending, and disconnect."""
        import ray

        for future in list(self._pending):
            with contextlib.suppress(Exception):
                ray.cancel(future.wrapped_future, force=True)
        self._ended.set()
        self._listener.join()
        with contextlib.suppress(Exception):
            ray.kill(self._board)
        self._runner.__exit__(None, None, None)
        ray.shutdown()

    def window(self) -> int:
        """How many parts to have submitted at once."""
        import ray

        size, at = self._size
        if time.monotonic() - at > _SIZE_EVERY_S or not size:
            size = int(ray.cluster_resources().get("CPU", 1))
            self._size = (size, time.monotonic())
        return max(_QUEUED_FOR_EACH * size, self._least)

    def takes(self, arguments: Mapping[str, Any]) -> bool:
        """Whether nodes can have what a part with these arguments reads."""
        return not any(_is_of_this_machine(text, self._store.root) for text in _texts(arguments))

    def submit(self, spec: PartSpec) -> PrefectFuture[dict[str, Any]]:
        """Have a part worked on by whichever node has room."""
        from prefect_ray.context import remote_options

        parameters = {"spec": spec, "place": self._place, "board": self._name}
        with remote_options(
            num_cpus=1, max_retries=_ATTEMPTS_ELSEWHERE, scheduling_strategy="SPREAD"
        ):
            future = self._runner.submit(run_part_on_node, parameters)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return cast("PrefectFuture[dict[str, Any]]", future)

    def _check_nodes(self) -> None:
        import ray

        here = ray.util.get_node_ip_address()
        others = [
            node["NodeManagerAddress"]
            for node in ray.nodes()
            if node["Alive"] and node["NodeManagerAddress"] != here
        ]
        api = urlsplit(os.environ.get("PREFECT_API_URL", ""))
        if others and api.hostname in ("127.0.0.1", "localhost", None):
            raise InfraError(
                f"nodes such as {others[0]} cannot reach Prefect's API at "
                f"{api.geturl() or 'no address'}: start a server that they reach and name it in "
                "PREFECT_API_URL (docs/cluster.md)"
            )

    def _open_board(self) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        class Board:
            """Keeps what nodes tell until the flow asks."""

            def __init__(self) -> None:
                self.told: dict[tuple[str, str], Any] = {}

            def tell(self, news: tuple[str, str, int, int | None, dict[str, float]]) -> None:
                self.told[news[:2]] = news

            def take(self) -> list[Any]:
                news, self.told = list(self.told.values()), {}
                return news

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        return (
            ray.remote(Board)
            .options(name=self._name, num_cpus=0, max_restarts=-1, scheduling_strategy=here)
            .remote()
        )

    def _listen(self) -> None:
        import ray

        while not self._ended.wait(_TELL_EVERY_S):
            with contextlib.suppress(Exception):  # progress is for show
                for news in ray.get(self._board.take.remote(), timeout=5):
                    self._reporter.progress(*news)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [text for inner in value for text in _texts(inner)]
    return []


def _is_of_this_machine(text: str, root: Path) -> bool:
    if text.startswith("http"):
        return urlsplit(text).hostname in ("127.0.0.1", "localhost", "::1")
    path = Path(text)
    return path.is_absolute() and not path.is_relative_to(root) and path.is_dir()
