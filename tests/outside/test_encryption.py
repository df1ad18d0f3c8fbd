"""Between hosts nothing can be read, and nobody without the token comes in."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hosts import HEAD, NARKE, PORT, TOKEN, WORKER, Listener, Network, network

# A value inside a message, and one that moves from store to store; both hold the word many times.
DRIVER = """
import narke as ray
ray.init("auto", log_to_driver=False)
@ray.remote(resources={"far": 1})
def there(small, large):
    return len(small) + len(large)
word = b"a-word-that-nobody-may-read."
print(ray.get(there.remote(word * 100, ray.put(word * 100_000))))
"""
WORD = b"a-word-that-nobody-may-read."
ASK = """
import json, ssl, sys, urllib.request
url, ca, token = sys.argv[1:]
context = ssl.create_default_context(cafile=ca or None)
request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token})
with urllib.request.urlopen(request, context=context, timeout=20) as answer:
    print(json.dumps([answer.status, answer.url, json.load(answer)["ray_version"]]))
"""


def passes(net: Network) -> bytes:
    """What passes the worker's link while a driver works."""
    listener = Listener(net.outer["worker"])
    try:
        done = net.head.python(DRIVER)
        assert done.stdout.strip() == str(len(WORD) * 100_100), done.stderr
        return listener.heard()
    finally:
        listener.close()


def test_what_passes_between_hosts_cannot_be_read(cluster):
    heard = passes(cluster)
    assert len(heard) > len(WORD) * 100_000
    assert WORD not in heard
    assert TOKEN.encode() not in heard


def test_without_tls_it_could_be():
    with network() as net:
        net.start_head("--tls=off")
        net.start_worker("--tls=off")
        assert WORD in passes(net)


@pytest.mark.parametrize(
    ("words", "variables", "sentence"),
    [
        ([], {"NARKE_AUTH_TOKEN": "f" * 64}, "another token"),
        (["--tls=off"], {}, "links to this node are encrypted"),
    ],
)
def test_a_node_that_does_not_belong_is_refused_with_a_sentence(cluster, words, variables, sentence):
    command = [
        *NARKE,
        "start",
        f"--address={HEAD}:{PORT}",
        f"--node-ip-address={WORKER}",
        "--num-cpus=1",
        *words,
    ]
    done = cluster.worker.run(*command, **variables)
    assert done.returncode == 1
    assert f"{HEAD}:{PORT} could not be joined" in done.stderr and sentence in done.stderr
    assert len(passes(cluster)) > 0, "the cluster goes on"


def test_a_stranger_hears_a_sentence_and_the_head_writes_it_down(cluster):
    stranger = (
        "import socket\n"
        f"link = socket.create_connection(({HEAD!r}, {PORT}), timeout=20)\n"
        "link.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n"
        "print(link.recv(4096).decode(errors='replace'))\n"
    )
    done = cluster.worker.run(sys.executable, "-c", stranger)
    assert "port of a Narke node" in done.stdout
    log = subprocess.run(
        ["grep", "-rh", "turned away", cluster.head.folder], capture_output=True, text=True, check=True
    )
    assert WORKER in log.stdout


# ---- HTTP


@pytest.fixture(scope="module")
def dashboard():
    """A head whose dashboard other hosts reach; the URL, and the folder of its session."""
    with network() as net:
        net.start_head(f"--dashboard-host={HEAD}", "--dashboard-port=8265")
        folder = os.path.realpath(os.path.join(net.head.folder, "narke", "latest"))
        yield net, folder


def ask(net: Network, url: str, ca: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    return net.worker.run(sys.executable, "-c", ASK, url, ca, token)


def test_the_dashboard_speaks_https_with_a_certificate_of_its_own(dashboard):
    net, folder = dashboard
    ca = os.path.join(folder, "tls", "ca.pem")
    good = ask(net, f"https://{HEAD}:8265/api/version", ca)
    assert json.loads(good.stdout)[0] == 200, good.stderr
    unknown = ask(net, f"https://{HEAD}:8265/api/version", "")
    assert unknown.returncode != 0 and "CERTIFICATE_VERIFY_FAILED" in unknown.stderr
    for name in ("server.key", "server.pem", "ca.pem"):
        assert os.stat(os.path.join(folder, "tls", name)).st_mode & 0o077 == 0


def test_other_hosts_are_sent_from_http_to_https(dashboard):
    net, folder = dashboard
    moved = ask(net, f"http://{HEAD}:8265/api/version", os.path.join(folder, "tls", "ca.pem"))
    assert json.loads(moved.stdout)[1] == f"https://{HEAD}:8265/api/version", moved.stderr
    post = net.worker.run(
        sys.executable,
        "-c",
        "import http.client, sys\n"
        f"link = http.client.HTTPConnection({HEAD!r}, 8265, timeout=20)\n"
        "link.request('POST', '/api/jobs/', body=b'{}')\n"
        "answer = link.getresponse()\n"
        "print(answer.status, answer.read().decode())\n",
    )
    assert post.stdout.startswith("403 This server speaks HTTPS"), post.stderr


def test_this_host_needs_no_tls_to_itself(dashboard):
    net, _ = dashboard
    near = net.head.run(sys.executable, "-c", ASK, f"http://{HEAD}:8265/api/version", "", TOKEN)
    assert json.loads(near.stdout)[:2] == [200, f"http://{HEAD}:8265/api/version"], near.stderr


def test_old_protocols_are_refused_and_noise_ends_nothing(dashboard):
    net, folder = dashboard
    old = (
        "import socket, ssl\n"
        "context = ssl._create_unverified_context()\n"
        "context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1\n"
        "context.set_ciphers('ALL:@SECLEVEL=0')\n"
        "try:\n"
        f"    context.wrap_socket(socket.create_connection(({HEAD!r}, 8265), timeout=20))\n"
        "except ssl.SSLError as error: print('refused', error)\n"
        f"noise = socket.create_connection(({HEAD!r}, 8265), timeout=20)\n"
        "noise.sendall(b'\\x16\\x03\\x01' + bytes(300))\n"
        "noise.recv(100)\n"
    )
    assert net.worker.run(sys.executable, "-c", old).stdout.startswith("refused")
    good = ask(net, f"https://{HEAD}:8265/api/version", os.path.join(folder, "tls", "ca.pem"))
    assert json.loads(good.stdout)[0] == 200, good.stderr


def test_a_certificate_of_the_users_own(tmp_path):
    key, certificate = tmp_path / "k.pem", tmp_path / "c.pem"
    subject = ["-subj", "/CN=mine", "-addext", f"subjectAltName=IP:{HEAD}"]
    made = subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            certificate,
            *subject,
        ],
        capture_output=True,
    )
    assert made.returncode == 0, made.stderr
    with network() as net:
        files = [f"--tls-cert={certificate}", f"--tls-key={key}"]
        net.start_head(f"--dashboard-host={HEAD}", "--dashboard-port=8265", *files)
        good = ask(net, f"https://{HEAD}:8265/api/version", str(certificate))
        assert json.loads(good.stdout)[0] == 200, good.stderr


def test_half_of_a_certificate_is_refused():
    done = subprocess.run(
        [*NARKE, "start", "--head", "--tls-cert=/nowhere.pem"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "--tls-key" in done.stderr
