"""A client for agents: what a region's own monitoring runs, to say how the region is.

    with AgentClient("control-plane:18000", reporter="monitor-1") as client:
        client.report("us-east-1", "checkout", healthy=True, utilisation=0.62, capacity_rps=18_000)

A report counts for its time to live, so report again well before it ends: silence is no opinion. A refused report
raises `grpc.RpcError` with every reason in `details()`, and so does a control plane that cannot be reached; a monitor
should log that and go on.
"""

from __future__ import annotations

from types import TracebackType

import grpc
from google.protobuf.duration_pb2 import Duration

from xds_server.agent.v1 import agent_pb2

METHOD = "/xds_server.agent.v1.ReportService/Report"

_HEALTH = {None: agent_pb2.HEALTH_UNSPECIFIED, True: agent_pb2.HEALTHY, False: agent_pb2.UNHEALTHY}


class AgentClient:
    """Reports to one control plane; thread-safe. Close it, or use it as a context manager."""

    def __init__(self, address: str, *, reporter: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        self._reporter = reporter
        self._channel = (
            grpc.insecure_channel(address) if credentials is None else grpc.secure_channel(address, credentials)
        )
        self._call = self._channel.unary_unary(
            METHOD,
            request_serializer=agent_pb2.ReportRequest.SerializeToString,
            response_deserializer=agent_pb2.ReportResponse.FromString,
        )

    def report(
        self,
        region: str,
        service: str = "",
        *,
        healthy: bool | None = None,
        utilisation: float | None = None,
        capacity_rps: float | None = None,
        view: str = "",
        ttl_s: float = 30.0,
        detail: str = "",
        timeout_s: float = 5.0,
    ) -> None:
        """Report one service in one region, or all services there. Raises grpc.RpcError."""
        ttl = Duration()
        ttl.FromNanoseconds(round(ttl_s * 1e9))
        report = agent_pb2.Report(
            region=region,
            service=service,
            view=view,
            health=_HEALTH[healthy],
            utilisation=utilisation,
            capacity_rps=capacity_rps,
            ttl=ttl,
            detail=detail,
        )
        self.send([report], timeout_s=timeout_s)

    def send(self, reports: list[agent_pb2.Report], *, timeout_s: float = 5.0) -> int:
        """Send several at once; return how many were taken, which is all. Raises grpc.RpcError."""
        request = agent_pb2.ReportRequest(reporter=self._reporter, reports=reports)
        response: agent_pb2.ReportResponse = self._call(request, timeout=timeout_s)
        return response.accepted

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> AgentClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
