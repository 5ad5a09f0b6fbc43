"""Artifacts of another store taken over as they are: what cannot be made again is not made again.

An artifact is taken where its identity is that of the one wanted, so nothing that was made for
other settings or from other inputs slips in. Its files are linked (copied to another disk) and
hashed, its manifest is kept with the maker that it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infra.canonical import file_sha256
from infra.errors import CorruptArtifact
from infra.files import link_or_copy
from infra.manifest import Manifest
from infra.store import Artifact, drop_work


def take_over(artifact: Artifact, folders: Sequence[Path]) -> bool:
    """Give an unfinished artifact the files of the one of these folders that is equal to it.

    The caller holds its lease. False where none is equal.

    Raises:
        CorruptArtifact: the equal one's files are not what its manifest says.
    """
    for folder in folders:
        manifest = Manifest.read(folder)
        if manifest.fingerprint != artifact.fingerprint:
            continue
        for file in manifest.files:
            source, target = folder / file.path, artifact.path / file.path
            target.unlink(missing_ok=True)
            if not source.is_file() or file_sha256(source) != file.sha256:
                raise CorruptArtifact(
                    f"{source} is not what its manifest says; `webtext verify` tells more, and "
                    "without it the artifact cannot be taken over"
                )
            link_or_copy(source, target)
        manifest.write(artifact.path)
        drop_work(artifact)
        return True
    return False
