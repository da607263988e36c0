"""The bootstrap of a gRPC client without a proxy: the JSON file that `GRPC_XDS_BOOTSTRAP` names (gRFC A27, A30).

`node` says where the client is, as in an Envoy's bootstrap. Without certificates the stream to us is not encrypted
(`insecure`), as an Envoy's is not: then both belong on one machine or in one network. With them it is `tls` (gRFC A65);
gRPC reads the files again every ten minutes, and expects the control plane's certificate to name the host it connects
to.

`ignore_resource_deletion` (gRFC A53): a listener or cluster that is gone from an answer stays in use. Channels of a
service that was deleted by mistake go on working, and we see what each client has (`/api/v1/fleet`). The later
features of gRFC A88 are left out: they make errors in data fail calls, which is the opposite.

Keepalive is not in this file: gRPC pings its control plane every five minutes (C-core), and a service's backends only
if the application asks for it (docs/grpc.md).
"""

from __future__ import annotations

import json
from typing import Any

from xds_server.snapshot.bootstrap import BootstrapOptions
from xds_server.snapshot.bootstrap_tls import ClientTls

SERVER_FEATURES = ("xds_v3", "ignore_resource_deletion")


def grpc_bootstrap(options: BootstrapOptions) -> str:
    """Return the bootstrap as JSON. Of the options, those of Envoy's admin page do not apply."""
    host = f"[{options.xds_host}]" if ":" in options.xds_host else options.xds_host
    locality = {"region": options.region, "zone": options.zone} if options.zone else {"region": options.region}
    made = {
        "xds_servers": [
            {
                "server_uri": f"{host}:{options.xds_port}",
                "channel_creds": [_credentials(options.tls)],
                "server_features": list(SERVER_FEATURES),
            }
        ],
        "node": {"id": options.node_id, "cluster": options.cluster, "locality": locality},
    }
    return json.dumps(made, indent=2) + "\n"


def _credentials(tls: ClientTls | None) -> dict[str, Any]:
    if tls is None:
        return {"type": "insecure"}
    files = {"ca_certificate_file": tls.ca, "certificate_file": tls.certificate, "private_key_file": tls.key}
    config = {key: path for key, path in files.items() if path}
    return {"type": "tls", "config": {**config, "refresh_interval": "600s"}}
