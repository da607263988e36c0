import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LoadStats(_message.Message):
    __slots__ = ("cluster_stats",)
    CLUSTER_STATS_FIELD_NUMBER: _ClassVar[int]
    cluster_stats: _containers.RepeatedCompositeFieldContainer[ClusterStats]
    def __init__(self, cluster_stats: _Optional[_Iterable[_Union[ClusterStats, _Mapping]]] = ...) -> None: ...

class ClusterStats(_message.Message):
    __slots__ = ("cluster_name", "upstream_locality_stats", "total_dropped_requests", "load_report_interval")
    CLUSTER_NAME_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_LOCALITY_STATS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_DROPPED_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    LOAD_REPORT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    cluster_name: bytes
    upstream_locality_stats: _containers.RepeatedCompositeFieldContainer[UpstreamLocalityStats]
    total_dropped_requests: int
    load_report_interval: _duration_pb2.Duration
    def __init__(self, cluster_name: _Optional[bytes] = ..., upstream_locality_stats: _Optional[_Iterable[_Union[UpstreamLocalityStats, _Mapping]]] = ..., total_dropped_requests: _Optional[int] = ..., load_report_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class UpstreamLocalityStats(_message.Message):
    __slots__ = ("locality", "total_successful_requests", "total_requests_in_progress", "total_error_requests", "total_issued_requests")
    LOCALITY_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SUCCESSFUL_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_REQUESTS_IN_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_ERROR_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_ISSUED_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    locality: bytes
    total_successful_requests: int
    total_requests_in_progress: int
    total_error_requests: int
    total_issued_requests: int
    def __init__(self, locality: _Optional[bytes] = ..., total_successful_requests: _Optional[int] = ..., total_requests_in_progress: _Optional[int] = ..., total_error_requests: _Optional[int] = ..., total_issued_requests: _Optional[int] = ...) -> None: ...
