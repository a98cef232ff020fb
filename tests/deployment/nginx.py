"""The shipped `nginx.conf` in a real nginx on loopback, in front of given instances."""

import re
from collections.abc import Sequence
from pathlib import Path

from tests.deployment.programs import DEPLOY, UNPACKED, Program, find_program
from tests.servers import find_free_port

NAME = "127.0.0.1"  # stands for live.example.org
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx:
    """Runs the shipped files with other paths, ports and addresses, and nothing else changed."""

    def __init__(self, folder: Path, *, certificate: Path, instances: Sequence[int]) -> None:
        self.folder = folder
        self.port = find_free_port()
        (folder / "upstream.conf").write_text(_point_upstream(instances))
        config = folder / "nginx.conf"
        config.write_text(self._localize((DEPLOY / "nginx.conf").read_text(), certificate))
        self._program = Program(
            [find_program("nginx"), "-c", str(config), "-p", str(folder), "-g", "daemon off;"],
            log=folder / "nginx.out",
        )
        self._program.wait_for(folder / "nginx.pid")

    @property
    def address(self) -> str:
        """Host and port for https:// and wss://."""
        return f"{NAME}:{self.port}"

    def read_access_log(self) -> str:
        """What it has logged so far."""
        return (self.folder / "access.log").read_text()

    def stop(self) -> None:
        """End it, and every connection."""
        self._program.stop()

    def _localize(self, text: str, certificate: Path) -> str:
        plain = find_free_port()
        mime_types = Path("/etc/nginx/mime.types")
        if not mime_types.exists():
            mime_types = UNPACKED / "etc" / "nginx" / "mime.types"
        changes = {
            "/run/nginx.pid": f"{self.folder}/nginx.pid",
            "/var/log/nginx/error.log": f"{self.folder}/error.log",
            "/var/log/nginx/access.log": f"{self.folder}/access.log",
            "/etc/nginx/mime.types": str(mime_types),
            "/etc/nginx/upstream.conf": f"{self.folder}/upstream.conf",
            "/etc/nginx/tls/fullchain.pem": f"{certificate}/certificate.pem",
            "/etc/nginx/tls/privkey.pem": f"{certificate}/key.pem",
            "live.example.org": NAME,
            "listen 80": f"listen 127.0.0.1:{plain}",
            "listen 443": f"listen 127.0.0.1:{self.port}",
            # The paths that are built in are for root alone.
            "    server_tokens off;": "    server_tokens off;\n"
            + "".join(f"    {each}_temp_path {self.folder}/{each};\n" for each in TEMPORARY),
        }
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        return re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.MULTILINE)


def _point_upstream(instances: Sequence[int]) -> str:
    """The shipped line for an instance, once for each of these ports."""
    shipped = re.findall(r"^server 127\.0\.0\.1:8000(.*)$", _read_upstream(), re.MULTILINE)
    assert len(shipped) == 1
    return "".join(f"server 127.0.0.1:{port}{shipped[0]}\n" for port in instances)


def _read_upstream() -> str:
    return (DEPLOY / "upstream.conf").read_text()
