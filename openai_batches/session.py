"""``BatchSession``, the object that users begin with: its configuration, its lifetime, and what it offers."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import msgspec

from openai_batches._arguments import check_flags, check_seconds
from openai_batches._names import public
from openai_batches.errors import InputError
from openai_batches.http.client import Exchange, Secret, client_timeout
from openai_batches.http.configuration import (
    check_encryption,
    check_types,
    checked_headers,
    service_address,
    service_headers,
    service_key,
)
from openai_batches.http.failures import Repeat
from openai_batches.http.retries import Transport
from openai_batches.http.wire import Answer, Request, clean_path, query_string
from openai_batches.policies import RetryPolicy
from openai_batches.providers import OPENAI, Provider
from openai_batches.resources.batches import Batches
from openai_batches.resources.files import Files

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
    from types import TracebackType

    import aiohttp

    from openai_batches.http.client import ApiKey
    from openai_batches.jobs.cleanup.doctor import Cleanup, Diagnosis, Directories
    from openai_batches.models import FileObject
    from openai_batches.policies import PollPolicy
    from openai_batches.requests.read import RequestSource
    from openai_batches.results.result import BatchResult

__all__ = ["BatchSession"]

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


@public
class BatchSession:
    """A session with one service, for one key: ``async with BatchSession() as session: ...``.

    Making one sends nothing and opens nothing. An ``aiohttp.ClientSession`` of its own is opened on first use, in the
    event loop of that moment, and closed by ``close()`` or at the end of ``async with``. One that you pass is borrowed
    and never closed; how it connects (connector, proxy, TLS, traces) is then determined by that session only.

    Every attempt logs a line on ``openai_batches`` (DEBUG; INFO before a repetition) with method, path, status,
    attempt, milliseconds and request id, never with the key or a body.

    Attributes:
        batches: the verbs of batches.
        files: the verbs of files.

    Args:
        api_key: the key, or an async callable that gives the key for each attempt (tokens that rotate). Without one,
            ``OPENAI_API_KEY`` is read.
        base_url: the service's address; without one ``OPENAI_BASE_URL``, else ``https://api.openai.com/v1``. Another
            ``provider`` has another variable and address.
        organization: sent as ``OpenAI-Organization``; without one ``OPENAI_ORG_ID``, if set.
        project: sent as ``OpenAI-Project``; without one ``OPENAI_PROJECT_ID``, if set.
        session: an ``aiohttp.ClientSession`` to borrow.
        timeout: seconds of silence after which an attempt has failed (120), or an ``aiohttp.ClientTimeout``. The time
            spent waiting for one of the connector's connections (100, unless you pass another connector) does not count
            as silence, and is not limited.
        retry: how often, and after which pauses, a failed attempt is repeated.
        poll: how often batches that are waited for are polled, if the call that waits does not say; a policy, or a
            fixed number of seconds.
        headers: sent with every request.
        provider: the service, where it is another than OpenAI; key, address, organization and project are then not
            taken from OpenAI's variables.
        require_tls: refuse to send the key over plain ``http`` to a host that is not loopback, instead of warning.
        trust_env: let our own session honour ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``.
        connector: for our own session: aiohttp's connector, which it closes.
        proxy: for our own session: the address of a proxy.
        trace_configs: for our own session: aiohttp's tracing.
        middlewares: for our own session: aiohttp's client middlewares.
        now: the wall clock in Unix seconds, for tests.

    Raises:
        InputError: there is no key, or an argument cannot be right.
    """

    def __init__(
        self,
        api_key: ApiKey | None = None,
        *,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        session: aiohttp.ClientSession | None = None,
        timeout: float | aiohttp.ClientTimeout | None = None,
        retry: RetryPolicy | None = None,
        poll: PollPolicy | float | None = None,
        headers: Mapping[str, str] | None = None,
        provider: Provider = OPENAI,
        require_tls: bool = False,
        trust_env: bool = True,
        connector: aiohttp.BaseConnector | None = None,
        proxy: str | None = None,
        trace_configs: Sequence[aiohttp.TraceConfig] | None = None,
        middlewares: Sequence[aiohttp.ClientMiddlewareType] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(api_key, str):
            api_key = Secret(api_key)  # a mistake in another argument must not show it among the local variables
        check_types(retry, headers, provider)
        url = service_address(base_url, provider)
        check_encryption(url, require_tls=require_tls)
        own_options = {
            "connector": connector,
            "proxy": proxy,
            "trace_configs": trace_configs,
            "middlewares": middlewares,
        }
        given = {name: value for name, value in own_options.items() if value is not None}
        if session is not None and given:
            raise InputError(f"{', '.join(given)} cannot be set on a borrowed session: set it where you open that")
        self._exchange = Exchange(
            base_url=url,
            query=urlencode(provider.query),
            auth_header=provider.auth_header,
            headers=service_headers(headers, organization, project, provider),
            timeout=client_timeout(timeout),
            session=session,
            session_options=given,
            trust_env=trust_env and proxy is None,
        )
        self._transport = Transport(
            self._exchange,
            api_key=service_key(api_key, provider),
            auth_prefix=provider.auth_prefix,
            retry=retry or RetryPolicy(),
            now=now,
        )
        self._base_url = url
        self._provider = provider
        self.files: Files = Files(self._transport, provider=provider)
        self.batches: Batches = Batches(self._transport, self.files, provider=provider, poll=poll)

    def __repr__(self) -> str:
        if not hasattr(self, "_base_url"):
            return "<BatchSession (not made)>"  # in a traceback of __init__
        return f"<BatchSession {self._base_url}{' (closed)' if self.closed else ''}>"

    async def __aenter__(self) -> Self:
        """Return the session; nothing is opened before the first call."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the session."""
        await self.close()

    @property
    def base_url(self) -> str:
        """The service's address, without a slash at the end."""
        return self._base_url

    @property
    def provider(self) -> Provider:
        """The service, as data."""
        return self._provider

    def now(self) -> float:
        """Return the wall clock's time in Unix seconds, from the clock the session was given."""
        return self._transport.now()

    @property
    def closed(self) -> bool:
        """Whether the session was closed."""
        return self._exchange.is_closed

    async def close(self) -> None:
        """Close our own ``aiohttp.ClientSession``, never a borrowed one. Closing twice does nothing.

        Calls that still wait for a batch raise an ``InputError`` that says so; the batches go on.
        """
        await self.batches.close()
        await self._exchange.close()

    async def run(
        self,
        source: RequestSource,
        *,
        directory: str | os.PathLike[str] | None = None,
        ordered: bool = False,
        body_type: Any = None,
        **options: Any,
    ) -> AsyncGenerator[BatchResult, None]:
        """Run any number of requests as a job; yield one result for each, beginning when the first shard is done.

        This runs a :class:`BatchJob`, and takes the same options. A job that was interrupted, by closing this iterator,
        by a crash or by a loss of power, continues when this is called again with the same source and directory; all
        results are then yielded.

        Args:
            source: a path (``.jsonl``, ``.jsonl.gz``, ``.jsonl.zst``), or an iterable or async iterable of requests,
                mappings and raw lines.
            directory: where the journal, the shards and the results are kept; None: next to the source, with ``.job``
                appended to its name.
            ordered: yield in the order of the source.
            body_type: a type, as for ``result.parse``, that ``result.body`` of a success is given as.
            options: see :class:`BatchJob`.

        Raises:
            BatchesError: as ``BatchJob.run``.
            OSError: as ``BatchJob.run``.
        """
        from openai_batches.jobs.job import BatchJob  # noqa: PLC0415  # a session without jobs does not load them

        job = BatchJob(self, source, directory=directory, **options)
        # The job is closed first, so that another one that waits for its directory knows that it will be free.
        async with aclosing(job.results(ordered=ordered, body_type=body_type)) as results, job:
            async for result in results:
                yield result

    async def doctor(
        self,
        directories: Directories = (),
        *,
        stalled_after_s: float = 26 * 3_600.0,
        expiring_within_s: float = 3 * 86_400.0,
    ) -> Diagnosis:
        """Return the files and batches at the service that none of the given jobs needs or knows; nothing is changed.

        All batches and files are listed, with one request for every 100 batches and for every 1,000 files.

        Args:
            directories: the directories of the jobs whose files and batches are known.
            stalled_after_s: after how many seconds without a change of its status an open batch counts as stalled.
            expiring_within_s: how far ahead to look for result files that expire.

        Raises:
            InputError: a directory holds no job, or an argument cannot be right.
            APIError: the service said no.
            TransportError: no whole answer came.
        """
        from openai_batches.jobs.arguments import check_directories  # noqa: PLC0415
        from openai_batches.jobs.cleanup.doctor import examine  # noqa: PLC0415

        check_directories(directories)
        check_seconds(stalled_after_s=stalled_after_s, expiring_within_s=expiring_within_s)
        return await examine(self, directories, stalled_after_s=stalled_after_s, expiring_within_s=expiring_within_s)

    async def gc(
        self,
        directories: Directories = (),
        *,
        dry_run: bool = True,
        older_than_s: float = 86_400.0,
        with_results: bool = False,
        only: Collection[str] | None = None,
        on_deleted: Callable[[FileObject], object] | None = None,
    ) -> Cleanup:
        """Delete the files at the service that are safe to delete, or only return which these are.

        They are the input files that jobs of this library have uploaded (their names say so), older than the limit,
        that no open batch uses and none of the given jobs still needs.

        Args:
            directories: the directories of jobs whose files are not touched until they are done with them.
            dry_run: only say what would be deleted.
            older_than_s: how old a file must be, in seconds; one day.
            with_results: also delete result files of the given jobs, once their results are on the disk and counted.
            only: the ids of the files that may be deleted, such as those that a person has agreed to; None: all.
            on_deleted: called with each file after it was deleted, so that after a failure it is known which files
                were.

        Raises:
            InputError: a directory holds no job, or an argument cannot be right.
            JournalError: a journal cannot be read, so that it is not known which files its job needs.
            APIError: the service said no.
            TransportError: no whole answer came.
        """
        from openai_batches.jobs.arguments import check_directories  # noqa: PLC0415
        from openai_batches.jobs.cleanup.doctor import clean_up  # noqa: PLC0415

        check_directories(directories)
        check_flags(dry_run=dry_run, with_results=with_results)
        check_seconds(older_than_s=older_than_s)
        return await clean_up(
            self,
            directories,
            dry_run=dry_run,
            older_than_s=older_than_s,
            with_results=with_results,
            only=only,
            on_deleted=on_deleted,
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        max_bytes: int = 64 * 1024 * 1024,
    ) -> Answer:
        """Send any request to the service, with the session's key, retries and errors; for calls without a method here.

        Args:
            method: the HTTP method.
            path: the path below the base URL, quoted, with or without its first slash.
            params: the query.
            json: the body, sent as JSON; None sends none.
            headers: further headers.
            repeatable: whether the request may safely be sent twice. If not given, GET, HEAD, OPTIONS, PUT and DELETE
                may; others are only repeated when it is certain that the service did nothing.
            max_bytes: a larger answer is refused rather than held in memory.

        Returns:
            The answer: ``status``, ``headers``, ``body`` as bytes, ``json()`` and ``request_id``.

        Raises:
            InputError: the path could lead away from the service, or the body is no JSON.
            APIError: the service said no.
            TransportError: no whole answer came.
        """
        method = method.upper()
        path = clean_path(path)
        if params:
            query = query_string(**params)
            path += query.replace("?", "&", 1) if "?" in path else query
        try:
            body = None if json is None else msgspec.json.encode(json)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"the body cannot be written as JSON: {error}") from error
        safely = method in _REPEATABLE if repeatable is None else repeatable
        request: Request[Any] = Request(
            method=method,
            path=path,
            returns=object,
            repeat=Repeat.SAFELY if safely else Repeat.ONLY_UNDONE,
            body=body,
            headers=checked_headers(headers, "a request"),
            max_bytes=max_bytes,
        )
        return await self._transport.answer(request)
