"""A worker that extracts pages and cannot hurt the run.

    the stage  ──frames──►  keeper  ──frames──►  worker
    (tables)   ◄──────────  (forks) ◄──────────  (extracts, limited)

`python -m webtext.extract_worker` is the keeper: a small process of one thread that imports the
extraction libraries once and forks a worker. The worker handles pages under a limit of address
space and, for each page, of CPU time. When it dies (limit, crash of a C library), the keeper
reports that page and forks the next worker in a few milliseconds. A death that was not by a limit
gets one more try, so that a stray kill costs nothing. The stage's process never parses a page.

CPU time and not wall time is limited, so that what a page gives does not depend on how busy the
machine is. Keeper and worker die with their parents. The hash seed and the number of threads
are pinned in their environment: sets of strings iterate alike in every run.

A frame is two big-endian uint32 (bytes of header and of payload), a JSON header and the payload.
Nothing is unpickled.
"""

import ctypes
import gc
import json
import logging
import os
import resource
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, NoReturn, Self

from pydantic import Field

from webtext.content_coding import BodyError
from webtext.errors import WebtextError
from webtext.extract import ExtractionConfig, PageLimitError, extract_page
from webtext.language import identify_language
from webtext.main_text import use_plain_elements
from webtext.vocabulary import count_tokens, gpt2_encoding

_OUT_OF_MEMORY = 75
"""Exit code of a worker that ran out of memory (EX_TEMPFAIL of <sysexits.h>)."""

PAGES_A_WORKER = 2_000
"""A worker is replaced after so many pages, should a library leak."""

_LENGTHS = struct.Struct(">II")
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class WorkerConfig(ExtractionConfig):
    """How the main text of a page is found, and what that may cost."""

    max_page_bytes: int = Field(default=10_000_000, gt=0)
    """Larger pages (unpacked) are not extracted: `extraction_limit`."""
    cpu_limit_s: float = Field(default=20.0, gt=0)
    """CPU time for one page, in seconds. Real pages take 0.02, the worst of them 2."""
    memory_limit_mb: int = Field(default=2_048, ge=512)
    """Address space of the worker, in MiB. Idle it has 250 to 400."""


class PageRequest(NamedTuple):
    """What a worker is told about a page, besides its bytes."""

    url: str
    media_type: str | None = None
    charset: str | None = None
    content_encoding: str | None = None


class PageResult(NamedTuple):
    """What came of a page: its text and what was measured of it, or why not."""

    reason: str | None
    """None, or `extraction_limit`, `extraction_failed`, `no_text`, `removed`."""
    detail: str | None = None
    text: str = ""
    title: str | None = None
    date: str | None = None
    author: str | None = None
    canonical_host: str | None = None
    language: str | None = None
    language_probability: float | None = None
    tokens: int | None = None


