"""What a process starts with: its options, the first policy, and what an earlier process left behind."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from xds_server.history.archive import HISTORY, IN_MEMORY, Archive, Limits
from xds_server.model import Event
from xds_server.operator.logs import Style
from xds_server.operator.order_desk import NotSavedError
from xds_server.orders.codec import BadOrdersError
from xds_server.orders.codec import from_json as orders_from_json
from xds_server.orders.types import Orders
from xds_server.process.admin_access import AccessPaths
from xds_server.signals.policy_file import PolicyText
from xds_server.signals.policy_reader import Accepted, Reading, Rejected, judge, read_now
from xds_server.signals.resource_folder import FolderTexts
from xds_server.signals.tls_files import TlsPaths
from xds_server.step import Memory
from xds_server.store.codec import CorruptError, from_json
from xds_server.store.directory import StateError
from xds_server.store.state import State
from xds_server.transport.csds import is_loopback

now = time.monotonic


@dataclass(frozen=True, slots=True)
class Options:
    """What `serve` was asked for. Addresses are (host, port); port 0 picks a free one.

    `record_bytes` bounds the record of what went into decisions; 0, or no `state_dir`, and nothing is recorded.
    With `live_signals` what Envoys and agents report has a say in decisions; without, the control plane's own probes
    alone have, and the reports are shown. `admin_names` are host names that the admin side answers to,
    `access` are the files that say who may use it. `history_days` is how long history is kept in the `state_dir`.
    With `tls` the xDS port speaks TLS.
    """

    policy: Path
    xds: tuple[str, int]
    admin: tuple[str, int]
    state_dir: Path | None
    log_level: str
    log_format: Style
    record_bytes: int = 0
    resources: Path | None = None
    max_connection_age_s: float | None = None
    live_signals: bool = True
    admin_names: tuple[str, ...] = ()
    history_days: float = 30.0
    access: AccessPaths = AccessPaths()  # noqa: RUF009  (a tuple)
    tls: TlsPaths | None = None

    @property
    def asks_certificates(self) -> bool:
        """Return whether clients of the xDS port must show a certificate."""
        return self.tls is not None and self.tls.ca is not None


class StartError(Exception):
    """The process cannot start; the message says why, for a person."""


def open_archive(options: Options, log: logging.Logger) -> Archive:
    """Open the history: in the state directory, else in memory."""
    if options.state_dir is None:
        return Archive(None, IN_MEMORY, log.warning)
    return Archive(options.state_dir / HISTORY, Limits(options.history_days * 86400.0), log.warning)


class First(NamedTuple):
    """What to start with: the policy that is in force first.

    If that is the one before, because what the file says was rolled back or on trial when an earlier process ended,
    that is in `refused`, with the reason, or in `trial`. `lost` says why it is in force although it was the one or the
    other: the one before is not to be had.
    """

    policy: Accepted
    refused: Accepted | None = None
    reason: str = ""
    trial: Accepted | None = None
    lost: str = ""

    def event(self, now: float) -> Event | None:
        """Return what operators are told of a start that goes on where an earlier process ended."""
        digest = self.policy.policy.digest
        if self.refused is not None:
            words = f"policy {self.refused.policy.digest} was rolled back before: {self.reason}"
            return Event("policy.rejected", now, words, "alarm")
        if self.trial is not None:
            what = f"policy {self.trial.policy.digest} was on trial when the process before ended"
            words = f"{what}: policy {digest} is in force until clients are back and have tried it"
            return Event("policy.trial", now, words)
        if self.lost:
            what = f"policy {digest} {self.lost} when the process before ended, but the one before it is not to be had"
            return Event("policy.warning", now, f"{what}: it is in force, untried", "warning")
        return None


def first_policy(options: Options, state: State | None, on_trial: str = "") -> First:
    """Return the file's policy; the last good one that was kept if that is none (the reader will say why).

    Or if it has not passed its trial: a start has no cohort to try it on, and would send it to everybody. `on_trial` is
    the digest of the one that was on trial. That counts more than its having been rolled back: an operator wanted so.
    """
    found = fit(read_now(options.policy, options.resources), options)
    kept = _last_good(options, state)
    if isinstance(found, Rejected):
        if kept is not None:
            return First(kept)
        raise _nothing_to_start_with(found)
    digest = found.policy.digest
    if digest == on_trial:
        return First(kept, trial=found) if kept is not None else First(found, lost="was on trial")
    refusal = state.refusal() if state is not None else None
    if refusal is not None and digest == refusal[0]:
        return First(kept, found, refusal[1]) if kept is not None else First(found, lost="had been rolled back")
    return First(found)


def _nothing_to_start_with(found: Rejected) -> StartError:
    words = "the policy cannot be used, and there is no earlier one to go on with:"
    return StartError("\n".join((words, *found.errors)))


def _last_good(options: Options, state: State | None) -> Accepted | None:
    last = state.policy() if state is not None else None
    if last is None:
        return None
    texts = last.resources if options.resources is not None else ()
    folder = FolderTexts(str(options.resources), tuple(PolicyText(name, text) for name, text in texts))
    kept = judge(PolicyText(str(options.policy), last.text), folder)
    return kept if isinstance(kept, Accepted) else None


def fit(reading: Reading, options: Options) -> Reading:
    """Refuse a policy with `clients` where nobody is asked for a certificate: all would be locked out.

    Warn of one with private keys where the xDS port does not speak TLS, unless it stays on this machine.
    """
    if isinstance(reading, Rejected):
        return reading
    keys = [name for name, service in reading.policy.services.items() if service.tls is not None and service.tls.key]
    if keys and options.tls is None and not is_loopback(f"ipv4:{shown(*options.xds)}"):
        path = f"{options.policy}: services.{keys[0]}.tls.key"
        words = f"{path}: Envoys get it over an xDS port without TLS; start with --xds-cert and --xds-key"
        reading = replace(reading, warnings=(*reading.warnings, words))
    if not reading.policy.clients or options.asks_certificates:
        return reading
    words = "clients: says which certificates may speak as whom, but none are asked for; start with --xds-ca"
    return Rejected(str(options.policy), (f"{options.policy}: {words}, or remove it",))


def kept_memory(state: State | None) -> Memory | None:
    """Return what an earlier process believed and had in force."""
    memory = state.load_memory() if state is not None else None
    if state is None or memory is None:
        return None
    try:
        return from_json(memory, now())
    except CorruptError as error:
        state.refuse_memory(str(error))
        return None


def kept_orders(state: State | None) -> Orders:
    """Return the orders that were in force when the process ended; those that ended meanwhile end at once."""
    document = state.load_orders() if state is not None else None
    if document is None:
        return Orders()
    try:
        return orders_from_json(json.loads(document), time.time() - now())
    except (BadOrdersError, ValueError) as error:
        if state is not None:
            state.refuse_orders(str(error))
        return Orders()


def shown(host: str, port: int) -> str:
    """Return an address as text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def saver(state: State) -> Callable[[str], Awaitable[None]]:
    """Return what writes orders down for the order desk."""

    async def save(document: str) -> None:
        try:
            await state.save_orders(document)
        except StateError as error:
            raise NotSavedError(str(error)) from error

    return save
