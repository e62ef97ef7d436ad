"""The local server of the page: this computer alone, with a token in its address, and nothing written or logged.

Every request needs the token, the server's own name as its host, and, if it comes from a page, this page as its origin.
A page of another site therefore cannot ask, neither by a form nor by a name that resolves to this computer.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

from pydantic import Field

from crow.errors import CrowError
from crow.explore.explorer import Explorer
from crow.explore.page import SCRIPTS, page
from crow.explore.question import MAX_HORIZON, Question, ScanQuestion, Strict, Text, Whose, parsed
from crow.extras import extra

with extra("explore"):
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

HOST = "127.0.0.1"
MAX_BODY = 100_000  # bytes
TYPES = {".js": "text/javascript", ".css": "text/css"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}  # fmt: skip
STALE = "This address is not the one that crow explore printed. Start it again, and open the new address."

Handler = Callable[[Request], Awaitable[Response]]


class Search(Strict):
    """Part of a subject's name."""

    text: Text = ""


class Shown(Whose):
    """A subject, and how far ahead its chart reaches."""

    horizon: Annotated[float, Field(gt=0, le=MAX_HORIZON, allow_inf_nan=False)] = 5.0


@dataclass(frozen=True)
class Address:
    """Port and token of a server."""

    port: int
    token: str

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/{self.token}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        return f"{HOST}:{self.port}", f"localhost:{self.port}"


class OnlyThisPage(BaseHTTPMiddleware):
    """Refuse requests of other hosts, of other origins, and without the token."""

    def __init__(self, app: Any, address: Address) -> None:
        super().__init__(app)
        self.address = address

    async def dispatch(self, request: Request, call_next: Handler) -> Response:
        response = PlainTextResponse(STALE, 403) if self._foreign(request) else await call_next(request)
        response.headers.update(HEADERS)
        return response

    def _foreign(self, request: Request) -> bool:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self.address.hosts:
            return True
        origin = request.headers.get("origin")
        if origin is not None and origin not in [f"http://{host}" for host in self.address.hosts]:
            return True
        if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return True
        token = "".join(request.scope["path"].split("/")[1:2])  # the path of OPTIONS * has no slash
        return not secrets.compare_digest(token.encode(), self.address.token.encode())


def application(explorer: Explorer, address: Address) -> Starlette:
    """The routes of the page, under its token."""
    static = files("crow.explore").joinpath("static")

    async def index(request: Request) -> Response:
        return Response(page(), media_type="text/html")

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in (*SCRIPTS, "explore.css"):
            return PlainTextResponse("There is no such file.", 404)
        text = static.joinpath(name).read_text(encoding="utf-8")
        return Response(text, media_type=TYPES[name[name.rindex(".") :]])

    def answers(ask: Callable[[bytes], dict[str, Any]]) -> Handler:
        async def answer(request: Request) -> Response:
            body = bytearray()
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY:
                    return JSONResponse({"error": "The question is too long."}, 413)
            try:
                return JSONResponse(await run_in_threadpool(ask, bytes(body)))
            except CrowError as error:
                return JSONResponse({"error": str(error)}, 400)
            except Exception as error:  # the message of another error may quote a row of the table
                return JSONResponse({"error": f"crow failed ({type(error).__name__}). Choose other values."}, 500)

        return answer

    def subject(body: bytes) -> dict[str, Any]:
        shown = parsed(Shown, body)
        return explorer.subject(shown, shown.horizon)

    def subjects(body: bytes) -> dict[str, Any]:
        return explorer.subjects(parsed(Search, body).text)

    def forecast(body: bytes) -> dict[str, Any]:
        return explorer.forecast(parsed(Question, body))

    def scan(body: bytes) -> dict[str, Any]:
        return explorer.scan(parsed(ScanQuestion, body))

    base = f"/{address.token}"
    return Starlette(
        routes=[
            Route(f"{base}/", index),
            Route(f"{base}/static/{{name}}", file),
            Route(f"{base}/start", answers(lambda body: explorer.start()), methods=["POST"]),
            Route(f"{base}/subjects", answers(subjects), methods=["POST"]),
            Route(f"{base}/subject", answers(subject), methods=["POST"]),
            Route(f"{base}/forecast", answers(forecast), methods=["POST"]),
            Route(f"{base}/scan", answers(scan), methods=["POST"]),
        ],
        middleware=[Middleware(OnlyThisPage, address=address)],
    )


def listening() -> tuple[socket.socket, Address]:
    """A socket of this computer alone, at a free port, and an address with a new token."""
    own = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    own.bind((HOST, 0))
    return own, Address(own.getsockname()[1], secrets.token_urlsafe(24))


def serve(explorer: Explorer, own: socket.socket, address: Address, ready: Callable[[], None]) -> None:
    """Answer until the process is interrupted; ``ready`` is called when the page can be opened."""
    settings = uvicorn.Config(
        application(explorer, address), log_level="critical", access_log=False, server_header=False, lifespan="off",
        ws="none", timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = _Server(settings, ready)
    try:
        server.run(sockets=[own])
    except KeyboardInterrupt:
        pass
    finally:
        own.close()


class _Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, settings: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(settings)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
