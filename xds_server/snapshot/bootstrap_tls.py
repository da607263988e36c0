"""TLS from an Envoy to the control plane: the transport socket of the bootstrap's cluster `xds`.

Envoy reads files that a static cluster names once, when it starts. It follows them only where they are named in a
secret that came by SDS, and SDS may come from a file (Envoy, "Certificate Management"). So there are two forms: with
`sds_dir` the secrets are files of their own there, which name the certificates and have their directories watched, so
that a rotation needs no restart; without, the bootstrap names the certificates itself. What counts as a rotation is a
move in the directory (`mv new.pem cert.pem`, or the symbolic link that Kubernetes swaps), not a write into a file.

A new certificate is shown on a new connection only. A client that is denied asks again and again on the one it has, so
it would never show the certificate that was put right meanwhile (seen). So a connection takes no new stream after
a minute; those that are on it stay.

The control plane is verified by name: the one asked for, else the host that is connected to; for an IP address the
certificate must hold that address.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from xds_server.snapshot.endpoints import is_host_name
from xds_server.snapshot.resource import TypeUrl
from xds_server.snapshot.wire import any_of

CA, CERTIFICATE = "xds-ca", "xds-certificate"
LONGEST_CONNECTION_MS = 60_000
TLS_SOCKET = "envoy.transport_sockets.tls"


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Files as the Envoy sees them: whom it trusts, and what it shows (empty: nothing). `name` is the control plane's.

    `sds_dir` is where the Envoy finds the secrets that `secret_files` gives; empty for none.
    """

    ca: str
    certificate: str = ""
    key: str = ""
    name: str = ""
    sds_dir: str = ""


def transport_socket(tls: ClientTls, host: str) -> base_pb2.TransportSocket:
    """Return the transport socket towards a control plane that is connected to at `host`."""
    name = tls.name or host
    common = tls_pb2.CommonTlsContext(alpn_protocols=["h2"], tls_params=tls_versions())
    if tls.sds_dir:
        combined = common.combined_validation_context
        combined.default_validation_context.CopyFrom(_of_name(name))
        combined.validation_context_sds_secret_config.CopyFrom(_sds(tls, CA))
        if tls.certificate:
            common.tls_certificate_sds_secret_configs.append(_sds(tls, CERTIFICATE))
    else:
        common.validation_context.CopyFrom(_of_name(name))
        common.validation_context.trusted_ca.filename = tls.ca
        if tls.certificate:
            common.tls_certificates.append(_certificate(tls))
    context = tls_pb2.UpstreamTlsContext(common_tls_context=common, sni=name if is_host_name(name) else "")
    return base_pb2.TransportSocket(name=TLS_SOCKET, typed_config=any_of(context))


def tls_versions() -> common_pb2.TlsParameters:
    """Return TLS 1.2 and 1.3: as a client Envoy would stop at 1.2, which shows a client's certificate to bystanders."""
    versions = common_pb2.TlsParameters
    return versions(tls_minimum_protocol_version=versions.TLSv1_2, tls_maximum_protocol_version=versions.TLSv1_3)


def with_static_secrets(socket: base_pb2.TransportSocket) -> base_pb2.TransportSocket:
    """Return a transport socket whose secrets are those of the same names in the bootstrap itself."""
    context = tls_pb2.UpstreamTlsContext()
    socket.typed_config.Unpack(context)
    common = context.common_tls_context
    common.combined_validation_context.validation_context_sds_secret_config.ClearField("sds_config")
    for certificate in common.tls_certificate_sds_secret_configs:
        certificate.ClearField("sds_config")
    return base_pb2.TransportSocket(name=socket.name, typed_config=any_of(context))


def secret_files(tls: ClientTls) -> dict[str, str]:
    """Return the files of `sds_dir` by name: one for each secret."""
    ca = common_pb2.CertificateValidationContext(trusted_ca=_file(tls.ca), watched_directory=_watched(tls.ca))
    secrets = [secret_pb2.Secret(name=CA, validation_context=ca)]
    if tls.certificate:
        certificate = _certificate(tls)
        certificate.watched_directory.CopyFrom(_watched(tls.certificate))
        secrets.append(secret_pb2.Secret(name=CERTIFICATE, tls_certificate=certificate))
    return {_file_name(secret.name): _response(secret) for secret in secrets}


def _of_name(name: str) -> common_pb2.CertificateValidationContext:
    matcher = common_pb2.SubjectAltNameMatcher
    kind = matcher.DNS if is_host_name(name) else matcher.IP_ADDRESS
    expected = matcher(san_type=kind, matcher=string_pb2.StringMatcher(exact=name))
    return common_pb2.CertificateValidationContext(match_typed_subject_alt_names=[expected])


def _certificate(tls: ClientTls) -> common_pb2.TlsCertificate:
    return common_pb2.TlsCertificate(certificate_chain=_file(tls.certificate), private_key=_file(tls.key))


def _sds(tls: ClientTls, name: str) -> secret_pb2.SdsSecretConfig:
    path = config_source_pb2.PathConfigSource(path=f"{tls.sds_dir}/{_file_name(name)}")
    source = config_source_pb2.ConfigSource(path_config_source=path, resource_api_version=config_source_pb2.V3)
    return secret_pb2.SdsSecretConfig(name=name, sds_config=source)


def _file(path: str) -> base_pb2.DataSource:
    return base_pb2.DataSource(filename=path)


def _watched(path: str) -> base_pb2.WatchedDirectory:
    return base_pb2.WatchedDirectory(path=path.rpartition("/")[0] or ".")


def _file_name(secret: str) -> str:
    return f"{secret}.json"


def _response(secret: Message) -> str:
    """Return a DiscoveryResponse as JSON, which is what Envoy reads from a file."""
    fields: dict[str, Any] = MessageToDict(secret, preserving_proto_field_name=True)
    return json.dumps({"resources": [{"@type": TypeUrl.SECRET, **fields}]}, indent=2) + "\n"
