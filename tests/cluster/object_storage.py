"""Storage that all nodes of a cluster reach: a folder, and a bucket on moto's S3 server."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import sys
import uuid

from cluster_members import until

from narke._private import machine


class Folder:
    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self.uri = f"file://{path}"

    def files(self, at_least: int = 0) -> list[str]:
        """Those of so many bytes."""
        found = [each for each in self._path.rglob("*") if each.is_file()]
        return [str(each) for each in found if each.stat().st_size >= at_least]

    def spoil(self) -> None:
        """Change a byte in the middle of every file."""
        for name in self.files():
            with open(name, "r+b") as file:
                file.seek(pathlib.Path(name).stat().st_size // 2)
                file.write(b"\xff")


class Bucket:
    """A bucket of one's own on a server of one's own.

    Args:
        port: the server's.
    """

    def __init__(self, port: int) -> None:
        import boto3

        self._name = f"bucket-{uuid.uuid4().hex}"
        self.uri = f"s3://{self._name}/objects"
        self._client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        self._client.create_bucket(Bucket=self._name)

    def files(self, at_least: int = 0) -> list[str]:
        """Keys of objects of so many bytes; PyArrow leaves empty ones in place of folders."""
        found = self._client.list_objects_v2(Bucket=self._name).get("Contents", [])
        return [each["Key"] for each in found if not each["Key"].endswith("/") and each["Size"] >= at_least]


def environment(port: int) -> dict[str, str]:
    """Variables by which programs reach the server on that port."""
    return {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }


@contextlib.contextmanager
def s3_server():
    """The port of moto's server."""
    port = machine.free_port("127.0.0.1")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        until(answers)
        yield port
    finally:
        server.kill()
        server.wait()
