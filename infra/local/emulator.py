"""Starts the local AWS emulator, on the loopback address only, in the foreground: `python infra/local/emulator.py`.

Reads `GATEWAY_PORT` (4566), `BIND_HOST` (127.0.0.1), `AUTH` (true: roles are enforced) and the few other variables in
`KEPT`. Everything else is dropped, because the emulator hands its environment on to every function it runs. Stop it
with SIGTERM.
"""

import ipaddress
import os
import socketserver
import sys
from urllib.parse import urlsplit

KEPT = {
    # the system
    "PATH",
    "HOME",
    "TMPDIR",
    # what the emulator listens on, and where functions find AWS: set AWS_ENDPOINT_URL to put a fault injector between
    "GATEWAY_PORT",
    "BIND_HOST",
    "AWS_ENDPOINT_URL",
    # how it behaves
    "AUTH",
    "LOG_LEVEL",
    "PERSIST_STATE",
    "S3_PERSIST",
    "STATE_DIR",
    "S3_DATA_DIR",
    "SFN_WAIT_SCALE",
    "LAMBDA_ACCOUNT_CONCURRENCY",
    "LAMBDA_ASYNC_RETRY_BASE_SECONDS",
    "LAMBDA_WARM_TTL_SECONDS",
}


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def environment(given: dict[str, str]) -> dict[str, str]:
    """What the emulator and its functions see; ends the program where that would reach beyond this machine."""
    env = {name: value for name, value in given.items() if name in KEPT}
    port = env.setdefault("GATEWAY_PORT", "4566")
    host = env.setdefault("BIND_HOST", "127.0.0.1")
    endpoint = env.setdefault("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name, address in (("BIND_HOST", host), ("AWS_ENDPOINT_URL", urlsplit(endpoint).hostname or "")):
        if not is_loopback(address):
            sys.exit(f"{name} must be a loopback address, and {address!r} is none: the emulator runs any code it is given")
    env.setdefault("AUTH", "true")
    env.setdefault("LOG_LEVEL", "WARNING")
    return env | {
        "MINISTACK_HOST": host,
        "LANG": "C.UTF-8",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        # Two listeners that nothing here uses.
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
    }


if __name__ == "__main__":
    env = environment(dict(os.environ))
    os.environ.clear()
    os.environ.update(env)

    # The emulator answers functions in two small writes; with Nagle's algorithm each warm call waits 40 ms for nothing.
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True

    # Imported this late because it reads the environment while it is imported.
    from ministack.app import main

    main()