class ExtractionWorker:
    """The stage's end: `send` a page, `receive` its result; one page at a time.

    Between the two calls the worker runs, so the stage may read the next page meanwhile.
    """

    def __init__(self, config: WorkerConfig) -> None:
        settings = config.model_dump_json(include=set(WorkerConfig.model_fields))
        self._keeper = subprocess.Popen(
            [sys.executable, "-P", "-m", "webtext.extract_worker", settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
        )
        assert self._keeper.stdin is not None and self._keeper.stdout is not None
        self._requests: BinaryIO = self._keeper.stdin  # type: ignore[assignment]
        self._results: BinaryIO = self._keeper.stdout  # type: ignore[assignment]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._keeper.kill()
        with suppress(BrokenPipeError):
            self._requests.close()
        self._results.close()
        self._keeper.wait()

    def send(self, request: PageRequest, payload: bytes) -> None:
        """Hand over a page; `receive` must follow before the next."""
        try:
            _write_frame(self._requests, request._asdict(), payload)
        except BrokenPipeError:
            self._fail()

    def receive(self) -> PageResult:
        """The result of the page sent last."""
        frame = _read_frame(self._results)
        if frame is None:
            self._fail()
        header, text = frame
        return PageResult(**header, text=text.decode())

    def extract(self, request: PageRequest, payload: bytes) -> PageResult:
        """Send a page and wait for its result."""
        self.send(request, payload)
        return self.receive()

    def _fail(self) -> NoReturn:
        status = self._keeper.wait()
        raise WebtextError(
            f"the keeper of the extraction workers (pid {self._keeper.pid}) ended with status "
            f"{status}. A status of -9 mostly means that the machine ran out of memory: run fewer "
            f"partitions at once, then start the run again."
        )


def _environment() -> dict[str, str]:
    """The caller's environment with everything pinned that could change a result."""
    return {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PYTHONHASHSEED": "0",
        "TZ": "UTC",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def _write_frame(stream: BinaryIO, header: dict[str, Any], payload: bytes) -> None:
    encoded = json.dumps(header).encode()
    stream.write(_LENGTHS.pack(len(encoded), len(payload)))
    stream.write(encoded)
    stream.write(payload)
    stream.flush()


def _read_frame(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next frame; None where the stream ends, also within a frame (the writer died)."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    header_bytes, payload_bytes = _LENGTHS.unpack(lengths)
    header = stream.read(header_bytes)
    payload = stream.read(payload_bytes)
    if len(header) < header_bytes or len(payload) < payload_bytes:
        return None
    return json.loads(header), payload


class _Worker(NamedTuple):
    """The keeper's end of a forked worker."""

    pid: int
    requests: BinaryIO
    results: BinaryIO


def keep_workers(config: WorkerConfig, requests: BinaryIO, results: BinaryIO) -> None:
    """Relay pages to a worker and results back until `requests` ends; replace dead workers."""
    worker = _fork_worker(config)
    pages = 0
    while (frame := _read_frame(requests)) is not None:
        tries = 0
        while (answer := _relay(worker, *frame)) is None:
            exit_code = _end_worker(worker)
            worker, pages, tries = _fork_worker(config), 0, tries + 1
            if tries == 2 or exit_code in (-signal.SIGPROF, _OUT_OF_MEMORY):
                answer = _encode_result(_death_result(exit_code, config))
                break
        _write_frame(results, *answer)
        pages += 1
        if pages == PAGES_A_WORKER:
            _end_worker(worker)
            worker, pages = _fork_worker(config), 0
    _end_worker(worker)


def _encode_result(result: PageResult) -> tuple[dict[str, Any], bytes]:
    header = result._asdict()
    return header, header.pop("text").encode()


def _relay(
    worker: _Worker, header: dict[str, Any], payload: bytes
) -> tuple[dict[str, Any], bytes] | None:
    """The worker's answer; None when it died over the page."""
    try:
        _write_frame(worker.requests, header, payload)
    except BrokenPipeError:
        return None
    return _read_frame(worker.results)


def _fork_worker(config: WorkerConfig) -> _Worker:
    """Fork a worker that inherits the imported libraries and one pipe each way."""
    request_out, request_in = os.pipe()
    result_out, result_in = os.pipe()
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(request_in)
            os.close(result_out)
            _die_with_parent(keeper)
            _serve_pages(config, os.fdopen(request_out, "rb"), os.fdopen(result_in, "wb"))
            os._exit(0)
        except MemoryError:
            os._exit(_OUT_OF_MEMORY)
        finally:
            os._exit(1)
    os.close(request_out)
    os.close(result_in)
    return _Worker(pid, os.fdopen(request_in, "wb"), os.fdopen(result_out, "rb"))


def _end_worker(worker: _Worker) -> int:
    """Close the worker's pipes, wait for it and return its exit code (negative: signal)."""
    with suppress(BrokenPipeError):
        worker.requests.close()
    worker.results.close()
    return os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])


def _death_result(exit_code: int, config: WorkerConfig) -> PageResult:
    if exit_code == -signal.SIGPROF:
        return PageResult("extraction_limit", f"over {config.cpu_limit_s:g} s of CPU time")
    if exit_code == _OUT_OF_MEMORY:
        return PageResult("extraction_limit", f"over {config.memory_limit_mb} MiB of memory")
    return PageResult("extraction_limit", f"worker died: {_signal_name(exit_code)}")


def _signal_name(exit_code: int) -> str:
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"exit code {exit_code}"


def _serve_pages(config: WorkerConfig, requests: BinaryIO, results: BinaryIO) -> None:
    """The worker's life: a page in, a result out, until the requests end.

    Being out of memory ends it: what state the libraries are in then is not known.
    """
    limit = config.memory_limit_mb << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    while (frame := _read_frame(requests)) is not None:
        header, payload = frame
        # ITIMER_PROF counts the CPU time of this process; its signal ends C code as well.
        signal.setitimer(signal.ITIMER_PROF, config.cpu_limit_s)
        answer = _encode_result(measure_page(PageRequest(**header), payload, config))
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write_frame(results, *answer)


def measure_page(request: PageRequest, payload: bytes, config: WorkerConfig) -> PageResult:
    """Extract one page, find its language and count its tokens; never raises for a bad page."""
    try:
        page = extract_page(
            payload,
            **request._asdict(),
            max_page_bytes=config.max_page_bytes,
            config=config,
        )
    except PageLimitError as error:
        return PageResult("extraction_limit", str(error))
    except BodyError as error:
        return PageResult(
            "extraction_limit" if error.too_large else "extraction_failed", str(error)
        )
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a library raises, it is the page's fault
        return PageResult("extraction_failed", type(error).__name__)
    if page.text is None:
        reason = "no_text" if page.parsed else "extraction_failed"
        detail = "no main text found" if page.parsed else "not HTML that can be parsed"
        return PageResult(reason, detail, canonical_host=page.canonical_host)
    language, probability = identify_language(page.text)
    return PageResult(
        reason=None,
        text=page.text,
        title=page.title,
        date=page.date,
        author=page.author,
        canonical_host=page.canonical_host,
        language=language,
        language_probability=probability,
        tokens=count_tokens(page.text),
    )


def _die_with_parent(parent: int) -> None:
    """Be killed by the kernel when the parent ends (Linux; elsewhere the pipes end)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _main() -> None:
    """Be the keeper: config from the command line, frames on standard input and output."""
    _die_with_parent(os.getppid())
    config = WorkerConfig.model_validate_json(sys.argv[1])
    # Libraries warn about pages on standard error; outcomes are counted instead.
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # should a library print, no frame is broken
    use_plain_elements()
    gpt2_encoding()
    identify_language("warm")
    gc.freeze()  # what is loaded now is shared by all workers and never collected
    keep_workers(config, os.fdopen(0, "rb"), results)


if __name__ == "__main__":
    _main()
