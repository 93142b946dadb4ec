"""Send images to a served page at a fixed rate, and print how it answered.

python -m tests.serving.load 8000 input/demo/test --pid 1234
"""

from __future__ import annotations

import argparse
import http.client
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

RATE = 20  # requests per second


def send_at_rate(port: int, contents: Sequence[bytes], count: int, rate: float = RATE) -> tuple[list[float], list[str]]:
    """Send `count` images, whether or not those before were answered; return the seconds of each, and what was lost."""
    seconds: list[float] = []
    lost: list[str] = []

    def send(content: bytes) -> None:
        start = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", "/answer", content, {"Content-Type": "application/octet-stream"})
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise http.client.HTTPException(response.status)
            seconds.append(time.perf_counter() - start)
        except (OSError, http.client.HTTPException) as error:
            lost.append(repr(error))
        finally:
            connection.close()

    threads, begin = [], time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, begin + number / rate - time.perf_counter()))
        threads.append(threading.Thread(target=send, args=(contents[number % len(contents)],)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return seconds, lost


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process in MB (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pid", type=int, required=True, help="the process of the server")
    parser.add_argument("--count", type=int, default=600)
    args = parser.parse_args()
    contents = [path.read_bytes() for path in sorted(args.folder.iterdir())]
    send_at_rate(args.port, contents, 20)  # warm
    before, start = memory_mb(args.pid), time.perf_counter()
    seconds, lost = send_at_rate(args.port, contents, args.count)
    rate = len(seconds) / (time.perf_counter() - start)
    median, slow = 1000 * np.percentile(seconds, [50, 99])
    print(f"{len(seconds)} answered at {rate:.1f} a second, {len(lost)} lost {set(lost) or ''}")
    print(
        f"median {median:.0f} ms, 99 % within {slow:.0f} ms; memory {before:.0f} MB, then {memory_mb(args.pid):.0f} MB"
    )
    print(f"load average of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
