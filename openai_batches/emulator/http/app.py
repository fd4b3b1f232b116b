"""The HTTP application: its routes, the headers of every answer, and error answers."""

import email.utils
import errno
import logging
import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from openai_batches.emulator.answers import CLIENT_TIMEOUT_S, APIError, NoAnswer, StreamedAnswer
from openai_batches.emulator.http.batch_routes import BatchRoutes
from openai_batches.emulator.http.context import Context, RequestRecord
from openai_batches.emulator.http.file_routes import FileRoutes
from openai_batches.emulator.http.health import healthz
from openai_batches.emulator.http.upload_routes import UploadRoutes
from openai_batches.emulator.http.webhook_routes import WebhookRoutes
from openai_batches.emulator.profiles.profiles import Profile
from openai_batches.emulator.rules import ORGANIZATION, PROJECT
from openai_batches.emulator.webhooks.delivery import Webhooks

_logger = logging.getLogger(__name__)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MAX_JSON_BYTES = 1024 * 1024
_RECORDED = (
    "accept",
    "accept-encoding",
    "content-length",
    "content-type",
    "idempotency-key",
    "if-range",
    "openai-organization",
    "openai-project",
    "range",
    "user-agent",
    "x-client-request-id",
    "x-stainless-retry-count",
)


def build_app(context: Context, webhooks: Webhooks) -> web.Application:
    """Return the application that answers for `context`."""
    app = web.Application(
        middlewares=[_frame(context), _faults(context), _commit(context)], client_max_size=_MAX_JSON_BYTES
    )
    app[CLIENT_TIMEOUT_S] = context.rules.client_timeout_s
    app.router.add_get("/healthz", healthz(context))
    routes = app if _is_plain(context.profile) else web.Application()
    BatchRoutes(context).add_to(routes)
    FileRoutes(context).add_to(routes)
    UploadRoutes(context).add_to(routes)
    WebhookRoutes(context, webhooks).add_to(routes)
    if routes is not app:
        _move(routes, app, context.profile)
    return app


def _frame(context: Context) -> Middleware:
    """Record each request and give each answer, errors too, the service's headers."""

    @web.middleware
    async def frame(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        record = _record(context, request)
        context.requests.append(record)
        answer = await _answer(request, handler)
        if not isinstance(answer, NoAnswer):
            record.status = answer.status
        answer.headers["x-request-id"] = record.request_id
        answer.headers["openai-processing-ms"] = str(int((time.perf_counter() - started) * 1000))
        answer.headers["openai-version"] = "2020-10-01"
        answer.headers.setdefault("openai-organization", ORGANIZATION)
        answer.headers.setdefault("openai-project", PROJECT)
        answer.headers["Date"] = email.utils.formatdate(context.clock.now(), usegmt=True)
        return answer

    return frame


def _faults(context: Context) -> Middleware:
    """Answer through the faults that strike the request."""

    @web.middleware
    async def faults(request: web.Request, handler: Handler) -> web.StreamResponse:
        async def act(request: web.Request) -> web.StreamResponse:
            return await _answer(request, handler)

        # Errors are answers already, so that a fault can lose or cut them, too.
        return await context.faults.answer(request, act)

    return faults


def _commit(context: Context) -> Middleware:
    """Send no answer before the changes that it tells of are on disk."""

    @web.middleware
    async def commit(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            answer = await handler(request)
        except APIError as refusal:
            answer = refusal.to_response()
        try:
            await context.store.commit()
        except OSError:
            if isinstance(answer, StreamedAnswer):
                answer.close()
            raise
        return answer

    return commit


def _record(context: Context, request: web.Request) -> RequestRecord:
    return RequestRecord(
        method=request.method,
        path=request.path,
        query=dict(request.query),
        headers={name: request.headers[name] for name in _RECORDED if name in request.headers},
        time=context.clock.now(),
        request_id=context.store.ids.request(),
    )


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except APIError as error:
        return error.to_response()
    except web.HTTPException as error:
        return _http_error(request, error)
    except ConnectionError:
        return NoAnswer()
    except Exception as error:
        _logger.exception("the emulator could not answer %s %s", request.method, request.path)
        if isinstance(error, OSError) and error.errno in _FULL:
            return APIError("The server has no space left.", status=507, type="server_error").to_response()
        message = "The server had an error while processing your request."
        return APIError(message, status=500, type="server_error").to_response()


def _http_error(request: web.Request, error: web.HTTPException) -> web.Response:
    if error.status == 404:
        return APIError(f"Invalid URL ({request.method} {request.path})", status=404).to_response()
    if error.status == 405:
        message = f"Invalid method for URL ({request.method} {request.path})"
        return APIError(message, status=405, headers={"Allow": error.headers["Allow"]}).to_response()
    return APIError(error.reason, status=error.status).to_response()


def _is_plain(profile: Profile) -> bool:
    """Tell whether the operations are under `/v1` and nowhere else."""
    return profile.prefixes == ("/v1",) and not profile.dated_prefix


def _move(routes: web.Application, app: web.Application, profile: Profile) -> None:
    """Let `app` answer the routes that were registered under `/v1` where the profile has them."""
    for route in routes.router.routes():
        path = "" if route.resource is None else route.resource.canonical.removeprefix("/v1")
        for prefix in profile.prefixes:
            app.router.add_route(route.method, prefix + path, route.handler)
        if profile.dated_prefix:
            app.router.add_route(route.method, profile.dated_prefix + path, _dated(route.handler))
    app.middlewares.insert(0, _translator(profile))


def _dated(handler: Handler) -> Handler:
    """Answer only requests that have an `api-version`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if not request.query.get("api-version"):
            raise APIError("Resource not found", status=404, code="404")
        return await handler(request)

    return answer


def _translator(profile: Profile) -> Middleware:
    """Give each request the path under `/v1` that it means."""

    @web.middleware
    async def translate(request: web.Request, handler: Handler) -> web.StreamResponse:
        plain = profile.plain_path(request.rel_url.raw_path, request.query)
        if plain is not None:
            url = URL.build(path=plain, query_string=request.rel_url.raw_query_string, encoded=True)
            request = request.clone(rel_url=url)
        return await handler(request)

    return translate
