"""The server answers its own page only, on this computer only, and writes and logs nothing."""

from __future__ import annotations

import http.client
import json
import signal
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
    ("forecast", b"not json", "Reload the page"),
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
