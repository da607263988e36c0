"""What takes more than one key to judge of TLS towards endpoints. The files themselves are judged by who reads them."""

from __future__ import annotations

from ipaddress import ip_address

from xds_server.policy.kinds import Tree
from xds_server.policy.reading import Reading, below


def check_tls(services: Tree, reading: Reading) -> None:
    """Apply every rule to every service."""
    for name, service in services.items():
        path = below("services", name)
        if "tls" in service:
            _check_pair(service["tls"], f"{path}.tls", reading)
            _check_names(service, path, reading)
        elif service.get("health", {}).get("tls") and f"{path}.tls" not in reading.bad:
            reading.wrong(f"{path}.health.tls", "the service has no tls to probe with; add it, or remove this")


def _check_pair(tls: Tree, path: str, reading: Reading) -> None:
    for given, missing in (("certificate", "key"), ("key", "certificate")):
        if given in tls and missing not in tls and f"{path}.{missing}" not in reading.bad:
            reading.wrong(f"{path}.{given}", f"there is no {missing} with it; add {missing}: with the path of its file")


def _check_names(service: Tree, path: str, reading: Reading) -> None:
    """Refuse an address without a name where the name must come from the endpoint: nothing would be verified."""
    if "sni" in service["tls"] or f"{path}.tls.sni" in reading.bad:
        return
    for deployment in service.get("deployments", {}).values():
        for endpoint, at in deployment.get("endpoints", ()):
            if _is_ip(endpoint.host):
                fix = f"set sni under {path}.tls, or write a host name"
                reading.wrong(at, f"{endpoint} has no name that its certificate could be verified by; {fix}")
                return


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
