"""TLS from a sidecar to a region: the transport socket of a service's region clusters, and the secrets it refers to.

The socket stands in the cluster and follows from the policy's text alone. What is in the files comes beside it, as
secrets over the same stream (SDS): so a rotation replaces a secret, and the cluster with its connections and ejections
stays as it is. Secrets are own resources of the policy (`Policy.own`) and take their way: a new certificate is tried on
a cohort first, a rejected one is rolled back, no log, page or record shows their content.

**Which name is verified.** With `sni`, that one, for all endpoints. Without, each endpoint's own host name
(`auto_host_sni`, `auto_sni_san_validation`): priority 1 holds other regions' endpoints, which have other names. Beside
that stands the list of all names. An Envoy too old for the two fields verifies by the list, and sends no SNI.

For an Envoy that must start without a control plane (bootstrap.py) the secrets name the files instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2

from xds_server.policy.types import OwnResource, Policy, Protocol, Service, Tls
from xds_server.snapshot.bootstrap_tls import TLS_SOCKET, tls_versions
from xds_server.snapshot.clusters import ads_source
from xds_server.snapshot.endpoints import is_host_name
from xds_server.snapshot.kinds import Feature
from xds_server.snapshot.resource import Key, TypeUrl, content_version
from xds_server.snapshot.wire import any_of, encode

FETCH_TIMEOUT_MS = 15_000
"""How long a cluster waits for a secret when it is new; then it is there, and its requests fail until the secret is."""


class Pem(NamedTuple):
    """What a service's files hold; the certificate chain and its key are empty if there are none."""

    ca: bytes
    chain: bytes
    key: bytes


def ca_name(service: str) -> str:
    """Return the name of the secret with the authorities of a service's endpoints."""
    return f"{service}/ca"


def certificate_name(service: str) -> str:
    """Return the name of the secret with the certificate that sidecars show to them."""
    return f"{service}/certificate"


def secrets_of(service: Service) -> tuple[Key, ...]:
    """Return what a service's clusters refer to; nothing without TLS."""
    if service.tls is None:
        return ()
    names = [ca_name(service.name), *([certificate_name(service.name)] if service.tls.certificate else [])]
    return tuple(Key(TypeUrl.SECRET, name) for name in names)


def transport_socket(service: Service, lacks: frozenset[Feature]) -> bytes:
    """Return the encoded transport socket of a service's clusters; nothing without TLS."""
    if service.tls is None:
        return b""
    common = tls_pb2.CommonTlsContext(
        tls_params=tls_versions(), alpn_protocols=["http/1.1" if service.protocol is Protocol.HTTP1 else "h2"]
    )
    combined = common.combined_validation_context
    combined.default_validation_context.match_typed_subject_alt_names.extend(map(_dns, _names(service, service.tls)))
    combined.validation_context_sds_secret_config.CopyFrom(_sds(ca_name(service.name)))
    if service.tls.certificate:
        common.tls_certificate_sds_secret_configs.append(_sds(certificate_name(service.name)))
    context = tls_pb2.UpstreamTlsContext(common_tls_context=common, sni=service.tls.sni or "")
    if service.tls.sni is None and Feature.NAMES_OF_ENDPOINTS not in lacks:
        context.auto_host_sni = context.auto_sni_san_validation = True
    return encode(base_pb2.TransportSocket(name=TLS_SOCKET, typed_config=any_of(context)))


def with_secrets(policy: Policy, files: Mapping[str, Pem]) -> Policy:
    """Return the policy with what its services' files hold, by service; the digest follows the content."""
    made = tuple(own for name, pem in sorted(files.items()) for own in _secrets(policy, policy.services[name], pem))
    return _joined(policy, made)


def with_file_names(policy: Policy) -> Policy:
    """Return the policy with secrets that name the files, as the policy's text does."""
    services = (service for service in policy.services.values() if service.tls is not None)
    return _joined(policy, tuple(own for service in services for own in _named_files(policy, service)))


def _joined(policy: Policy, made: tuple[OwnResource, ...]) -> Policy:
    if not made:
        return policy
    parts = (f"{own.name}\0{own.version}\0{own.fleets}" for own in made)
    digest = hashlib.sha256("\n".join((policy.digest, *parts)).encode()).hexdigest()[:16]
    return replace(policy, own=(*policy.own, *made), digest=digest)


def _secrets(policy: Policy, service: Service, pem: Pem) -> Iterator[OwnResource]:
    source = base_pb2.DataSource
    certificate = (source(inline_bytes=pem.chain), source(inline_bytes=pem.key)) if pem.chain else None
    yield from _made(policy, service, source(inline_bytes=pem.ca), certificate)


def _named_files(policy: Policy, service: Service) -> Iterator[OwnResource]:
    tls, source = service.tls, base_pb2.DataSource
    assert tls is not None
    certificate = (source(filename=tls.certificate), source(filename=tls.key)) if tls.certificate else None
    yield from _made(policy, service, source(filename=tls.ca), certificate)


def _made(
    policy: Policy,
    service: Service,
    ca: base_pb2.DataSource,
    certificate: tuple[base_pb2.DataSource, base_pb2.DataSource] | None,
) -> Iterator[OwnResource]:
    fleets = tuple(name for name, fleet in policy.fleets.items() if service in policy.services_of(fleet))
    trusted = common_pb2.CertificateValidationContext(trusted_ca=ca)
    secrets = [secret_pb2.Secret(name=ca_name(service.name), validation_context=trusted)]
    if certificate is not None:
        shown = common_pb2.TlsCertificate(certificate_chain=certificate[0], private_key=certificate[1])
        secrets.append(secret_pb2.Secret(name=certificate_name(service.name), tls_certificate=shown))
    for secret in secrets:
        body = encode(secret)
        yield OwnResource(TypeUrl.SECRET, secret.name, content_version(body), body, fleets=fleets)


def _names(service: Service, tls: Tls) -> Iterable[str]:
    if tls.sni is not None:
        return [tls.sni]
    endpoints = (endpoint for deployment in service.deployments.values() for endpoint in deployment.endpoints)
    return sorted({endpoint.host for endpoint in endpoints if is_host_name(endpoint.host)})


def _dns(name: str) -> common_pb2.SubjectAltNameMatcher:
    matcher = common_pb2.SubjectAltNameMatcher
    return matcher(san_type=matcher.DNS, matcher=string_pb2.StringMatcher(exact=name))


def _sds(name: str) -> secret_pb2.SdsSecretConfig:
    return secret_pb2.SdsSecretConfig(name=name, sds_config=ads_source(FETCH_TIMEOUT_MS))
