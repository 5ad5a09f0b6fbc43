"""The child's side: run stage functions on one partition after another, and answer in JSON lines.

`python -m infra.child` reads a `Call` a line from standard input. For each it empties or keeps the
scratch folder, runs the function with the call's arguments (validated by its type hints), hashes
what it wrote and answers on standard output:

    {"event": "progress", "done": 10, "total": 200, "facts": {}}
    {"event": "result", "record": {...}}                              the last line, or
    {"event": "error", "kind": "user" | "bug", "message": "...", "trace": "..."}

It imports neither Prefect nor what the functions do not need, keeps to its memory limit, and ends
when its standard input does: when the parent has no more for it to do, or is dead.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import resource
import shutil
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, get_type_hints

from pydantic import TypeAdapter

from infra.call import GIB, Call, PartRecord
from infra.errors import explain_os_error
from infra.files import files_below
from infra.orphans import die_with_parent
from infra.parts import describe_file
from infra.secrets import mask, reveal

_PROGRESS_EVERY_S = 0.2


def main() -> None:
    """Serve calls until standard input ends."""
    die_with_parent(os.getppid())
    answers = _private_stdout()
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_calls, args=(calls,), daemon=True).start()
    while True:
        call = Call.model_validate_json(calls.get())
        _limit_memory(call.memory_bytes)
        try:
            record = _serve(call, answers)
        except Exception as error:  # noqa: BLE001  whatever it is, the parent must be told
            _answer(answers, _error_event(error, call))
        else:
            _answer(answers, {"event": "result", "record": record.model_dump()})


def _read_calls(calls: queue.SimpleQueue[bytes]) -> None:
    # The descriptor itself is read: a thread inside the buffered reader would hold its lock.
    rest = b""
    while block := os.read(0, 65536):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            calls.put(line)
    # Nobody waits for an answer any more, least of all where the parent was killed.
    os._exit(0)


def _serve(call: Call, answers: IO[str]) -> PartRecord:
    if not call.resumable:
        shutil.rmtree(call.scratch, ignore_errors=True)
    call.scratch.mkdir(parents=True, exist_ok=True)
    _forget_peak()
    began, began_cpu = time.monotonic(), time.process_time()
    function = _resolve(call.function)
    result = function(
        **_validated(function, _revealed(call.arguments)),
        destination=call.scratch,
        progress=_reporter(answers),
    )
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - began_cpu
    peak = _peak_memory()
    counts = result if isinstance(result, dict) else result.model_dump(mode="json")
    files = tuple(describe_file(call.scratch, path) for path in files_below(call.scratch))
    return PartRecord(
        files=files,
        counts=counts,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        peak_memory_bytes=peak,
    )


def _revealed(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with secrets put in; the config is part of an identity and holds none."""
    return {name: value if name == "config" else reveal(value) for name, value in arguments.items()}


def _resolve(function: str) -> Callable[..., Any]:
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _validated(function: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Make the JSON values what the function's type hints say: paths, configs, numbers."""
    hints = get_type_hints(function)
    return {
        name: TypeAdapter(hints[name]).validate_python(value) for name, value in arguments.items()
    }


def _reporter(answers: IO[str]) -> Callable[..., None]:
    last = 0.0

    def progress(done: int, total: int | None = None, /, **facts: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_EVERY_S or done == total:
            last = now
            _answer(answers, {"event": "progress", "done": done, "total": total, "facts": facts})

    return progress


def _error_event(error: Exception, call: Call) -> dict[str, Any]:
    kind, message = _explanation(error, call)
    trace = "".join(traceback.format_exception(error))
    return {"event": "error", "kind": kind, "message": mask(message), "trace": mask(trace)}


def _explanation(error: Exception, call: Call) -> tuple[str, str]:
    """Whether a user can mend it, and what to tell."""
    told = explain_os_error(error, call.scratch) if isinstance(error, OSError) else None
    if told is not None:
        return "user", told
    if isinstance(error, MemoryError):
        limit = call.memory_bytes / GIB
        return "user", (
            f"{call.function} needs more than {limit:.1f} GiB of memory; "
            "raise runtime.memory_gib, or use more partitions"
        )
    # A room declares the errors that a user can mend in its `errors` module.
    if type(error).__module__.endswith(".errors"):
        return "user", str(error)
    return "bug", f"{type(error).__name__}: {error}"


def _answer(answers: IO[str], event: dict[str, Any]) -> None:
    answers.write(json.dumps(event) + "\n")
    answers.flush()


def _private_stdout() -> IO[str]:
    """Keep standard output for answers; whatever a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _forget_peak() -> None:
    # Linux: from here on VmHWM tells of this call alone (man proc_pid_clear_refs).
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> int | None:
    """The process's largest resident memory in bytes, by Linux's own account; None elsewhere."""
    # Not getrusage: what it tells begins with the memory of the parent that this was forked from.
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return int(line.split()[1]) * 1024 if line is not None else None


def _limit_memory(limit_bytes: int) -> None:
    # RLIMIT_DATA counts private writable memory; RLIMIT_AS would also count mapped files.
    _soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    main()
