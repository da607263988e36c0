"""The bootstraps of docker-compose.yml, as they must be: `pytest tests/snapshot --rewrite` writes them anew."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import Message

from tests.support.decisions import REGIONS
from xds_server.snapshot.bootstrap import BootstrapOptions, bootstrap, to_yaml

DIRECTORY = Path(__file__).parents[2] / "envoy"
HEAD = """\
# The bootstrap of docker-compose's sidecar in {region}, as printed by
#   xds-server bootstrap --region {region} --id sidecar-{region} --cluster sidecar \\
#     --xds control-plane:18000 --admin-address 0.0.0.0
# The admin page listens on all addresses because it is in a container of its own; compose publishes it on loopback.
"""


def bootstraps() -> dict[Path, str]:
    """Every file with the text it must have."""
    return {DIRECTORY / f"{region}.yaml": HEAD.format(region=region) + to_yaml(_of(region)) for region in REGIONS}


def _of(region: str) -> Message:
    return bootstrap(
        BootstrapOptions(
            region=region,
            node_id=f"sidecar-{region}",
            cluster="sidecar",
            xds_host="control-plane",
            xds_port=18_000,
            admin_host="0.0.0.0",
            admin_port=9901,
        )
    )
