"""What must not be possible: a test for each known way into clusters of this kind. And plainly wrong requests."""

import json
import os
import pathlib
import socket
import stat
import subprocess
import sys
import time

import pytest
from heads import Head, cli
from waiting import wait_for


def raw(port, text):
    """Send bytes as they are; returns all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
        link.sendall(text.encode() if isinstance(text, str) else text)
        got = b""
        while piece := link.recv(65536):
            got += piece
            if b"\r\n\r\n" in got and b"Connection: close" not in got:
                break
        return got.decode(errors="replace")


def test_cve_2023_48022_no_job_without_the_token(head):
    body = {"entrypoint": "touch /tmp/owned"}
    assert head.ask("POST", "/api/jobs/", body, token=False).status == 401
    assert head.ask("POST", "/api/jobs/", body, {"Authorization": "Bearer wrong"}).status == 403
    assert head.ask("GET", "/api/jobs/", token=False).text == "Unauthorized: Missing authentication token"
    for path in (
        "/nodes",
        "/logical/actors",
        "/timeline",
        "/x.json",
        "/api/v0/actors",
        "/api/version",
        "/api/packages/gcs/x.zip",
        "/metrics",
        "/api/openapi.json",
    ):
        assert head.ask("GET", path, token=False).status == 401, path


def test_cve_2023_6020_and_6021_no_file_outside_is_read(head):
    for path in (
        "/../../../../etc/passwd",
        "/assets/../../../../etc/passwd",
        "/assets/..%2f..%2f..%2f..%2fetc/passwd",
        "/static/js/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/etc/passwd",
        "/assets//etc/passwd",
        "/..\\..\\etc\\passwd",
    ):
        answer = raw(head.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert "root:" not in answer, path
        assert answer.startswith(("HTTP/1.1 400", "HTTP/1.1 401", "HTTP/1.1 404", "HTTP/1.1 200")), answer[
            :100
        ]


def test_cve_2023_6020_packages_stay_in_their_folder(head):
    for name in ("..%2ftoken", "%2e%2e", "a%00.zip", "token", "..zip", ".hidden.zip", "x.sh"):
        for method in ("GET", "PUT"):
            status = head.ask(method, f"/api/packages/gcs/{name}", b"x" if method == "PUT" else None).status
            assert status in (400, 404), (method, name, status)
    assert head.ask("PUT", "/api/packages/http/x.zip", b"x").status == 400
    assert not [name for name in os.listdir(head.session + "/packages") if "upload" in name]


def test_cve_2025_62593_a_rebound_name_reaches_nothing(head):
    for host in ("evil.example", f"evil.example:{head.port}", f"127.0.0.1.evil.example:{head.port}"):
        assert head.ask("GET", "/api/version", headers={"Host": host}).status == 403
        assert head.ask("GET", "/healthz", headers={"Host": host}, token=False).status == 403
        assert head.ask("POST", "/api/jobs/", {"entrypoint": "true"}, {"Host": host}).status == 403
    assert "HTTP/1.1 400" in raw(head.port, "GET /healthz HTTP/1.1\r\n\r\n")


def test_cve_2025_62593_user_agents_do_not_matter(head):
    headers = {"User-Agent": "anything", "Origin": "http://evil.example"}
    assert head.ask("POST", "/api/jobs/", {"entrypoint": "true"}, headers).status == 403
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert head.ask("POST", "/api/jobs/", {"entrypoint": "true"}, headers).status == 403


@pytest.fixture(scope="module")
def cookie(head):
    answer = head.ask("POST", "/api/authenticate")
    header = answer.headers["set-cookie"]
    assert "HttpOnly" in header and "SameSite=Strict" in header and head.token not in header
    return header.split(";")[0]


def test_cve_2026_27482_a_page_of_another_origin_deletes_nothing(head, cookie):
    job = head.ask("POST", "/api/jobs/", {"entrypoint": "true"}).json()["submission_id"]
    for extra in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        for method, path in (("DELETE", f"/api/jobs/{job}"), ("POST", f"/api/jobs/{job}/stop")):
            assert head.ask(method, path, headers={"Cookie": cookie, **extra}, token=False).status == 403
    own = {"Cookie": cookie, "Origin": head.url, "Sec-Fetch-Site": "same-origin"}
    assert head.ask("GET", f"/api/jobs/{job}", headers=own, token=False).status == 200
    assert head.ask("POST", f"/api/jobs/{job}/stop", headers=own, token=False).status == 200
    simple = {"Content-Type": "text/plain"}
    assert head.ask("POST", "/api/jobs/", '{"entrypoint": "true"}', simple).status == 415


def test_cve_2025_1979_secrets_are_in_no_log_and_no_page(head, cookie):
    env = {"env_vars": {"DB_PASSWORD": "hunter2-secret"}}
    job = head.ask("POST", "/api/jobs/", {"entrypoint": "true", "runtime_env": env}).json()["submission_id"]
    shown = head.ask("GET", f"/api/jobs/{job}", headers={"Cookie": cookie}, token=False)
    assert "hunter2-secret" not in shown.text and "DB_PASSWORD" in shown.text
    assert "hunter2-secret" in head.ask("GET", f"/api/jobs/{job}").text
    wait_for(lambda: head.ask("GET", f"/api/jobs/{job}").json()["status"] == "SUCCEEDED", what="the job")
    for path in pathlib.Path(head.session, "logs").rglob("*"):
        if path.is_file():
            text = path.read_text(errors="replace")
            assert "hunter2-secret" not in text and head.token not in text, path


def test_the_command_line_gives_a_link_that_logs_in(head):
    done = cli("dashboard", "--address", head.url)
    assert done.stdout == f"{head.url}/#token={head.token}\n", done.stderr
    gone = cli("dashboard", "--address", "127.0.0.1:1")
    assert gone.returncode == 1 and "127.0.0.1:1" in gone.stderr


def test_private_files_are_private(head):
    for name in ("token", "jobs", "packages"):
        mode = stat.S_IMODE(os.stat(os.path.join(head.session, name)).st_mode)
        assert mode & 0o077 == 0, (name, oct(mode))


def test_wrong_requests_get_a_clear_answer(head):
    cases = [
        ("POST", "/api/jobs/", "{", {"Content-Type": "application/json"}, 400, "not JSON"),
        ("POST", "/api/jobs/", "[]", {"Content-Type": "application/json"}, 400, "JSON object"),
        ("POST", "/api/jobs/", {"entrypoint": 1}, {}, 400, "entrypoint must be a string"),
        ("GET", "/api/jobs/none", None, {}, 404, "Job none does not exist"),
        ("GET", "/api/nothing", None, {}, 404, "nothing at /api/nothing"),
        ("PATCH", "/api/jobs/", None, {}, 405, "PATCH"),
        ("POST", "/", None, {}, 404, "nothing"),
    ]
    for method, path, body, headers, status, text in cases:
        answer = head.ask(method, path, body, headers)
        assert answer.status == status and text in answer.text, (method, path, answer.status, answer.text)
    assert head.ask("DELETE", "/api/jobs/").headers["allow"]


def test_large_bodies_are_refused_before_they_are_read(head):
    answer = raw(
        head.port,
        f"POST /api/jobs/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {head.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n",
    )
    assert answer.startswith("HTTP/1.1 413")
    assert raw(head.port, "GET /" + "a" * 20000 + " HTTP/1.1\r\n\r\n").startswith("HTTP/1.1 431")
    assert raw(head.port, "nonsense\r\n\r\n").startswith("HTTP/1.1 400")


def test_a_slow_client_does_not_hold_others_up(head):
    slow = []
    for _ in range(100):
        link = socket.create_connection(("127.0.0.1", head.port))
        link.sendall(b"GET / HTTP/1.1\r\nHost: local")
        slow.append(link)
    began = time.monotonic()
    assert head.ask("GET", "/api/version").status == 200
    assert time.monotonic() - began < 10
    for link in slow:
        link.close()


def test_the_open_port_serves_metrics_and_health_only(head):
    port = head.info["metrics_port"]
    assert head.ask("GET", "/healthz", token=False, port=port).text == "success"
    for path in ("/api/jobs/", "/", "/api/version", "/api/v0/actors"):
        assert head.ask("GET", path, port=port).status == 404, path
    assert head.ask("POST", "/api/jobs/", {"entrypoint": "true"}, port=port).status == 404


def test_the_token_can_be_given(tmp_path):
    path = tmp_path / "token"
    path.write_text("a token of my own\n")
    started = Head(1, env={"RAY_AUTH_TOKEN_PATH": str(path)})
    try:
        assert started.token == "a token of my own"
        assert started.ask("GET", "/api/version").status == 200
    finally:
        started.stop()


def test_paths_answer_as_ray_does(head):
    for path, text in (
        ("/api/gcs_healthz", "success"),
        ("/api/local_raylet_healthz", "success"),
        ("/api/healthz", "raylet: success\ngcs: success"),
    ):
        answer = head.ask("GET", path, token=False)
        assert (answer.status, answer.text) == (200, text)
    assert head.ask("GET", "/api/authentication_mode", token=False).json() == {"authentication_mode": "token"}
    version = head.ask("GET", "/api/version").json()
    assert version["ray_version"] == "2.60.0" and int(version["version"]) > 0
    page = head.ask("GET", "/", token=False)
    assert (
        page.status == 200
        and "<html" in page.text
        and "frame-ancestors" in page.headers["content-security-policy"]
    )
    assert json.loads(head.ask("GET", "/api/openapi.json").text)["openapi"].startswith("3.")


def test_the_code_of_a_breakpoint_is_shown_to_nobody(head):
    program = (
        "import json, narke; narke.init(); from narke._private import kv; "
        "kv.put(b'one', json.dumps({'where': 'file.py:1', 'code': 'letmein'}).encode(), namespace=b'debugger')"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NARKE_ADDRESS": head.session},
        check=True,
        timeout=60,
    )
    answer = head.ask("GET", "/api/narke/progress/debugger")
    assert answer.json()["one"] == {"where": "file.py:1"}
