"""The server answers its own page only, on this computer only, and writes and logs nothing."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from served_page import EVIL_SUBJECT, Served, serving


def ask(served: Served, what: str, question: Any = None, token: str | None = None, **headers: str) -> tuple[int, str]:
    """Status and text of a request as the page makes it, or with other headers."""
    address = urlsplit(served.url)
    connection = http.client.HTTPConnection("127.0.0.1", int(address.port or 0), timeout=60)
    path = f"{address.path if token is None else f'/{token}/'}{what}"
    body = question if isinstance(question, bytes) else None if question is None else json.dumps(question).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET" if body is None else "POST", path, body, named)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def sent(served: Served, head: str, body: str = "") -> int:
    """Status of a request that is written as it stands."""
    with socket.create_connection(("127.0.0.1", urlsplit(served.url).port or 0), timeout=20) as connection:
        connection.sendall(f"{head}Connection: close\r\n\r\n{body}".encode())
        return int(connection.makefile("rb").readline().split()[1])


def state_of(folder: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime for path in folder.rglob("*")}


def test_the_page_and_its_files(served: Served) -> None:
    status, text = ask(served, "")
    assert status == 200 and 'src="static/explore.js"' in text
    for name in ("explore.js", "chart.js", "explore.css"):
        assert ask(served, f"static/{name}")[0] == 200
    for name in ("../explorer.py", "..%2f..%2ferrors.py", "atlas.json", "page.html", "%00"):
        assert ask(served, f"static/{name}")[0] in (403, 404)


@pytest.mark.parametrize("token", ["", "wrong", "static", "a/b"])
def test_another_token_is_refused(served: Served, token: str) -> None:
    for what, question in (("", None), ("static/explore.js", None), ("start", {}), ("subjects", {"text": ""})):
        status, text = ask(served, what, question, token)
        assert status == 403
        assert "Start it again" in text and "RID" not in text


@pytest.mark.parametrize("headers", [
    {"Host": "example.org"}, {"Host": "127.0.0.1"}, {"Host": "127.0.0.1:1"}, {"Host": "127.0.0.1:80@example.org"},
    {"Origin": "http://example.org"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
    {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"},
])  # fmt: skip
def test_other_hosts_and_origins_are_refused(served: Served, headers: dict[str, str]) -> None:
    assert ask(served, "start", {}, **headers)[0] == 403


def test_localhost_is_its_other_name(served: Served) -> None:
    port = urlsplit(served.url).port
    own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}", "Sec_Fetch_Site": "same-origin"}
    assert ask(served, "subjects", {"text": ""}, **own)[0] == 200


@pytest.mark.parametrize(("what", "question", "part"), [
    ("subject", {"subject": "nobody"}, "has no subject nobody"),
    ("subject", {}, "no subject is chosen"),
    ("forecast", {"subject": EVIL_SUBJECT, "horizon": 0}, "horizon"),
    ("forecast", {"subject": EVIL_SUBJECT, "horizon": 1e9}, "horizon"),
    ("forecast", {"subject": EVIL_SUBJECT, "horizon": "nan"}, "horizon"),
    ("forecast", {"subject": EVIL_SUBJECT, "courses": []}, "courses"),
    ("forecast", {"subject": EVIL_SUBJECT, "courses": [{"steps": {"CDRSB": [{"value": "x"}]}}]}, "CDRSB"),
    ("forecast", {"subject": EVIL_SUBJECT, "courses": [{"steps": {"DX": [{"value": "Q"}]}}]}, "DX"),
    ("forecast", {"subject": EVIL_SUBJECT, "courses": [{"steps": {"sex": [{"value": "M"}]}}]}, "sex"),
    ("forecast", {"subject": EVIL_SUBJECT, "courses": [{"steps": {"nothing": [{"value": "1"}]}}]}, "nothing"),
    ("forecast", {"subject": EVIL_SUBJECT, "horizon": -1e-9}, "horizon"),
    ("forecast", {"subject": EVIL_SUBJECT, "horizon": "1" * 300}, "horizon"),
    ("forecast", {"subject": EVIL_SUBJECT, "horizon": 10**400}, "horizon"),
    ("forecast", {"subject": EVIL_SUBJECT, "horizon": float("nan")}, "horizon"),
    ("forecast", {"subject": EVIL_SUBJECT, "horizon": float("inf")}, "horizon"),
    ("forecast", {"subject": EVIL_SUBJECT, "courses": [{}] * 1000}, "courses"),
    ("forecast", {"subject": EVIL_SUBJECT, "courses": [{"steps": {"DX": [{"value": "AD", "at": 1e9}]}}]}, "at"),
    ("forecast", {"subject": EVIL_SUBJECT, "courses": [{"steps": {"DX": [{"value": "AD", "at": float("nan")}]}}]},
     "at"),
    ("forecast", {"subject": EVIL_SUBJECT, "courses": [{"steps": {"DX": [{"value": "AD"}] * 1000}}]}, "steps"),
    ("forecast", {"subject": EVIL_SUBJECT, "courses": [{"future": "../../etc/passwd"}]}, "future"),
    ("forecast", {"subject": "../../etc/passwd"}, "has no subject"),
    ("forecast", {"subject": "s" * 201}, "subject"),
    ("forecast", {"subject": "\0"}, "has no subject"),
    ("forecast", {"subject": ["x"]}, "subject"),
    ("forecast", {"subject": EVIL_SUBJECT, "run": "/etc"}, "run"),
    ("subject", {"subject": EVIL_SUBJECT, "horizon": 1e9}, "horizon"),
    ("subjects", {"text": "s" * 201}, "text"),
    ("scan", {"subject": EVIL_SUBJECT, "slice": 10**9}, "slice"),
    ("forecast", {"new": {"age": "70", "visits": [{}] * 100}}, "visits"),
    ("forecast", {"new": {"age": "70", "visits": [{"time": float("nan")}]}}, "time"),
    ("forecast", {"new": {"age": "nan", "visits": [{}]}}, "age"),
    ("forecast", {"new": {"age": "1e9", "visits": [{}]}}, "age"),
    ("forecast", {"new": {"age": "70", "visits": [{"regions": {"lh_entorhinal": "nan"}}]}}, "lh_entorhinal"),
    ("forecast", {"new": {"age": "70", "visits": [{"regions": {"lh_entorhinal": "1e400"}}]}}, "lh_entorhinal"),
    ("forecast", {"new": {"age": "70", "visits": [{"regions": {"lh_entorhinal": "1e300"}}]}}, "training visits lie"),
    ("forecast", {"subject": EVIL_SUBJECT, "courses": [{"steps": {"CDRSB": [{"value": "1e300"}]}}]}, "CDRSB"),
    ("forecast", {"new": {"age": "70", "visits": [{"regions": {"nothing": "1"}}]}}, "no region nothing"),
    ("forecast", {"new": {"age": "70", "visits": [{"covariates": {"nothing": "1"}}]}}, "no covariate nothing"),
    ("forecast", {"new": {"age": "70", "covariates": {"nothing": "1"}, "visits": [{}]}}, "no covariate nothing"),
    ("forecast", {"new": {"age": "-1", "visits": [{}]}}, "Give one from 0 to 120"),
    *[("forecast", body, "Reload the page") for body in (
        b"not json", b"", b"null", b"[]", b"\xff\xfe", b"\0" * 100, b"[" * 99_000, b'{"new":' * 14_000,
        b'{"subject": "\\ud800"}', b'{"subject": "x"} {}', b'{"subject": "x", "horizon": 1e}',
    )],
    ("forecast", {"new": {"age": "", "visits": [{}]}}, "no age"),
    ("forecast", {"new": {"age": "70", "visits": [{"time": 1}]}}, "Start at 0"),
    ("forecast", {"new": {"age": "70", "visits": [{"regions": {"lh_entorhinal": "abc"}}]}}, "lh_entorhinal"),
    ("forecast", {"new": {"age": "70", "covariates": {"sex": "X"}, "visits": [{}]}}, "sex"),
])  # fmt: skip
def test_questions_without_an_answer_are_refused(served: Served, what: str, question: Any, part: str) -> None:
    status, text = ask(served, what, question)
    assert status == 400
    assert part in json.loads(text)["error"]


def test_long_questions_are_refused(served: Served) -> None:
    assert ask(served, "subjects", b"x" * 200_000)[0] == 413


@pytest.mark.parametrize("request_line", [
    "GET {base}../ HTTP/1.1", "GET {base}../../etc/passwd HTTP/1.1", "GET {base}%2e%2e%2fetc%2fpasswd HTTP/1.1",
    "GET /etc/passwd HTTP/1.1", "GET //etc/passwd HTTP/1.1", "GET http://example.org{base} HTTP/1.0",
    "GET {base}static//etc/passwd HTTP/1.1", "GET {base}static/..\\..\\server.py HTTP/1.1",
    "GET {base}start HTTP/1.1", "PUT {base}start HTTP/1.1", "DELETE {base}static/explore.js HTTP/1.1",
    "OPTIONS * HTTP/1.1", "CONNECT example.org:80 HTTP/1.1", "GET {base}\0 HTTP/1.1", "no request",
    "GET /" + "a" * 200_000 + " HTTP/1.1",
])  # fmt: skip
def test_odd_requests_are_refused(served: Served, request_line: str) -> None:
    address = urlsplit(served.url)
    line = request_line.replace("{base}", address.path)
    assert 400 <= sent(served, f"{line}\r\nHost: {address.netloc}\r\n") < 500


def test_two_hosts_and_long_or_endless_bodies_are_refused(served: Served) -> None:
    address = urlsplit(served.url)
    start = f"POST {address.path}start HTTP/1.1\r\nHost: {address.netloc}\r\n"
    part = f"{60_000:x}\r\n{'x' * 60_000}\r\n"
    assert 400 <= sent(served, f"{start}Host: example.org\r\nContent-Length: 0\r\n") < 500
    assert sent(served, f"{start}Transfer-Encoding: chunked\r\n", part * 2) == 413
    assert sent(served, f"{start}Content-Length: 10000000000\r\n", "x" * 120_000) == 413
    assert 400 <= sent(served, f"{start}Content-Length: -1\r\n") < 500
    assert ask(served, "subjects", {"text": ""})[0] == 200


def test_nothing_is_written_or_logged_and_ctrl_c_ends_it(folder: Path) -> None:
    before = state_of(folder)
    with serving(folder) as served:
        assert ask(served, "subject", {"subject": EVIL_SUBJECT})[0] == 200
        assert ask(served, "forecast", {"subject": EVIL_SUBJECT, "horizon": 2})[0] == 200
        assert ask(served, "subject", {"subject": "nobody"})[0] == 400
        served.process.send_signal(signal.SIGINT)
        rest = served.process.communicate(timeout=30)[0]
    assert served.process.returncode == 0
    assert rest == "Ended.\n"
    assert state_of(folder) == before


def test_only_this_computer_is_served(served: Served) -> None:
    listening = Path("/proc/net/tcp")
    if not listening.exists():
        pytest.skip("this system does not list its sockets in /proc")
    port = f"{urlsplit(served.url).port:04X}"
    rows = [line.split() for line in listening.read_text().splitlines()[1:]]
    assert {row[1].split(":")[0] for row in rows if row[1].endswith(f":{port}") and row[3] == "0A"} == {"0100007F"}
