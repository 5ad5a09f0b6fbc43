"""Pushing a data set to a hub: what its artifact holds, and nothing that tells of this machine."""

from __future__ import annotations

import os

from flows import stages
from infra.errors import StoreError
from infra.manifest import MANIFEST_NAME
from infra.store import Store

_TOKEN = "HF_TOKEN"  # noqa: S105  the variable's name


def push_dataset(store: Store, reference: str, repository: str, *, public: bool) -> str:
    """Upload a dataset artifact in one commit; gives the commit's address.

    The hub is the one that `HF_ENDPOINT` names, else Hugging Face's. The token is read from
    `HF_TOKEN` alone, and is written nowhere. The manifest stays here: it names the machine.

    Args:
        store: where the artifact is.
        reference: a dataset artifact, as `Store.find` takes it.
        repository: OWNER/NAME; made where it is not there, for its owner's eyes alone by default.
        public: whether a repository that is made is open to all.

    Raises:
        StoreError: it is another kind of artifact, there is no token, or the hub refuses.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    artifact = store.find(reference)
    if artifact.stage != stages.DATASET.name:
        raise StoreError(f"{artifact.label} is no data set; name a {stages.DATASET.name}/...")
    token = os.environ.get(_TOKEN)
    if not token:
        raise StoreError(f"the hub wants a token: give one that may write in {_TOKEN}")
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    try:
        hub.create_repo(repository, repo_type="dataset", private=not public, exist_ok=True)
        done = hub.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=store.bring(artifact.path),
            ignore_patterns=[MANIFEST_NAME, ".work/**"],
            commit_message=f"Corpus {artifact.fingerprint[:12]}",
        )
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise StoreError(
            f"{artifact.label} cannot be pushed to {repository}: {told.replace(token, '***')}. "
            f"Check the name, the network, and that {_TOKEN} may write there"
        ) from None
    return done.commit_url
