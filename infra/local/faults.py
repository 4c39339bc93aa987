"""Starts the fault injector in front of the local AWS emulator, on the loopback address only, in the foreground:
`python infra/local/faults.py PORT EMULATOR_PORT SEED`.

The same seed draws the same faults for the same requests in the same order. Ends with SIGTERM, and when its standard
input is closed, so that it never outlives whoever started it.
"""

import logging
import os
import random
import sys
import threading

from microburst import cli


def end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> int:
    port, upstream, seed = sys.argv[1:]
    threading.Thread(target=end_with_parent, daemon=True).start()
    random.seed(int(seed))
    # A line for each request costs more than the request.
    logging.getLogger("aiohttp.access").setLevel(logging.ERROR)
    address = f"http://127.0.0.1:{int(upstream)}"
    return cli.main(["--host", "127.0.0.1", "--port", str(int(port)), "--upstream", address])


sys.exit(main())
