"""What the commands show: score tables, lineage trees, lists, checks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from infra.errors import CorruptArtifact, StoreError
from infra.garbage import find_garbage
from infra.lineage import Node
from infra.runs import read_runs
from infra.store import Artifact, Store, verify_artifact


def lineage_tree(node: Node) -> Tree:
    """The tree of inputs, for the terminal; a branch that was shown before is not shown again."""
    tree = Tree(_node_text(node), highlight=False)
    _grow(tree, node, {node.name})
    return tree


def lineage_json(node: Node) -> str:
    """The tree of inputs, as indented JSON."""
    return json.dumps(node.as_dict(), indent=2)


def artifact_or_score(store: Store, reference: str) -> Artifact:
    """The artifact of a reference; a column's name means the newest scores that hold it.

    Raises:
        StoreError: nothing answers to it.
    """
    from eval.protocols import BENCHMARKS, COLUMNS, benchmark_of

    column = next((name for name in COLUMNS if name == reference), None)
    benchmark = benchmark_of(column) if column else reference
    if benchmark not in BENCHMARKS:
        return store.find(reference)
    suffix = f"-{benchmark}-"
    for run in reversed(read_runs(store.root)):
        for use in run.uses:
            if use.artifact.startswith("scores/") and suffix in use.artifact:
                return store.find(use.artifact)
    raise StoreError(f"no run in {store.root} has scored {reference}")


def verify_folders(console: Console, store: Store, folders: Sequence[Path]) -> int:
    """Check artifacts one by one; 1 if any of them is not as it was made."""
    wrong = 0
    for folder in folders:
        label = f"{folder.parent.name}/{folder.name}"
        if not (folder / "manifest.json").is_file():
            console.print(f"[yellow]unfinished[/] {label}", highlight=False)
            continue
        try:
            problems = [*verify_artifact(store.bring(folder)), *store.check_stored(folder)]
        except CorruptArtifact as error:
            problems = [str(error)]
        wrong += bool(problems)
        mark = "[red]CORRUPT[/]   " if problems else "[green]ok[/]        "
        console.print(f"{mark} {label}", highlight=False)
        for problem in problems:
            console.print(f"           {escape(problem)}", highlight=False)
    if wrong:
        console.print(
            f"{wrong} of {len(folders)} artifacts are not what their manifests say. Remove their "
            "folders and run again: they and what was made from them are made anew."
        )
    return 1 if wrong else 0


def collect_garbage(console: Console, store: Store, keep_runs: int, *, delete: bool) -> None:
    """List what no kept run reaches, and remove it if asked to."""
    garbage = find_garbage(store, keep_runs)
    for piece in garbage:
        label = piece.path.relative_to(store.root)
        console.print(f"{piece.bytes / 1e6:9.1f} MB  {label}  [dim]{piece.reason}[/]")
        if delete:
            store.discard(piece.path)
    total = sum(piece.bytes for piece in garbage) / 1e6
    done = "Removed" if delete else "Could remove"
    hint = "" if delete or not garbage else "; add --delete to do so"
    console.print(f"{done} {len(garbage)} pieces, {total:,.1f} MB{hint}.", highlight=False)


def print_fidelity(console: Console, artifact: Artifact, folder: Path, *, as_json: bool) -> None:
    """Print how the domains of a build compare with the published ones of WebText."""
    from flows.fidelity import HEADINGS, fidelity_cells, fidelity_notes, read_fidelity

    if as_json:
        print((folder / "fidelity.json").read_text("utf-8"), end="")  # noqa: T201  the result
        return
    tables = read_fidelity(folder)
    title = f"{artifact.label} beside WebText's 1,000 commonest domains"
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for place, heading in enumerate(HEADINGS):
        shown.add_column(heading, justify="right" if place else "left")
    for name, figures in tables.items():
        shown.add_row(*fidelity_cells(name, figures))
    console.print(shown)
    for note in fidelity_notes(tables):
        console.print(f"[dim]{note}[/]", highlight=False)


def model_folder(store: str | Path, model: str) -> Path:
    """The folder of a model: one that a path names, or an artifact of the store."""
    from flows.running import store_of

    if (Path(model) / "config.json").is_file():
        return Path(model)
    opened = store_of(store)
    return opened.bring(opened.find(model).path)


def generate_text(
    folder: Path,
    prompt: str,
    tokens: int,
    samples: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
) -> Iterator[str]:
    """Continue a prompt with the model in a folder; yields prompt and continuation."""
    from model.export import import_model
    from model.generate import generate, lay_out_for_one
    from webtext.vocabulary import gpt2_encoding

    encoding = gpt2_encoding()
    continuations = generate(
        lay_out_for_one(import_model(folder)),
        encode=encoding.encode_ordinary,
        decode=encoding.decode,
        prompt=prompt,
        max_new_tokens=tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        samples=samples,
    )
    for continuation in continuations:
        yield prompt + continuation


def _grow(tree: Tree, node: Node, shown: set[str]) -> None:
    for parent in node.parents:
        again = parent.name in shown and bool(parent.parents)
        branch = tree.add(_node_text(parent) + (" [dim](above)[/]" if again else ""))
        if not again:
            shown.add(parent.name)
            _grow(branch, parent, shown)


def _node_text(node: Node) -> str:
    role = f"[dim]{node.role}:[/] " if node.role else ""
    name = escape(node.name)
    if node.kind == "address":
        return f"{role}{name} [dim]address[/]"
    if node.kind == "file":
        return f"{role}{name} [dim]file, sha256 {node.fingerprint[:12]}…[/]"
    if node.manifest is None:
        return f"{role}{name} [red]no longer in the store[/]"
    from flows.progress import summarise

    summary = summarise(node.manifest.counts, "rows")
    return f"{role}[bold]{name}[/]" + (f" [dim]{escape(summary)}[/]" if summary else "")
