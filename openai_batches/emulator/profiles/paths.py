"""Where the operations of another service are: its paths mean paths under `/v1`, which all else here knows alone."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from openai_batches.emulator.answers import APIError
from openai_batches.emulator.profiles.profiles import Profile


def is_plain(profile: Profile) -> bool:
    """Tell whether the operations are under `/v1` and nowhere else."""
    return profile.prefixes == ("/v1",) and not profile.dated_prefix


def move(routes: web.Application, app: web.Application, profile: Profile) -> None:
    """Let `app` answer the routes that were registered under `/v1` where the profile has them."""
    for route in routes.router.routes():
        path = "" if route.resource is None else route.resource.canonical.removeprefix("/v1")
        for prefix in profile.prefixes:
            app.router.add_route(route.method, prefix + path, route.handler)
        if profile.dated_prefix:
            app.router.add_route(route.method, profile.dated_prefix + path, _dated(route.handler))
    app.middlewares.insert(0, _translator(profile))


def _dated(handler: Handler) -> Handler:
    """Answer only those who say of which day the API shall be."""

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
