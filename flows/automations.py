"""Automations: infra/automations.yaml put in force on a Prefect server through its API.

The file is in Prefect's own form but for three words that are put in here: `notify` becomes a
message through a block, or an action that only shows on the server's pages where no block is named;
`lost_after` becomes seconds; and an automation that runs the crashed run's deployment again with
`parameters: same` is made for each deployment, since each has parameters of its own.
"""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from flows.deployments import TAG
from infra.errors import StoreError

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

FILE = Path(__file__).parents[1] / "infra" / "automations.yaml"
LOST_AFTER_S = 90
"""Three heartbeats of 30 seconds, the shortest that Prefect has."""
_BODY = (
    "{{ flow_run.name }} ({{ flow_run.id }}): state {{ flow_run.state.name }}, "
    "{{ flow_run.state.message }}"
)


async def apply_automations(
    client: "PrefectClient", notify: str | None = None, lost_after_s: int = LOST_AFTER_S
) -> list[str]:
    """Put the automations in force, in place of those of the same names; gives the names.

    Args:
        client: the server's.
        notify: the block that is told, as `TYPE/NAME`: a `webhook` or any notification block.
        lost_after_s: seconds without a sign of life after which a run is taken for crashed.

    Raises:
        StoreError: there is no such block.
    """
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
    from prefect.events.schemas.automations import AutomationCore

    telling = await _telling(client, notify)
    wanted = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    deployments = await client.read_deployments(deployment_filter=wanted)
    names = []
    for stated in yaml.safe_load(FILE.read_text("utf-8"))["automations"]:
        for each in _for_deployments(stated, deployments):
            each["actions"] = [_action(action, telling) for action in each["actions"]]
            if each["trigger"]["within"] == "lost_after":
                each["trigger"]["within"] = lost_after_s
            for old in await client.read_automations_by_name(each["name"]):
                await client.delete_automation(old.id)
            await client.create_automation(AutomationCore.model_validate(each))
            names.append(each["name"])
    return names


def _for_deployments(
    stated: dict[str, Any], deployments: "list[DeploymentResponse]"
) -> list[dict[str, Any]]:
    """The automation itself, or one for each deployment where it runs that again."""
    if all(action.get("parameters") != "same" for action in stated["actions"]):
        return [copy.deepcopy(stated)]
    made = []
    for deployment in deployments:
        mine = copy.deepcopy(stated)
        mine["name"] = f"{stated['name']}-{deployment.name}"
        mine["trigger"]["match_related"] = [
            stated["trigger"]["match_related"],
            {
                "prefect.resource.role": "deployment",
                "prefect.resource.id": f"prefect.deployment.{deployment.id}",
            },
        ]
        for action in mine["actions"]:
            if action.get("parameters") == "same":
                action["source"] = "selected"
                action["deployment_id"] = str(deployment.id)
                action["parameters"] = {name: _same(name) for name in deployment.parameters}
        made.append(mine)
    return made


def _same(parameter: str) -> dict[str, Any]:
    """The value that the crashed run had, whatever its type."""
    template = f"{{{{ flow_run.parameters['{parameter}'] | tojson }}}}"
    return {
        "__prefect_kind": "json",
        "value": {"__prefect_kind": "jinja", "template": template},
    }


async def _telling(client: "PrefectClient", notify: str | None) -> "tuple[str, UUID] | None":
    if notify is None:
        return None
    from prefect.exceptions import ObjectNotFound

    kind, _, name = notify.partition("/")
    try:
        block = await client.read_block_document_by_name(name, kind)
    except ObjectNotFound as error:
        raise StoreError(
            f"Prefect has no block {notify!r}; make one on its pages (Blocks) or with `prefect "
            "block create`, and name it as TYPE/NAME, e.g. slack-webhook/ops"
        ) from error
    return kind, block.id


def _action(stated: dict[str, Any], telling: "tuple[str, UUID] | None") -> dict[str, Any]:
    if stated["type"] != "notify":
        return stated
    if telling is None:
        return {"type": "do-nothing"}
    kind, block = telling
    if kind == "webhook":
        payload = f'{{"subject": "{stated["subject"]}", "text": "{_BODY}"}}'
        return {"type": "call-webhook", "block_document_id": str(block), "payload": payload}
    return {
        "type": "send-notification",
        "block_document_id": str(block),
        "subject": stated["subject"],
        "body": _BODY,
    }
