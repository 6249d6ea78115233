"""A client in a process of its own: many requests at once over connections that are kept, and what became of each.

    python traffic_client.py URL FOLDER COUNT CONCURRENCY OUT

Request k sends image k % M of the folder's M images, in order of name. It goes on until COUNT requests are answered,
or until the server answers 503 or nobody listens. OUT gets a JSON line a request, in the order of their answers.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import httpx


async def send(client: httpx.AsyncClient, number: int, images: list[bytes]) -> dict:
    started = time.perf_counter()
    said = {"number": number, "image": number % len(images)}
    try:
        answer = await client.post(
            "/predict", content=images[number % len(images)], headers={"Content-Type": "image/png"}
        )
    except httpx.HTTPError as error:
        return {**said, "status": 0, "error": type(error).__name__}
    seconds = time.perf_counter() - started
    said |= {"status": answer.status_code, "seconds": seconds, "retry_after": answer.headers.get("Retry-After")}
    return {**said, "answer": answer.json()}


async def main(url: str, folder: Path, count: int, concurrency: int, out: Path) -> None:
    images = [path.read_bytes() for path in sorted(folder.iterdir())]
    numbers = iter(range(count))
    over = False
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    with out.open("w", encoding="utf-8", buffering=1) as file:
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False, verify=False) as client:

            async def work() -> None:
                nonlocal over
                for number in numbers:
                    if over:
                        return
                    said = await send(client, number, images)
                    over |= said["status"] in (0, 503)
                    file.write(json.dumps(said) + "\n")

            await asyncio.gather(*(work() for _ in range(concurrency)))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(arguments[0], Path(arguments[1]), int(arguments[2]), int(arguments[3]), Path(arguments[4])))
