"""An S3 server on loopback for tests: moto, with its data in memory."""

from __future__ import annotations

from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer


class S3ServerForTests:
    """A server with one bucket, ``bucket``."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        _, self.port = self._server.get_host_and_port()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        self._client = boto3.client(
            "s3", endpoint_url=self.environment["AWS_ENDPOINT_URL"], region_name="us-east-1",
            aws_access_key_id="tester", aws_secret_access_key="hidden",
        )  # fmt: skip
        self._client.create_bucket(Bucket="bucket")

    def put(self, key: str, content: bytes) -> None:
        """Store an object."""
        self._client.put_object(Bucket="bucket", Key=key, Body=content)

    def put_folder(self, folder: Path, prefix: str) -> None:
        """Store the files of a folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of all objects, without the empty ones that Arrow leaves for folders."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix=prefix)
        found = sorted(item["Key"] for page in pages for item in page.get("Contents", ()))
        return [key for key in found if not key.endswith("/")]

    def get(self, key: str) -> bytes:
        """An object."""
        return bytes(self._client.get_object(Bucket="bucket", Key=key)["Body"].read())

    def stop(self) -> None:
        """End it."""
        self._server.stop()
