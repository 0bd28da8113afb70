"""`make compose-test`: bring the compose files up, use them, break them, take them down; each step with its time."""

import argparse
import asyncio
import json
import sys
import time

import aiohttp

from tests.compose.engine import Engine, EngineError
from tests.compose.project import Project
from tests.compose.stage import Stage
from tests.compose.steps import NEEDED, STEPS


def _say(name: str, what: str, started: float, *, is_ok: bool, detail: str = "") -> None:
    line = {"step": name, "seconds": round(time.monotonic() - started, 1), "ok": is_ok, "what": what}
    if detail:
        line["detail"] = detail
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()


async def _play(stage: Stage) -> bool:
    """Play every step; one that fails does not keep the others from being seen."""
    is_ok = True
    for one in STEPS:
        started = time.monotonic()
        try:
            await one(stage)
        except Exception as error:  # noqa: BLE001 (a step that fails is reported, whatever it raised)
            _say(one.__name__, one.__doc__ or "", started, is_ok=False, detail=f"{type(error).__name__}: {error}")
            is_ok = False
            if one.__name__ in NEEDED:
                break
        else:
            _say(one.__name__, one.__doc__ or "", started, is_ok=True, detail=stage.said)
        stage.said = ""
    return is_ok


async def _run(engine: Engine, *, with_old_rabbitmq: bool) -> bool:
    started = time.monotonic()
    engine.start()
    _say("engine", "a Docker Engine answers", started, is_ok=True)
    started = time.monotonic()
    bases = engine.prepare_bases()
    _say("bases", "base images", started, is_ok=True, detail=", ".join(f"{name}: {how}" for name, how in bases.items()))
    project = Project(engine, rabbitmq=engine.prepare_old_rabbitmq() if with_old_rabbitmq else None)
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            is_ok = await _play(Stage(project, session))
    finally:
        started = time.monotonic()
        project.down()
        _say("down", "docker compose down: nothing is left", started, is_ok=True)
    return is_ok


def main() -> int:
    parser = argparse.ArgumentParser(prog="make compose-test", description="Bring docker compose up, use it, break it.")
    parser.add_argument("--rabbitmq", choices=("4", "3.10"), default="4", help="the broker's version")
    asked = parser.parse_args()
    engine = Engine()
    try:
        return 0 if asyncio.run(_run(engine, with_old_rabbitmq=asked.rabbitmq == "3.10")) else 1
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        engine.stop()


if __name__ == "__main__":
    sys.exit(main())
