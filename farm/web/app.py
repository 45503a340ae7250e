"""The web application: every route of it, and what holds for all of them."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from farm.errors import FarmError
from farm.web import assets, automatic1111, calls, images, login, openai, scraping, stream
from farm.web.answers import Headers, farm_error, unexpected_error
from farm.web.site import Site


def make_app(site: Site) -> Starlette:
    """The application for a farm."""
    rooms = (login, calls, stream, images, scraping, openai, automatic1111, assets)
    routes: list[BaseRoute] = [route for room in rooms for route in room.routes()]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Headers)],
        exception_handlers={FarmError: farm_error, Exception: unexpected_error},
    )
    app.state.site = site
    return app
