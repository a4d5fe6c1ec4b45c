"""Invocations in Redis or Valkey, shared by all replicas: `event_store="redis://host/0?prefix=my-agent"`.

A hash has the state of an invocation, a stream its events. Where replicas could race, a Lua script decides, which the
server runs atomically. Invocations of a dead replica are reported as failed with `Interrupted`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from contextlib import suppress
from typing import Any, Final

from ppio_agent_models import ConfigurationError

from ..observability.logging import logger
from .kept_log import Entry, HeldEvents
from .redis_connection import Scripts, address_of, connect, disconnect
from .redis_heartbeat import Heartbeat, Inbox, errors_of_redis
from .redis_records import digest_of, entries_from, fields_of, flags, stored_from
from .shared_store import NewEvents, News, Reading, RefusedError, RunningHere, Watch
from .store import KeyScope, StoreBounds, StoredInvocation, StoreError, evicted, interrupted

_COST_BYTES: Final = 1024
"""Memory for an invocation besides its events and its body."""
_KEPT, _ALL_AGAIN = 1, 2  # see finish.lua
_MOST_LATE: Final = 1000
_FINISH_SECONDS: Final = 3.0
"""How long a response waits for a server that is briefly unreachable."""
_PAUSE_SECONDS: Final = 0.2


class RedisStore:
    """One replica's access to the store; see `InvocationStore`. It marks invocations of dead replicas as interrupted.

    Args:
        url: `redis://`, `rediss://`, `redis+sentinel://` or `redis+cluster://`, with the prefix of all keys.
        bounds: The limits, for all replicas together.
        running_here: Gets the requests of other replicas.

    Raises:
        ConfigurationError: The URL is wrong, or the extra `[redis]` is not installed.
    """

    def __init__(self, url: str, bounds: StoreBounds, running_here: RunningHere) -> None:
        self._address = address_of(url)
        connect(self._address)  # raises now if the URL is wrong; opens no connection yet
        self._bounds = bounds
        self._running_here = running_here
        self._replica = ""
        self._client: Any = None
        self._scripts: Scripts | None = None
        self._heartbeat: Heartbeat | None = None
        self._inbox: Inbox | None = None
        self._news = News()
        self._server = ("", "")  # the store's ID and the server's run ID
        self._written: dict[str, int] = {}  # by ID of a running invocation: number of the last written event
        self._late: dict[str, StoredInvocation | None] = {}  # to write, or delete, when the server is back
        self._readers = 0
        self.failure: str | None = None
        self.instance_id: str | None = None

    async def open(self) -> None:
        """Connect, and keep trying if that fails.

        Raises:
            ConfigurationError: The server refuses the credentials.
            StoreError: It cannot be reached now.
        """
        from redis.exceptions import AuthenticationError

        if self._client is not None:
            if self.failure is not None:
                raise StoreError(self.failure)  # the heartbeat tries again
            return
        self._replica = uuid.uuid4().hex
        self._client = connect(self._address)
        self._scripts = Scripts(self._client, self._address.prefix)
        self._heartbeat = Heartbeat(self._address, self._replica, self.note_alive, self.note_failure)
        self._inbox = Inbox(
            self._client, self._scripts, self._replica, self._heartbeat, self, self._news, self._running_here
        )
        try:
            store_id, run_id = await self._heartbeat.beat(self._scripts)
        except AuthenticationError as error:
            await self.close()
            raise ConfigurationError(f"event_store {self._address.place} cannot be used: {error}.") from error
        except errors_of_redis() as error:
            self._go_on(self._heartbeat, self._inbox)
            raise self.note_failure(error) from error
        except asyncio.CancelledError:  # the process ends before it has started
            client, self._client = self._client, None
            await disconnect(client)
            raise
        self.note_alive(store_id, run_id)
        self._go_on(self._heartbeat, self._inbox)

    def _go_on(self, heartbeat: Heartbeat, inbox: Inbox) -> None:
        """Start to send this replica's heartbeat, and to receive messages of other replicas."""
        heartbeat.start()
        inbox.start()

    async def close(self) -> None:
        """Write what is late, delete this replica's heartbeat and inbox, and disconnect."""
        client, scripts, self._client = self._client, self._scripts, None
        if client is None or scripts is None or self._heartbeat is None or self._inbox is None:
            return
        await self._inbox.stop()
        await self._heartbeat.stop()
        with suppress(StoreError):
            await self.keep_late()
        self._scripts = None
        with suppress(*errors_of_redis()):
            if self.failure is None:
                await client.delete(f"{scripts.base}alive:{self._replica}", f"{scripts.base}inbox:{self._replica}")
        with suppress(*errors_of_redis()):
            await disconnect(client)

    async def begin(self, stored: StoredInvocation) -> StoredInvocation | None:
        """Claim its key and store it; see `InvocationStore`."""
        claim = [*self._server, stored.id, self._replica, digest_of(stored.scope), *fields_of(stored, self._replica)]
        while True:
            try:
                answer = (await self._run("begin", *claim)).decode()
            except BaseException:  # it may have been stored nevertheless
                self._keep_later(stored.id, None)
                raise
            if not answer:
                self._written[stored.id] = 0
                return None
            if answer == "!":
                raise evicted()
            if answer == "?":
                self.note_alive(*await self._beat())
                raise StoreError("its server was restarted")
            if (taken := await self.get(answer)) is not None:
                return taken

    async def append(self, stored: StoredInvocation, new: NewEvents) -> int:
        """Store new events of a running invocation, and its state.

        Returns:
            Number of the last stored event; less than before if the store has lost some, and `LOST` if another
            replica has ended the invocation.
        """
        key = digest_of(stored.scope)
        facts = [*fields_of(stored, self._replica), "flags", flags(only_text=new.only_text, typed=new.typed)]
        arguments = [stored.id, self._replica, key, new.after, new.first_id, *_counted(new.entries), *facts]
        last = int(await self._run("append", *arguments))
        self._written[stored.id] = max(last, 0)
        return last

    async def finish(self, stored: StoredInvocation) -> StoredInvocation | None:
        """Store a finished invocation; see `InvocationStore`. Retries while the server is briefly unreachable."""
        deadline = time.monotonic() + _FINISH_SECONDS
        while True:
            try:
                other = await self._finish(stored, self._replica, self._written.get(stored.id, 0))
            except StoreError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                self._written.pop(stored.id, None)
                return other

    def finish_later(self, stored: StoredInvocation) -> None:
        """Store a finished invocation when the server is back, so that all replicas return the same."""
        self._keep_later(stored.id, stored)

    async def interrupt(self, replica: str, invocation_id: str) -> None:
        """Mark an invocation as interrupted, because its replica is dead."""
        stored = await self.get(invocation_id)
        if stored is not None and stored.answer is None:
            written = 0 if stored.events is None else stored.events.last_id
            await self._finish(interrupted(stored), replica, written)

    async def _finish(self, stored: StoredInvocation, owner: str, written: int) -> StoredInvocation | None:
        held = stored.events or HeldEvents([], 0, only_text=True)
        first_id = held.blocks[0][0] if held.blocks else held.last_id + 1
        size = sum(len(block) for _, block in held.blocks) + _COST_BYTES
        size += len((stored.answer and stored.answer.body) or b"")
        bounds = self._bounds
        most = [bounds.max_invocations, bounds.max_bytes, max(1, int(bounds.max_age_seconds * 1000))]
        key, facts = digest_of(stored.scope), fields_of(stored, owner)
        answer = _ALL_AGAIN
        for known in (written, 0):
            entries = [entry for entry in held.entries() if entry.first_id > known]
            arguments = [stored.id, owner, self._replica, key, known, *most, size, first_id, *_counted(entries)]
            answer = int(await self._run("finish", *arguments, *facts))
            if answer != _ALL_AGAIN:
                break
        return None if answer == _KEPT else await self.get(stored.id)

    async def delete(self, invocation_id: str) -> None:
        """Delete an invocation."""
        self._written.pop(invocation_id, None)
        try:
            await self._run("delete", invocation_id)
        except StoreError:
            self._keep_later(invocation_id, None)
            raise

    async def get(self, invocation_id: str) -> StoredInvocation | None:
        """Return the invocation with this ID and all its events; see `InvocationStore`."""
        pairs, events, _ = await self._run("read", invocation_id, 0, 1 << 30)
        return stored_from(invocation_id, pairs, events) if pairs else None

    async def get_by_key(self, scope: KeyScope) -> StoredInvocation | None:
        """Return the invocation with this idempotency key."""
        key = f"key:{digest_of(scope)}"
        if (invocation_id := await self._ask("GET", key)) is None:
            return None
        stored = await self.get(invocation_id.decode())
        if stored is None and await self._ask("GET", key) == invocation_id:  # else it was deleted meanwhile
            raise evicted()
        return stored

    async def read(self, invocation_id: str, after: int, most: int) -> Reading | None:
        """Return an invocation with at most `most` blocks, beginning with the one that has the event after `after`.

        Raises:
            RefusedError: The replica where it should run refused it.
        """
        pairs, events, is_refused = await self._run("read", invocation_id, after, most)
        if not pairs:
            if is_refused:
                raise RefusedError
            return None
        facts = dict(zip(pairs[::2], pairs[1::2], strict=True))
        stored = stored_from(invocation_id, pairs, [])
        held = stored.events or HeldEvents([], 0, only_text=True)
        return Reading(stored, held, int(facts.get(b"first", 1)), entries_from(events))

    def watch(self, invocation_id: str) -> Watch:
        """Return a reader of an invocation that runs in another replica."""
        self._readers += 1
        return Watch(self, self._news, invocation_id, f"{self._replica}/{self._readers}")

    async def cancel(self, invocation_id: str) -> None:
        """Request a cancel from the replica where it runs. Returns when the request is stored."""
        await self.tell(invocation_id, "cancel")

    async def tell(self, invocation_id: str, kind: str, reader: str = "", position: int = 0) -> None:
        """Send a message to the replica where it runs; see watch.lua."""
        await self._run("watch", invocation_id, kind, reader, position)

    async def keep_late(self) -> None:
        """Write what could not be written while the server was unreachable."""
        for invocation_id, stored in list(self._late.items()):
            if stored is None:
                await self._run("delete", invocation_id)
            else:
                await self._finish(stored, self._replica, 0)
            if self._late.get(invocation_id) is stored:
                del self._late[invocation_id]

    def note_alive(self, store_id: str, run_id: str) -> None:
        """Record that the server responds, and its IDs: after a restart it may have lost running invocations."""
        facts = f"{store_id} {run_id} {self._address.prefix}"
        self.instance_id = hashlib.sha256(facts.encode()).hexdigest()[:32]
        self._server = store_id, run_id
        if self.failure is not None:
            self.failure = None
            logger.info("The event store %s is available again.", self._address.place)

    def note_failure(self, error: BaseException) -> StoreError:
        """Record that the server cannot be used; log it the first time."""
        reason = str(error).rstrip(".") or type(error).__name__
        if self.failure is None:
            what = "The event store %s cannot be used: %s. Durable calls are refused until it works again."
            logger.error(what, self._address.place, reason)
        self.failure = reason
        return StoreError(reason)

    def _keep_later(self, invocation_id: str, stored: StoredInvocation | None) -> None:
        self._late[invocation_id] = stored
        while len(self._late) > _MOST_LATE:
            del self._late[next(iter(self._late))]

    async def _beat(self) -> tuple[str, str]:
        if self._heartbeat is None or self._scripts is None:
            raise StoreError("it is closed")
        try:
            return await self._heartbeat.beat(self._scripts)
        except errors_of_redis() as error:
            raise self.note_failure(error) from error

    async def _run(self, name: str, *arguments: Any) -> Any:
        if self._scripts is None:
            raise StoreError("it is closed")
        try:
            return await self._scripts.run(name, *arguments)
        except errors_of_redis() as error:
            raise self.note_failure(error) from error

    async def _ask(self, command: str, key: str) -> Any:
        if self._client is None or self._scripts is None:
            raise StoreError("it is closed")
        try:
            return await self._client.execute_command(command, self._scripts.base + key)
        except errors_of_redis() as error:
            raise self.note_failure(error) from error


def _counted(entries: list[Entry]) -> list[Any]:
    """Return entries as arguments of the scripts: their count, then the three parts of each."""
    return [len(entries), *(part for entry in entries for part in entry)]
