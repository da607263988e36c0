"""The tables of docs/policy.md, from the grammar, so that no key can be missing or described differently there."""

from __future__ import annotations

import json
from collections.abc import Iterator

from xds_server.policy.grammar import (
    CLIENT,
    DEPLOYMENT,
    DRILLS,
    FLEET,
    HEALTH,
    ORDERS,
    OVERLOAD,
    POLICY,
    REGION,
    RETRIES,
    ROLLOUT,
    SCHEDULED_DRILL,
    SERVICE,
    SETTINGS,
    TIMEOUTS,
    TLS,
    TRAFFIC_CLASS,
)
from xds_server.policy.kinds import Key, Section

SECTIONS: tuple[tuple[str, Section], ...] = (
    ("the whole file", POLICY),
    ("regions.NAME", REGION),
    ("fleets.NAME", FLEET),
    ("services.NAME", Section(tuple(key for key in SERVICE.keys if key not in SETTINGS))),
    ("services.NAME.deployments.REGION", DEPLOYMENT),
    ("defaults and services.NAME", Section(SETTINGS)),
    ("services.NAME.tls", TLS),
    ("health", HEALTH),
    ("timeouts", TIMEOUTS),
    ("retries", RETRIES),
    ("overload", OVERLOAD),
    ("overload.classes", TRAFFIC_CLASS),
    ("clients", CLIENT),
    ("rollout", ROLLOUT),
    ("orders", ORDERS),
    ("drills", DRILLS),
    ("drills.schedule.NAME", SCHEDULED_DRILL),
)
"""Every section of the grammar once, in the order of the page."""


def table(section: Section) -> str:
    """Return one section as a Markdown table."""
    head = ["| key | value | default | meaning |", "|---|---|---|---|"]
    return "\n".join(
        head + [f"| `{key.name}` | {key.kind.form} | {_default(key)} | {key.doc} |" for key in section.keys]
    )


def tables() -> Iterator[tuple[str, str]]:
    """Return the name and the Markdown of every table."""
    for name, section in SECTIONS:
        yield name, table(section)


def _default(key: Key) -> str:
    if key.required:
        return "required"
    if key.default is None:
        return "–"
    return f"`{key.default if isinstance(key.default, str) else json.dumps(key.default)}`"
